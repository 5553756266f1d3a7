"""The claims about remedies and the rules by which they are judged, fixed before any record."""

from collections.abc import Iterator

from oneway.evidence import Claim, Measured
from oneway.training.remedies.remedy import REMEDIES

LARGE = "arrows, 800 words"
WORLDS = ("arrows", "two words", "phrasings", "identities", "families")
HALF, HIGH, KEPT, NOTHING = 0.5, 0.90, 0.99, 0.02
LEAST = 0.05  # what reverse recall without a rule's condition may reach
OURS = "ours, on Zhu et al. 2024, open questions (arXiv 2405.04669)"
SEARCH = "retrieve then reverse"


def cell(quantity: str, part: str, remedy: str, control: str = "", setting: str = "") -> str:
    """The name of an estimate: "reverse[arrows, relation bridge, permuted]"."""
    return f"{quantity}[{', '.join(filter(None, (part, remedy, control, setting)))}]"


def _works(name: str, part: str) -> Claim:
    remedy = REMEDIES[name]
    known = 0.9
    suffix = "" if part == "arrows" else f".{part.replace(' ', '-')}"
    reverse, forward, both = (cell(quantity, part, name) for quantity in ("reverse", "forward", "both_ways"))
    baseline = cell("reverse", part, "none")
    return Claim(
        id=f"{remedy.id}.{name.replace(' ', '-')}{suffix}",
        text=f"{name.capitalize()} ({remedy.what}): most facts told forward only are recalled in reverse, over the "
        f"whole vocabulary. World: {part}.",
        source=remedy.source,
        rule=f"Control: lower bounds above {known:g} of the forward recall of these facts and of the reverse of facts "
        f"told both ways; without a remedy the reverse has an upper bound below {LEAST:g}. Supports: lower bound of "
        f"the reverse over the whole vocabulary at or above {HALF:g}. Refutes: upper bound below {HALF:g}.",
        control=lambda m: m[forward].low > known and m[both].low > known and m[baseline].high < LEAST,
        supports=lambda m: m[reverse].low >= HALF,
        refutes=lambda m: m[reverse].high < HALF,
        reads=(reverse, cell("reverse_among", part, name), forward, both, baseline),
        only_where=reverse,
    )


def _rule(identifier: str, quantity: str, text: str) -> Claim:
    """A necessary condition, over all remedies that answer by themselves on single words."""
    names = [name for name in REMEDIES if name != SEARCH]

    def without(m: Measured) -> Iterator[str]:
        return (name for name in names if m[cell(quantity, "arrows", name)].mean == 0.0)

    return Claim(
        id=identifier,
        text=text,
        source=OURS,
        rule="Of the remedies under which the condition holds of no held-out fact, on single words and without the "
        "search. Control: there are at least two of them, and a remedy of which it holds has a lower bound at or above "
        f"{HALF:g}. Supports: all upper bounds of the reverse over the whole vocabulary below {LEAST:g}. Refutes: one "
        f"lower bound above {LEAST:g}.",
        control=lambda m: (
            len(list(without(m))) >= 2
            and any(
                m[cell(quantity, "arrows", name)].mean > 0.99
                and m[cell("reverse", "arrows", name)].low >= HALF
                for name in names
            )
        ),
        supports=lambda m: all(m[cell("reverse", "arrows", name)].high < LEAST for name in without(m)),
        refutes=lambda m: any(m[cell("reverse", "arrows", name)].low > LEAST for name in without(m)),
        reads=tuple(cell(of, "arrows", name) for name in names for of in ("reverse", quantity)),
    )


def _controls(part: str, remedy: str = "relation bridge") -> tuple[str, ...]:
    names = ("permuted", "others only", "target elsewhere")
    return tuple(cell("reverse", part, remedy, name) for name in names)


_BEST = {of: cell(of, LARGE, "relation bridge") for of in ("reverse", "forward", "reverse_told")}
_BEST_CLAIMS = (
    Claim(
        id="R7.best",
        text="At a vocabulary of 800, and with no reverse statement of any held-out fact, the relation bridge recalls "
        "them in reverse and keeps the forward facts.",
        source=OURS,
        rule="Control: for no held-out fact is its subject foretold from its object. Supports: lower bounds at or "
        f"above {HIGH:g} of the reverse over the whole vocabulary and {KEPT:g} of the forward recall. Refutes: an "
        "upper bound below.",
        control=lambda m: m[_BEST["reverse_told"]].mean == 0.0,
        supports=lambda m: m[_BEST["reverse"]].low >= HIGH and m[_BEST["forward"]].low >= KEPT,
        refutes=lambda m: m[_BEST["reverse"]].high < HIGH or m[_BEST["forward"]].high < KEPT,
        reads=tuple(_BEST.values()),
    ),
    Claim(
        id="R7.best-controls",
        text="Identities that name somebody else, bridges for other entities only, and the answers as targets "
        "elsewhere bring nothing.",
        source=OURS,
        rule=f"Control: the bridge itself has a lower bound at or above {HIGH:g}. Supports: upper bounds of all three "
        f"at most {NOTHING:g}. Refutes: a lower bound above {NOTHING:g}.",
        control=lambda m: m[_BEST["reverse"]].low >= HIGH,
        supports=lambda m: all(m[name].high <= NOTHING for name in _controls(LARGE)),
        refutes=lambda m: any(m[name].low > NOTHING for name in _controls(LARGE)),
        reads=(_BEST["reverse"], *_controls(LARGE)),
    ),
)


def _long_names(name: str, identifier: str) -> Claim:
    reverse, told = (cell(of, "phrasings", name) for of in ("reverse", "reverse_told"))
    controls = _controls("phrasings", name)
    return Claim(
        id=f"{identifier}.controls",
        text=f"On names of two words in three phrasings, with no reverse statement of a held-out fact, it is the true "
        f"identities that bring recall in reverse ({name}): with others it stays far below.",
        source=OURS,
        rule="Control: for no held-out fact is its subject foretold from its object, and the remedy has a lower bound "
        f"at or above {HALF:g}. Supports: upper bounds of all three controls below {HALF:g} and below the remedy's "
        f"lower bound. Refutes: a lower bound of a control above {HALF:g}.",
        control=lambda m: m[told].mean == 0.0 and m[reverse].low >= HALF,
        supports=lambda m: all(m[name].high < min(HALF, m[reverse].low) for name in controls),
        refutes=lambda m: any(m[name].low > HALF for name in controls),
        reads=(reverse, told, *controls),
    )


CLAIMS = (
    *(_works(name, world) for world in WORLDS for name in REMEDIES if name != "none"),
    *_BEST_CLAIMS,
    _long_names("concept bridge", "R8.concept-bridge"),
    _long_names("linked names", "R7.linked-names"),
    _rule(
        "Z8.target-rule",
        "target_in_reverse",
        "Target rule: a is recalled in reverse only if it was to be foretold in a text with the reverse relation's "
        "words.",
    ),
    _rule(
        "Z8.target-rule-anywhere",
        "target",
        "Weak target rule: a is recalled in reverse only if it was to be foretold in any text.",
    ),
    _rule(
        "Z8.index-rule",
        "index",
        "Index rule: a is recalled in reverse only if something was to be foretold from its b.",
    ),
)
