"""Worlds of growing difficulty for the remedies: what is told, what is held out, and other text beside it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from oneway.facts import FactTable, Trained, arrows, by_direction, families, identities
from oneway.facts.fact import Relation
from oneway.facts.worlds import ARROW
from oneway.training.remedies.lesson import NO_NAME, Lesson, words_of

BOTH_WAYS = 0.7  # of the facts; of the others the reverse is held out
OTHER = "beside"  # the word between the two of other text
STARTS, KINDS, ENDS = 16, 4, 8  # other text: each start goes with the ends of its kind
TOLD = 6  # of a start's eight ends: the other two are held out
STRANGERS = 0.5  # words that stand in no fact, for controls: a share of the facts

PHRASED = Relation(
    name="arrow",
    forward=("{subject} → {object}", "{subject} leads to {object}", "from {subject} one gets to {object}"),
    reverse=("{object} ← {subject}", "{object} comes from {subject}", "to {object} one gets from {subject}"),
    one_to_one=True,
)


@dataclass(frozen=True, slots=True)
class World:
    """Facts told forward or both ways, other text in a told and a held-out part, and words that nobody uses."""

    table: FactTable
    other: list[Lesson]
    other_held_out: list[Lesson]
    strangers: tuple[str, ...]
    vocabulary: int  # at least so many words, used or not

    @property
    def held_out(self) -> FactTable:
        """The facts whose reverse is never told."""
        return self.table.select(split=Trained.FORWARD_ONLY.value)

    def words(self) -> Iterator[str]:
        """Every word of templates, names, other text and strangers."""
        for fact in self.table:
            yield from words_of(f"{fact.subject} {fact.object}")
        for relation in self.table.relations.values():
            for template in (*relation.forward, *relation.reverse):
                yield from words_of(template.replace("{subject}", " ").replace("{object}", " "))
        for lesson in (*self.other, *self.other_held_out):
            yield from lesson.words
        yield from self.strangers


def _arrows(size: int, seed: int) -> FactTable:
    return arrows(4 * size, seed=seed).table()


def _two_words(size: int, seed: int) -> FactTable:
    return arrows(2 * size, 2, seed=seed).table()


def _phrasings(size: int, seed: int) -> FactTable:
    table = _two_words(size, seed)
    return replace(table, relations={ARROW.name: PHRASED})


def _identities(size: int, seed: int) -> FactTable:
    return identities(size // 3, seed=seed, phrasings=4).train


def _families(size: int, seed: int) -> FactTable:
    return families(size, seed=seed)


# By growing difficulty: single words; names of two shared words; three phrasings; descriptions of seven words; several
# relations of families, whose surnames are shared.
WORLDS: Mapping[str, Callable[[int, int], FactTable]] = {
    "arrows": _arrows,
    "two words": _two_words,
    "phrasings": _phrasings,
    "identities": _identities,
    "families": _families,
}


def world(name: str, size: int, seed: int, *, both_ways: float = BOTH_WAYS, vocabulary: int = 0) -> World:
    """About `size` facts of a world, a share of them told both ways, the others forward only.

    Raises KeyError for a world that there is not.
    """
    told = {Trained.BOTH_WAYS.value: both_ways, Trained.FORWARD_ONLY.value: 1 - both_ways}
    table = by_direction(WORLDS[name](size, seed), told, seed)
    other, held_out = _other_text(np.random.default_rng((seed, 3)))
    strangers = tuple(f"z{number}" for number in range(round(STRANGERS * len(table))))
    return World(table, other, held_out, strangers, vocabulary)


def _other_text(rng: np.random.Generator) -> tuple[list[Lesson], list[Lesson]]:
    """Sentences `u beside v`, v any of the eight ends of u's kind: a held-out one costs ln 8 where kinds are learnt."""
    told, held_out = list[Lesson](), list[Lesson]()
    for start in range(STARTS):
        for place, end in enumerate(rng.permutation(ENDS).tolist()):
            words = (f"u{start}", OTHER, f"v{ENDS * (start % KINDS) + end}")
            sentence = Lesson(words, (NO_NAME,) * 3, (False, False, True), -1)
            (told if place < TOLD else held_out).append(sentence)
    return told, held_out
