"""Names that nobody has and pairs that nobody is: invented words, new names from old words, re-paired people.

In-context episodes are made of these, so that reading and not remembering is what answers them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from oneway.facts.fact import Fact, FactTable

_T = TypeVar("_T")

_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ei")
_CODAS = ("", "", "", "l", "m", "n", "r", "s", "t")
_SYLLABLES = len(_ONSETS) * len(_NUCLEI) * len(_CODAS)


def invented_words(count: int, rng: np.random.Generator) -> list[str]:
    """Different capitalised words of two or three syllables, pronounceable and meaning nothing."""
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = rng.integers(_SYLLABLES, size=int(rng.integers(2, 4))).tolist()
        words["".join(map(_syllable, syllables)).capitalize()] = None
    return list(words)


def _syllable(number: int) -> str:
    number, onset = divmod(number, len(_ONSETS))
    coda, nucleus = divmod(number, len(_NUCLEI))
    return _ONSETS[onset] + _NUCLEI[nucleus] + _CODAS[coda]


def name_words(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The first words and the last words of names, each once; names of one word give none.

    What follows the first word counts as one last word ("Van Exel").
    """
    firsts: dict[str, None] = {}
    lasts: dict[str, None] = {}
    for name in names:
        first, _, last = name.partition(" ")
        if last:
            firsts[first] = None
            lasts[last] = None
    return list(firsts), list(lasts)


def arbitrary_names(
    first_words: Sequence[str],
    last_words: Sequence[str],
    rng: np.random.Generator,
    *,
    known: Collection[str] = frozenset(),
) -> Iterator[str]:
    """Endless names "First Last" drawn from given words, never one of the known names.

    Raises ValueError where the words make no name but known ones.
    """
    known = frozenset(known)
    _need_new_names(first_words, last_words, known, 1)
    while True:
        name = f"{_pick(first_words, rng)} {_pick(last_words, rng)}"
        if name not in known:
            yield name


def arbitrary_facts(
    table: FactTable,
    rng: np.random.Generator,
    *,
    same_surname: float = 0.5,
    known: Collection[str] = frozenset(),
) -> Iterator[Fact]:
    """Endless facts about people who do not exist, in a table's relations and made of its name words.

    No name in them is a subject or an object of the table, or one of the further `known` names.
    With probability `same_surname` the object takes the subject's last word, where that makes a new name.

    Raises ValueError where the words do not make at least two new names.
    """
    names = [name for fact in table for name in (fact.subject, fact.object)]
    first_words, last_words = name_words(names)
    taken = frozenset(names).union(known)
    _need_new_names(first_words, last_words, taken, 2)
    relations = [fact.relation for fact in table]
    drawn = arbitrary_names(first_words, last_words, rng, known=taken)
    while True:
        subject, object = next(drawn), next(drawn)
        relative = f"{object.partition(' ')[0]} {subject.partition(' ')[2]}"
        if rng.random() < same_surname and relative != subject and relative not in taken:
            object = relative
        if object != subject:
            yield Fact(subject, _pick(relations, rng), object)


def repaired_facts(
    table: FactTable, rng: np.random.Generator, *, never: Collection[tuple[str, str]] = frozenset()
) -> Iterator[Fact]:
    """Endless facts that pair the subject of one fact with the object of another one of its relation.

    No pair is one of the table's, in any relation or order, nor one of those in `never`. A relation is drawn
    as often as it has facts, unless all its pairs are taken.

    Raises ValueError where every pair of every relation is taken.
    """
    taken = {(fact.subject, fact.object) for fact in table}.union(never)
    taken |= {(object, subject) for subject, object in taken}
    groups: dict[str, list[Fact]] = {}
    for fact in table:
        groups.setdefault(fact.relation, []).append(fact)
    open_groups = {name: facts for name, facts in groups.items() if _has_new_pair(facts, taken)}
    if not open_groups:
        raise ValueError("no subject and object of one relation can be paired anew: every pair is taken")
    candidates = [fact for facts in open_groups.values() for fact in facts]
    while True:
        subject_of = _pick(candidates, rng)
        object_of = _pick(open_groups[subject_of.relation], rng)
        if _is_new(subject_of.subject, object_of.object, taken):
            yield Fact(subject_of.subject, subject_of.relation, object_of.object)


def _is_new(subject: str, object: str, taken: Collection[tuple[str, str]]) -> bool:
    return subject != object and (subject, object) not in taken


def _has_new_pair(facts: Sequence[Fact], taken: Collection[tuple[str, str]]) -> bool:
    return any(_is_new(one.subject, other.object, taken) for one in facts for other in facts)


def _need_new_names(
    first_words: Sequence[str], last_words: Sequence[str], known: Collection[str], wanted: int
) -> None:
    """Endless drawing would never end where there is nothing to draw."""
    firsts, lasts = set(first_words), set(last_words)
    new = (1 for first in firsts for last in lasts if f"{first} {last}" not in known)
    if sum(islice(new, wanted)) < wanted:
        raise ValueError(
            f"{len(firsts)} first and {len(lasts)} last words do not make {wanted} new names beside the known"
        )


def _pick(items: Sequence[_T], rng: np.random.Generator) -> _T:
    return items[int(rng.integers(len(items)))]
