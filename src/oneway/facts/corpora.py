"""A labelled table into training text, with the place of every answer so that a loss can be put on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from oneway.facts.fact import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import fill, relation_of, sentence, statement
from oneway.facts.splits import training_directions


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece of training text. `text[slice(*answer_span)]` is the answer, with the space before it.

    The text before the span is the prompt of the question in the same direction. `fact_index` is the row
    of the table, in an episode the index among the facts that it states.
    """

    text: str
    answer_span: tuple[int, int]
    fact_index: int
    direction: Direction


def training_sentences(table: FactTable) -> Iterator[Sentence]:
    """Every fact in every direction in which it is trained (see `by_direction`), with every template.

    Each text is closed by a full stop.

    Raises ValueError where a fact's label or relation is unknown, or its relation has no template for a
    direction in which the fact is to be trained.
    """
    for index, fact in enumerate(table.facts):
        relation = relation_of(table, fact)
        for direction in training_directions(fact):
            templates = relation.forward if direction is Direction.FORWARD else relation.reverse
            if not templates:
                raise ValueError(
                    f"{fact.subject!r} is labelled {fact.split!r}, but its relation {relation.name!r} has no "
                    f"{direction} template"
                )
            for template in templates:
                filled = fill(template, fact.subject, fact.object)
                span = filled.object if direction is Direction.FORWARD else filled.subject
                yield _sentence(filled.text, span, index, direction)


def one_shot_sentences(table: FactTable) -> Iterator[Sentence]:
    """Every fact that is trained forward, behind each one-shot text of its relation.

    The prefix is paired with the forward template of its index, as in a question. Raises ValueError as
    `training_sentences` does.
    """
    for index, fact in enumerate(table.facts):
        relation = relation_of(table, fact)
        if Direction.FORWARD in training_directions(fact):
            for prefix, template in zip(relation.one_shot, relation.forward, strict=False):
                filled = fill(template, fact.subject, fact.object)
                start, end = filled.object
                span = (len(prefix) + start, len(prefix) + end)
                yield _sentence(prefix + filled.text, span, index, Direction.FORWARD)


def entry(fact: Fact, index: int) -> Sentence:
    """A row of a table: a subject with one of its objects right behind it.

    Nothing but the name stands before the object, so whoever is to say it has looked the subject up by the end of its
    name. `index` becomes the `fact_index`.
    """
    text = f"{fact.subject} {fact.object}"
    return Sentence(statement(text), (len(fact.subject), len(text)), index, Direction.FORWARD)


def episode(
    facts: Sequence[Fact], asked: int, relations: Mapping[str, Relation], *, template_index: int = 0
) -> Sentence:
    """Facts stated one after the other, then one of them in reverse, whose subject is the answer.

    With a single fact the text up to the answer is the prompt of `in_context_question`. Templates are
    paired by index, modulo the number of forward templates.
    """
    stated = []
    for fact in facts:
        forward = relations[fact.relation].forward
        stated.append(statement(sentence(forward[template_index % len(forward)], fact.subject, fact.object)))
    before = " ".join(stated) + " "
    fact = facts[asked]
    filled = fill(relations[fact.relation].reverse[template_index], fact.subject, fact.object)
    span = (len(before) + filled.subject[0], len(before) + filled.subject[1])
    return _sentence(before + filled.text, span, asked, Direction.IN_CONTEXT)


def episodes(
    facts: Iterator[Fact], relations: Mapping[str, Relation], rng: np.random.Generator, *, most: int = 3
) -> Iterator[Sentence]:
    """Endless in-context episodes of 1 to `most` facts, drawn from endless facts; one at random is asked.

    No name stands twice in one episode: a fact that would repeat one is passed over. The template is drawn
    among those of the asked fact.
    """
    while True:
        wanted = int(rng.integers(1, most + 1))
        stated: list[Fact] = []
        names: set[str] = set()
        while len(stated) < wanted:
            fact = next(facts)
            if names.isdisjoint((fact.subject, fact.object)):
                stated.append(fact)
                names |= {fact.subject, fact.object}
        asked = int(rng.integers(wanted))
        template_index = int(rng.integers(len(relations[stated[asked].relation].reverse)))
        yield episode(stated, asked, relations, template_index=template_index)


def _sentence(text: str, name: tuple[int, int], fact_index: int, direction: Direction) -> Sentence:
    """Closed by a full stop; the space before the answer belongs to it, as in a question."""
    start, end = name
    if text[:start].endswith(" "):
        start -= 1
    return Sentence(statement(text), (start, end), fact_index, direction)
