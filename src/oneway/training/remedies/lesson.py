"""A piece of training text as words, with the names in it and what is to be predicted."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from oneway.facts.fact import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import fill, relation_of
from oneway.facts.splits import training_directions

NO_NAME, SUBJECT, OBJECT = 0, 1, 2  # what a word belongs to
MARKS = ".,;:!?"


@dataclass(frozen=True, slots=True)
class Lesson:
    """Words of a text about one fact.

    `names` says for every word to which name it belongs (`NO_NAME`, `SUBJECT`, `OBJECT`), `targets` which words are to
    be predicted from those before them, `weight` how much the lesson counts. `fact_index` is the row of the table.
    """

    words: tuple[str, ...]
    names: tuple[int, ...]
    targets: tuple[bool, ...]
    fact_index: int
    weight: float = 1.0

    @property
    def text(self) -> str:
        """The words with a space before each but the first and the marks."""
        return "".join(word if word in MARKS else f" {word}" for word in self.words).strip()


_WORD = re.compile(rf"[{MARKS}]|[^\s{MARKS}]+")
Corpus = Callable[[FactTable, np.random.Generator], list[Lesson]]


def words_of(text: str) -> list[str]:
    """Words are cut at white space; . , ; : ! ? are words of their own."""
    return _WORD.findall(text)


def lesson(words: Sequence[str], names: Sequence[int], fact_index: int, weight: float = 1.0) -> Lesson:
    """Words whose targets are those of every name but the one that comes first.

    What stands before the first name cannot be foretold, and neither can the name.
    """
    first = next((name for name in names if name != NO_NAME), NO_NAME)
    targets = tuple(name not in (NO_NAME, first) for name in names)
    return Lesson(tuple(words), tuple(names), targets, fact_index, weight)


def filled(template: str, fact: Fact, fact_index: int) -> Lesson:
    """A template filled with a fact's names, cut into words and marks (see `words_of`)."""
    found = fill(template, fact.subject, fact.object)
    words, names = [], []
    for word in _WORD.finditer(found.text):
        words.append(word.group())
        spans = ((SUBJECT, found.subject), (OBJECT, found.object))
        own = [name for name, (start, end) in spans if word.start() < end and word.end() > start]
        names.append(own[0] if own else NO_NAME)
    return lesson(words, names, fact_index)


def stated(table: FactTable) -> list[Lesson]:
    """Every fact in every direction in which it is trained, with every template: the corpus without a remedy.

    Raises ValueError where a label or a relation is unknown, as `training_sentences` does.
    """
    return [
        filled(template, fact, index)
        for index, fact in enumerate(table)
        for direction in training_directions(fact)
        for template in templates(relation_of(table, fact), direction)
    ]


def templates(relation: Relation, direction: Direction) -> tuple[str, ...]:
    """The templates that state a fact in a direction."""
    return relation.forward if direction is Direction.FORWARD else relation.reverse


def trained(table: FactTable) -> Iterator[tuple[int, Fact]]:
    """The facts that are trained in some direction, with their rows."""
    return ((index, fact) for index, fact in enumerate(table) if training_directions(fact))
