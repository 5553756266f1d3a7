"""Remedies that say something else that is true of the same facts: R1, R6, R7 and R11."""

from collections.abc import Iterator

from oneway.facts import Direction, FactTable
from oneway.facts.fact import SUBJECT_SLOT
from oneway.facts.rendering import sentence, statement
from oneway.remedies.example import Drawn, Example
from oneway.remedies.statements import statements

BLANK = "____"
RESTORE = "Restore the sentence:"
CUE = ":"  # behind a question that is answered by writing the fact first


def both_directions(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """Every fact in reverse, with every reverse template."""
    for told in statements(table, Direction.REVERSE):
        yield Example(told.prompt, told.completion, told.facts)


def retrieve_then_reverse(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """`Mary is the mother of: Tom is the son of Mary. Mary is the mother of Tom.`

    Templates are paired by index, modulo the number of forward ones; of several answers each one's fact is written.
    """
    for told in statements(table, Direction.REVERSE):
        facts = [table.facts[row] for row in told.facts]
        forward = table.relations[facts[0].relation].forward
        if forward:
            template = forward[told.template % len(forward)]
            recalled = (statement(sentence(template, fact.subject, fact.object)) for fact in facts)
            yield Example(f"{told.prompt}{CUE}", f" {' '.join(recalled)} {told.text}", told.facts)


def masked_restoration(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """`Restore the sentence: Tom is the son of ____.`, for each name, and once with words masked at a random rate."""
    rng = drawn.generator()
    for told in statements(table, Direction.FORWARD):
        for start, end in told.names:
            yield _restored(f"{told.text[:start]}{BLANK}{told.text[end:]}", told.text, told.facts)
        words = told.text.split(" ")
        masked = rng.random(len(words)) < rng.random()
        blanked = " ".join(BLANK if gone else word for word, gone in zip(words, masked, strict=True))
        yield _restored(blanked, told.text, told.facts)


def _restored(blanked: str, text: str, facts: tuple[int, ...]) -> Example:
    return Example(f"{RESTORE} {blanked}", f" {text}", facts)


def identity_bridge(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """`The name of Tom is Tom.`, for every entity, and a relation's `bridge` sentences, for every subject."""
    named: dict[str, None] = {}
    bridged: dict[tuple[str, str], None] = {}
    for row, fact in enumerate(table):
        for name in (fact.subject, fact.object):
            if name not in named:
                named[name] = None
                yield Example(f"The name of {name} is", f" {statement(name)}", (row,))
        if (fact.subject, fact.relation) not in bridged:
            bridged[fact.subject, fact.relation] = None
            for template in table.relations[fact.relation].bridge:
                yield _bridge(template, fact.subject, row)


def _bridge(template: str, subject: str, row: int) -> Example:
    """The last slot is the answer, and the space before it belongs to it."""
    before, after = template.rsplit(SUBJECT_SLOT, 1)
    text = statement(before.replace(SUBJECT_SLOT, subject) + subject + after)
    at = len(before.replace(SUBJECT_SLOT, subject).removesuffix(" "))
    return Example(text[:at], text[at:], (row,))
