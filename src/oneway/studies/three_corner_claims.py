"""The claims of the three-corner experiment and the rules by which they are judged."""

from collections.abc import Mapping

from oneway.evidence import Claim, Measured

SOURCE = "ours, on Zhu et al. 2024, open questions (arXiv 2405.04669)"
RIGHT, WRONG = (
    0.95,
    0.25,
)  # of the a's: what counts as completed, and what would be more than chance in a chance cell
COMPLETED = ("forward + id(A) + id(B)", "forward + bridge + id(B)", "forward + a ← a + b → b")
NOT_COMPLETED = ("forward", "forward + id(A)", "forward + id(B)", "forward + bridge")
SAID = COMPLETED[1:]  # where an a was also a target under the reverse relation
LARGE, SMALL_DECAY, LARGE_DECAY = "scale 1", "decay 0", "decay 0.01"


def cell(quantity: str, model: str, data: str, start: str = "") -> str:
    """The name of an estimate; `start` is "scale 1, decay 0", or nothing for the default one."""
    return f"{quantity}[{model}, {data}{', ' + start if start else ''}]"


def _known(m: Measured, model: str) -> bool:
    return all(m[cell("forward", model, data)].low > 0.99 for data in (*COMPLETED, *NOT_COMPLETED))


def _at_chance(m: Measured, model: str, data: tuple[str, ...] = NOT_COMPLETED) -> bool:
    return all(m[cell("among", model, one)].low <= m["chance"].mean for one in data)


def _reads(model: str, *quantities: str) -> tuple[str, ...]:
    data = (*COMPLETED, *NOT_COMPLETED)
    return ("chance", *(cell(quantity, model, one) for quantity in quantities for one in data))


_FORWARD = (
    "Control: lower bound of the forward facts that are recalled above 0.99 in every row that teaches them"
)
_ROWS: Mapping[str, str] = {
    "completed": "identities of both sides, bridge with identity of B, the relations' own tokens",
    "others": "forward alone or with one identity or the bridge alone",
}


def _completes(model: str, identifier: str, text: str) -> Claim:
    return Claim(
        id=identifier,
        text=text,
        source=SOURCE,
        rule=f"{_FORWARD}. Supports: among the a's, lower bounds at or above {RIGHT:g} with {_ROWS['completed']}, and "
        f"at or below chance with {_ROWS['others']}. Refutes: one of the former has its upper bound below {RIGHT:g}, "
        f"or one of the latter its lower bound above {WRONG:g}.",
        control=lambda m: _known(m, model),
        supports=lambda m: (
            all(m[cell("among", model, data)].low >= RIGHT for data in COMPLETED) and _at_chance(m, model)
        ),
        refutes=lambda m: (
            any(m[cell("among", model, data)].high < RIGHT for data in COMPLETED)
            or any(m[cell("among", model, data)].low > WRONG for data in NOT_COMPLETED)
        ),
        reads=_reads(model, "forward", "among"),
    )


def _target(model: str, identifier: str, text: str) -> Claim:
    missing = COMPLETED[0]
    return Claim(
        id=identifier,
        text=text,
        source=SOURCE,
        rule=f"{_FORWARD}. Supports: over all tokens, lower bounds at or above {RIGHT:g} with bridge and identity of B "
        "and with the relations' own tokens, upper bound at most 0.05 with both identities alone. Refutes: an upper "
        f"bound of the former below {RIGHT:g}, or the lower bound of the latter above 0.05.",
        control=lambda m: _known(m, model),
        supports=lambda m: (
            all(m[cell("whole", model, data)].low >= RIGHT for data in SAID)
            and m[cell("whole", model, missing)].high <= 0.05
        ),
        refutes=lambda m: (
            any(m[cell("whole", model, data)].high < RIGHT for data in SAID)
            or m[cell("whole", model, missing)].low > 0.05
        ),
        reads=_reads(model, "forward", "whole"),
    )


_AT_LARGE = tuple(
    cell("among", "factorised", COMPLETED[0], f"{LARGE}, {decay}") for decay in (SMALL_DECAY, LARGE_DECAY)
)

CLAIMS = (
    _completes(
        "factorised",
        "Z8.three-corners",
        "Taught three corners, a factorised matrix completes the fourth: the reverse is right among the a's. Taught "
        "fewer it is at chance.",
    ),
    _target(
        "factorised",
        "Z8.target",
        "For the answer to win over all tokens, an a must have been a target under the reverse relation.",
    ),
    Claim(
        id="Z8.direct",
        text="A free matrix taught the same sentences completes nothing, from any start and with any weight decay.",
        source=SOURCE,
        rule=f"{_FORWARD}, and the factorised matrix has lower bounds at or above {RIGHT:g} with {_ROWS['completed']}. "
        "Supports: among the a's, lower bounds at or below chance in every row, and the mean over all rows, starts and "
        f"decays has an upper bound below {WRONG:g}. Refutes: the lower bound of a row above {WRONG:g}.",
        control=lambda m: (
            _known(m, "direct")
            and all(m[cell("among", "factorised", data)].low >= RIGHT for data in COMPLETED)
        ),
        supports=lambda m: (
            _at_chance(m, "direct", (*COMPLETED, *NOT_COMPLETED))
            and m["among[direct, everywhere]"].high < WRONG
        ),
        refutes=lambda m: any(
            m[cell("among", "direct", data)].low > WRONG for data in (*COMPLETED, *NOT_COMPLETED)
        ),
        reads=(
            *_reads("direct", "forward", "among"),
            *(cell("among", "factorised", data) for data in COMPLETED),
            "among[direct, everywhere]",
        ),
    ),
    Claim(
        id="Z8.decay",
        text="From a large start the factorised matrix completes nothing, and weight decay repairs it: what "
        "completes is a small nuclear norm.",
        source=SOURCE,
        rule=f"Control: from the default start, lower bound at or above {RIGHT:g} with both identities, among the a's. "
        f"Supports: from entries of standard deviation 1, upper bound below 0.5 without decay and lower bound at or "
        f"above {RIGHT:g} with a decay of 0.01. Refutes: the one's lower bound above 0.5 or the other's upper bound "
        f"below {RIGHT:g}.",
        control=lambda m: m[cell("among", "factorised", COMPLETED[0])].low >= RIGHT,
        supports=lambda m: m[_AT_LARGE[0]].high < 0.5 and m[_AT_LARGE[1]].low >= RIGHT,
        refutes=lambda m: m[_AT_LARGE[0]].low > 0.5 or m[_AT_LARGE[1]].high < RIGHT,
        reads=(cell("among", "factorised", COMPLETED[0]), *_AT_LARGE),
    ),
    _completes(
        "transformer",
        "Z8.transformer",
        "A transformer completes the fourth corner where a factorised matrix does, and only there.",
    ),
    _target(
        "transformer",
        "Z8.transformer-target",
        "In a transformer too, an a that was a target under the reverse relation is what it takes for the answer to "
        "win over all tokens.",
    ),
)
