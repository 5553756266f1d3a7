"""What else might have been answered: pools of answers, candidates from them, guessers that know no facts."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from oneway.facts import Direction, Fact, FactTable


@dataclass(frozen=True, slots=True)
class Chance:
    """The probability that a guesser who knows every answer of the relation, but no fact, is right.

    `uniform` picks any answer; `frequent` the answer of most facts, ties alike; `surname` any answer that
    ends in the last word of the entity given, and any at all where there is none.
    """

    uniform: float
    frequent: float
    surname: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """The answers to be scored after one prompt, as places in a pool: the right ones, then the wrong ones."""

    right: np.ndarray  # int64, ascending
    wrong: np.ndarray  # int64

    @property
    def all(self) -> np.ndarray:
        return np.concatenate([self.right, self.wrong])


@dataclass(frozen=True)
class Pool:
    """Every answer of one relation in one direction: the objects, or the subjects; aliases too."""

    names: Sequence[str]
    place: Mapping[str, int]
    facts: np.ndarray  # int64 [name]: how many facts have it as their answer, 0 for an alias
    last_word: np.ndarray  # int64 [name]: which last word it has
    words: Mapping[str, int]

    @classmethod
    def of(cls, answers: Sequence[str], aliases: Sequence[str] = ()) -> "Pool":
        """The pool of the answers of some facts, one per fact."""
        place = {name: i for i, name in enumerate(dict.fromkeys((*answers, *aliases)))}
        facts = np.bincount([place[name] for name in answers], minlength=len(place))
        words: dict[str, int] = {}
        last_word = np.array([words.setdefault(_last_word(name), len(words)) for name in place])
        return cls(tuple(place), place, facts, last_word, words)

    @cached_property
    def drawable(self) -> np.ndarray:
        """The places of all names but aliases."""
        return np.flatnonzero(self.facts)

    @cached_property
    def _by_facts(self) -> list[tuple[int, int]]:
        """(number of facts, how many answers have that many), the most frequent first."""
        values, sizes = np.unique(self.facts[self.drawable], return_counts=True)
        return list(zip(values[::-1].tolist(), sizes[::-1].tolist(), strict=True))

    @cached_property
    def _by_word(self) -> np.ndarray:
        """How many answers end in each last word."""
        return np.bincount(self.last_word[self.drawable], minlength=len(self.words))

    def places(self, names: Sequence[str]) -> np.ndarray:
        return np.unique(np.array([self.place[name] for name in names], dtype=np.int64))

    def candidates(
        self, right: np.ndarray, limit: int, key: tuple[int, str], *, only: int | None = None
    ) -> Candidates:
        """All answers where there are at most `limit`, else `limit` drawn at random; the right ones included.

        The draw depends on nothing but `key`, a seed and a text that names the question. With `only`, that
        one answer is right, and the others of `right` are left out: they are true, but not what was stated.
        """
        drawn = self.drawable
        if len(drawn) > limit:
            rng = np.random.default_rng((key[0], zlib.crc32(key[1].encode())))
            drawn = np.sort(rng.choice(drawn, size=limit, replace=False, shuffle=False))
        at = np.searchsorted(right, drawn).clip(max=len(right) - 1)
        wrong = drawn[right[at] != drawn]
        return Candidates(right if only is None else np.array([only]), wrong)

    def chance(self, right: np.ndarray, given: str, *, only: int | None = None) -> Chance:
        """How often each guesser is right on a question that names `given`; `only` as in `candidates`."""
        right = right[self.facts[right] > 0]
        hits = right if only is None else np.array([only])
        others = right[:0] if only is None else right[right != only]
        uniform = len(hits) / (len(self.drawable) - len(others))
        frequent, surname = 0.0, uniform
        for number, size in self._by_facts:
            if left := size - int((self.facts[others] == number).sum()):
                frequent = int((self.facts[hits] == number).sum()) / left
                break
        word = self.words.get(_last_word(given), -1)
        if word >= 0 and (left := int(self._by_word[word]) - int((self.last_word[others] == word).sum())):
            surname = int((self.last_word[hits] == word).sum()) / left
        return Chance(uniform, frequent, surname)


class Pools:
    """The pools of a table, and the right answers of its questions."""

    def __init__(self, table: FactTable) -> None:
        self._table = table
        groups: dict[str, list[Fact]] = {}
        for fact in table:
            groups.setdefault(fact.relation, []).append(fact)
        self._subjects = {
            name: Pool.of([f.subject for f in facts], [alias for f in facts for alias in f.subject_aliases])
            for name, facts in groups.items()
        }
        self._objects = {
            name: Pool.of([f.object for f in facts], [alias for f in facts for alias in f.aliases])
            for name, facts in groups.items()
        }
        # Questions come sorted by what they name, and a name may have thousands of right answers.
        self.right = lru_cache(maxsize=16)(self._right)

    def of(self, relation: str, direction: Direction) -> Pool:
        return (self._objects if direction is Direction.FORWARD else self._subjects)[relation]

    def _right(self, relation: str, direction: Direction, given: str) -> np.ndarray:
        """The places of every right answer to a question that names `given`, whatever fact it came from."""
        table, key = self._table, (given, relation)
        names = table.objects_of[key] if direction is Direction.FORWARD else table.subjects_of[key]
        return self.of(relation, direction).places(names)


def _last_word(name: str) -> str:
    return name.split()[-1] if name.split() else name
