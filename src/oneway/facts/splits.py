"""Which facts go where: labels by fact and by direction, the same for the same seed and facts."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from hashlib import blake2b

from oneway.facts.fact import Direction, Fact, FactTable


class Trained(StrEnum):
    """In which directions a fact is stated in the training text: the labels of `by_direction`."""

    FORWARD_ONLY = "forward_only"
    REVERSE_ONLY = "reverse_only"
    BOTH_WAYS = "both_ways"
    UNSEEN = "unseen"


_DIRECTIONS: Mapping[Trained, tuple[Direction, ...]] = {
    Trained.FORWARD_ONLY: (Direction.FORWARD,),
    Trained.REVERSE_ONLY: (Direction.REVERSE,),
    Trained.BOTH_WAYS: (Direction.FORWARD, Direction.REVERSE),
    Trained.UNSEEN: (),
}


def by_fact(table: FactTable, shares: Mapping[str, float | int], seed: int) -> FactTable:
    """The table with every fact's `split` set to one of the labels in `shares`.

    An int is a number of facts; a float is a share of the facts that remain after the ints, and floats sum
    to 1. Facts are put in an order that depends only on the seed and the fact itself, and the labels
    are dealt along it: the rows' order does not matter, and most labels stay when facts are added.

    Raises ValueError where the counts do not come out at the number of facts.
    """
    counts = _counts(len(table), shares)
    order = sorted(range(len(table)), key=lambda index: _draw(table.facts[index], seed))
    facts = list(table.facts)
    dealt = iter(order)
    for label, count in counts.items():
        for _ in range(count):
            index = next(dealt)
            facts[index] = replace(facts[index], split=label)
    return table.with_facts(facts)


def by_direction(table: FactTable, shares: Mapping[str, float | int], seed: int) -> FactTable:
    """As `by_fact`, with the labels of `Trained`: the directions in which each fact is to be trained.

    Raises ValueError for other labels, and as `by_fact` does.
    """
    return by_fact(table, {_trained(label).value: share for label, share in shares.items()}, seed)


def training_directions(fact: Fact) -> tuple[Direction, ...]:
    """The directions in which a fact labelled by `by_direction` is stated in training text.

    Raises ValueError where its label is another one.
    """
    return _DIRECTIONS[_trained(fact.split)]


def _trained(label: str) -> Trained:
    try:
        return Trained(label)
    except ValueError:
        known = ", ".join(Trained)
        raise ValueError(f"{label!r} does not say how a fact is trained; it is one of: {known}") from None


def _counts(total: int, shares: Mapping[str, float | int]) -> dict[str, int]:
    """How many facts each label gets; shares are rounded so that nothing is left over."""
    if any(share < 0 for share in shares.values()):
        raise ValueError(f"a share cannot be negative: {dict(shares)}")
    fractions = {label: share for label, share in shares.items() if isinstance(share, float)}
    counts = {label: int(share) for label, share in shares.items() if label not in fractions}
    rest = total - sum(counts.values())
    if rest < 0 or (rest > 0 and not fractions):
        raise ValueError(f"the splits {dict(shares)} make {total - rest} facts, but the table has {total}")
    if fractions and abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"the shares {fractions} sum to {sum(fractions.values()):g}, not to 1")
    counts |= {label: int(share * rest) for label, share in fractions.items()}
    # Largest remainders first; among equals, the order in which they were given.
    by_remainder = sorted(fractions, key=lambda label: counts[label] - fractions[label] * rest)
    for label in by_remainder[: total - sum(counts.values())]:
        counts[label] += 1
    return {label: counts[label] for label in shares}


def _draw(fact: Fact, seed: int) -> bytes:
    key = "\x1f".join((str(seed), fact.subject, fact.relation, fact.object))
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
