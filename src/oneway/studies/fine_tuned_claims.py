"""The claims of a checkpoint that was fine-tuned one way, for whatever is asked for; their rules and levels."""

from collections.abc import Callable, Sequence

from oneway.evidence import Claim
from oneway.studies.fine_tuned import ANSWER, BOTH, OTHER, SAME, TEXT, name_of

TOLD = 0.95  # exact match in the very words in which a fact was told
RECALLED = 0.80  # exact match in words that never stated it: what counts as recalled
AT_CHANCE = 0.05  # how far above chance the upper bound of exact match may reach
NATS = 1.0  # how wide the interval of "no difference" may be; knowing is ln 30 = 3.4 nats above guessing
FALL = 0.10  # of exact match, that counts as one
TESTS = ("t_test", "ks_test")


def claims_of(prefix: str, source: str, asked: Sequence[str]) -> tuple[Claim, ...]:
    """Claims whose ids begin with `prefix`; `asked` names what is asked for."""
    id = _ids(prefix)
    return (
        _recalled(
            id("same-direction"), source, asked, SAME, "in one direction are answered in that direction"
        ),
        _recalled(id("both-ways"), source, asked, BOTH, "in both directions are answered"),
        _at_chance(id(""), source, asked, TEXT),
        *(_no_difference(id(f"logprob-{what}"), source, what) for what in asked),
        _at_chance(id("masked"), source, asked, ANSWER),
        _masked_falls(id("loss-mask"), source, asked),
    )


def _ids(prefix: str) -> Callable[[str], str]:
    joint = "-" if "." in prefix else "."
    return lambda end: f"{prefix}{joint}{end}" if end else prefix


def _recalled(id: str, source: str, asked: Sequence[str], way: str, how: str) -> Claim:
    names = [name_of(what, way, TEXT) for what in asked]
    return Claim(
        id=id,
        text=f"Facts on which a checkpoint was fine-tuned {how}, in words that never stated them.",
        source=source,
        rule=f"Loss on whole texts. Control: lower bound of exact match in the words in which they were told at or "
        f"above {TOLD:g}. Supports: lower bound at or above {RECALLED:g} for {_listed(asked)}. Refutes: an upper bound "
        f"below {RECALLED:g}.",
        control=lambda m: m["as_told"].low >= TOLD,
        supports=lambda m: all(m[name].low >= RECALLED for name in names),
        refutes=lambda m: any(m[name].high < RECALLED for name in names),
        reads=("as_told", *names),
    )


def _at_chance(id: str, source: str, asked: Sequence[str], loss: str) -> Claim:
    known = [name_of(what, way, loss) for what in asked for way in (SAME, BOTH)]
    other = [name_of(what, OTHER, loss) for what in asked]
    over = [f"{name}_over_chance" for name in other]
    told = [f"{name}_as_told" for name in other]
    where = "" if loss == TEXT else ", also where the loss was on the answers alone"
    return Claim(
        id=id,
        text="Facts on which a checkpoint was fine-tuned in one direction are answered in the other no more often than "
        f"by guessing among the group{where}.",
        source=source,
        rule=f"Loss on {'whole texts' if loss == TEXT else 'the answers and what follows'}. Control: lower bounds at "
        f"or above {RECALLED:g} for facts told both ways and for facts told the asked way, and at or above {TOLD:g} "
        "for these facts in the words in which they were told. Supports: the intervals of (share right − 1 / facts of "
        f"the group) reach down to 0 or below and stay under {AT_CHANCE:g}. Refutes: a lower bound above 0.",
        control=lambda m: (
            all(m[name].low >= RECALLED for name in known) and all(m[name].low >= TOLD for name in told)
        ),
        supports=lambda m: all(m[name].low <= 0 and m[name].high < AT_CHANCE for name in over),
        refutes=lambda m: any(m[name].low > 0 for name in over),
        reads=(*known, *told, *other, *over),
    )


def _no_difference(id: str, source: str, what: str) -> Claim:
    same, other = name_of(what, SAME, TEXT), name_of(what, OTHER, TEXT)
    quantities = ("difference", *(f"{test}_rejects" for test in TESTS))
    return Claim(
        id=id,
        text=f"Asked against the direction of fine-tuning, the right one of the {what} is as likely as a random one.",
        source=source,
        rule=f"Loss on whole texts. Control: asked in the direction that was told, the lower bound of (log-probability "
        f"of the right one − mean of 4 random others of the group) is above {NATS:g} nat, and the paired t-test and "
        "the Kolmogorov–Smirnov test (right against one random other per fact, each of the group once) each tell them "
        "apart at 0.05 in more than half of the seeds (lower bound). Supports: in the other direction the interval of "
        f"that difference holds 0 and lies within ±{NATS:g} nat. Refutes: that interval excludes 0, on either side.",
        control=lambda m: (
            m[f"{same}_difference"].low > NATS
            and all(m[f"{same}_{test}_rejects"].low > 0.5 for test in TESTS)
        ),
        supports=lambda m: (
            m[f"{other}_difference"].low <= 0 <= m[f"{other}_difference"].high
            and max(-m[f"{other}_difference"].low, m[f"{other}_difference"].high) < NATS
        ),
        refutes=lambda m: m[f"{other}_difference"].low > 0 or m[f"{other}_difference"].high < 0,
        reads=tuple(f"{name}_{quantity}" for name in (other, same) for quantity in quantities),
    )


def _masked_falls(id: str, source: str, asked: Sequence[str]) -> Claim:
    gains = [f"{what}_{SAME}_gain" for what in asked]
    return Claim(
        id=id,
        text="With the prompts masked out of the loss less is recalled, even in the direction that was told.",
        source=f"a replication of {source}: forward accuracy fell from 92% to 0%",
        rule="Control: with the loss on whole texts, lower bound of exact match in the words in which facts were told "
        f"at or above {TOLD:g}. Supports: upper bound of (loss on the answers less loss on whole texts) of exact match "
        f"in the told direction, of the same seeds, below −{FALL:g} for {_listed(asked)}. Refutes: a lower bound above "
        f"−{FALL:g}.",
        control=lambda m: m["as_told"].low >= TOLD,
        supports=lambda m: all(m[name].high < -FALL for name in gains),
        refutes=lambda m: any(m[name].low > -FALL for name in gains),
        reads=("as_told", "masked_as_told", *gains, *(f"{what}_prompt_share" for what in asked)),
    )


def _listed(asked: Sequence[str]) -> str:
    return " and for ".join(asked)
