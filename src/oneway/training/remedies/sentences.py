"""Remedies that add sentences: the reverse (R1), a masked text to be restored (R6), identity bridges (R7)."""

from dataclasses import replace

import numpy as np

from oneway.facts.fact import Direction, Fact, FactTable
from oneway.facts.rendering import fill, relation_of
from oneway.facts.splits import training_directions
from oneway.training.remedies.lesson import (
    NO_NAME,
    OBJECT,
    SUBJECT,
    Corpus,
    Lesson,
    filled,
    stated,
    templates,
    trained,
)

MASK, RESTORED = "<mask>", "<restored>"
IS = "="
NAME_OF = f"{{object}} {IS} {{subject}}"  # the identity: what is called b is b


def plain(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
    """No remedy: the facts as they are told."""
    return stated(table)


def both_directions(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
    """R1: every fact stated both ways, an upper bound.

    Raises ValueError where a relation has no templates for the direction that is added.
    """
    added = []
    for index, fact in trained(table):
        relation, told = relation_of(table, fact), training_directions(fact)
        for direction in (Direction.FORWARD, Direction.REVERSE):
            if direction not in told:
                if not templates(relation, direction):
                    raise ValueError(
                        f"relation {relation.name!r} has no {direction} templates: it cannot be told both ways"
                    )
                added += [filled(template, fact, index) for template in templates(relation, direction)]
    return [*stated(table), *added]


def masked_restoration(copies: int = 4) -> Corpus:
    """R6: `copies` times a text with words masked at a rate drawn from U(0, 1), followed by the text itself.

    What is restored is predicted from the masked text and what has been restored before: the loss is on all its words.

    Source: Pan et al. 2025, Closing the Data-Efficiency Gap Between Autoregressive and Masked Diffusion LLMs
    (arXiv 2510.09885). Deviation: no instruction in words stands before the masked text, only a token behind it.
    """

    def corpus(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
        told = stated(table)
        return [*told, *(restored(one, rng) for one in told for _ in range(copies))]

    return corpus


def restored(one: Lesson, rng: np.random.Generator) -> Lesson:
    """A text with words masked, a token, and the text again, all of it to be predicted."""
    hidden = rng.random(len(one.words)) < rng.random()
    masked = [MASK if hide else word for word, hide in zip(one.words, hidden, strict=True)]
    names = [NO_NAME if hide else name for name, hide in zip(one.names, hidden, strict=True)]
    before = len(masked) + 1
    return Lesson(
        (*masked, RESTORED, *one.words),
        (*names, NO_NAME, *one.names),
        (*[False] * before, *[True] * len(one.words)),
        one.fact_index,
        one.weight,
    )


def identity_bridge(forward_weight: float = 6.0, identity: str = NAME_OF) -> Corpus:
    """R7 as published: "the wife of A's husband is A", "the name of B is B", the facts counting `forward_weight` times.

    The bridge is the reverse template asked of the forward prompt: `a → ← a`. `identity` is a template whose two slots
    both hold the object.

    Source: arXiv 2602.02470, identity bridge. Deviations: the bridge is composed of the relation's own templates; the
    sentences of a pair do not stand in one batch.
    """

    def corpus(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
        told = [replace(one, weight=forward_weight) for one in stated(table)]
        for index, fact in trained(table):
            relation = relation_of(table, fact)
            for forward, reverse in zip(relation.forward, relation.reverse, strict=False):
                found = fill(forward, fact.subject, fact.object)
                prompt = found.text[: found.object[0]].strip()
                told.append(_said_twice(filled(reverse, replace(fact, object=prompt), index), SUBJECT))
            told.append(_same(identity, fact.object, fact, index, OBJECT))
        return told

    return corpus


def relation_bridge(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
    """R7 with the relations' own tokens: every template with one name in both slots, `b → b` and `a ← a`.

    The forward templates take the object, the reverse ones the subject: both names then share the output directions
    in which the facts' answers are said. Nothing states which a belongs to which b.

    Source: ours, after arXiv 2602.02470.
    """
    return [*stated(table), *relation_identities(table)]


def linked_names(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
    """R7 for names of several words: every name gets a word of its own, and facts and bridges are told of those too.

    A name and its word are linked both ways, `b1 b2 = #7` and `#7 = b1 b2`; the facts and the relation bridge stand
    there in the words, `#3 → #7`, `#7 → #7`. No held-out fact is reversed anywhere.

    Source: ours, after arXiv 2602.02470.
    """
    return [*stated(table), *links(table), *relation_identities(with_own_words(table))]


def links(table: FactTable) -> list[Lesson]:
    """Every name and its own word linked both ways, and the facts told of those words."""
    linked = with_own_words(table)
    found = stated(linked)
    for index, fact in trained(table):
        own = linked.facts[index]
        for whose, name, word in ((SUBJECT, fact.subject, own.subject), (OBJECT, fact.object, own.object)):
            for first, second in ((name, word), (word, name)):
                said = replace(fact, object=first, subject=second)
                found.append(_said_twice(filled(NAME_OF, said, index), whose))
    return found


def with_own_words(table: FactTable) -> FactTable:
    """The same facts of words that stand for the names: "#0" for the first name, and so on."""
    names = dict.fromkeys(name for fact in table for name in (fact.subject, fact.object))
    own = {name: f"#{number}" for number, name in enumerate(names)}
    return table.with_facts(
        replace(fact, subject=own[fact.subject], object=own[fact.object]) for fact in table
    )


def relation_identities(table: FactTable) -> list[Lesson]:
    """What `relation_bridge` adds."""
    return [
        _same(template, name, fact, index, whose)
        for index, fact in trained(table)
        for whose, name, own in (
            (OBJECT, fact.object, relation_of(table, fact).forward),
            (SUBJECT, fact.subject, relation_of(table, fact).reverse),
        )
        for template in own
    ]


def _same(template: str, name: str, fact: Fact, index: int, whose: int) -> Lesson:
    return _said_twice(filled(template, replace(fact, subject=name, object=name), index), whose)


def _said_twice(one: Lesson, whose: int) -> Lesson:
    """A sentence that ends on the name it began with, which belongs to `whose` in both places."""
    return replace(one, names=tuple(whose if name else NO_NAME for name in one.names))
