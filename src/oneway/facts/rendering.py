"""Facts into words: a template's text with its slots filled, and the questions asked of a model.

A template holds `{subject}` and `{object}` once each, anywhere. Slots are found once and text is put
together by concatenation, never by `str.format`: a name may hold braces.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from oneway.facts.fact import OBJECT_SLOT, SUBJECT_SLOT, Direction, Fact, FactTable, Relation

ALL_DIRECTIONS = (Direction.FORWARD, Direction.REVERSE, Direction.IN_CONTEXT)

_SLOT = re.compile(r"\{\s*\w*\s*\}")


class TemplateError(ValueError):
    """A template whose slots are missing, doubled or unknown."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template cut at its slots: `before`, the first slot, `between`, the second slot, `after`."""

    before: str
    between: str
    after: str
    subject_first: bool


@dataclass(frozen=True, slots=True)
class Filled:
    """A template with both slots filled; spans are (start, end) character offsets of the names."""

    text: str
    subject: tuple[int, int]
    object: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing asked of a model: `prompt` is given and `answer` must follow it directly.

    `answer` begins with a space where one stands before the answer's slot, so prompt + answer is the
    beginning of the filled text. `fact_index` is the row of the table, `template_index` counts the
    templates of the asked direction, `given` is the entity that the prompt names.
    """

    prompt: str
    answer: str
    fact_index: int
    relation: str
    direction: Direction
    template_index: int
    given: str

    def answer_with(self, name: str) -> str:
        """Another candidate put where the answer stands: with a leading space where the answer has one."""
        return f" {name}" if self.answer.startswith(" ") else name


@lru_cache(maxsize=4096)
def parse(template: str) -> Template:
    """The template cut at its two slots.

    Raises TemplateError where a slot is missing, doubled or unknown ("{subjct}").
    """
    slots = list(_SLOT.finditer(template))
    for slot in slots:
        if slot.group() not in (SUBJECT_SLOT, OBJECT_SLOT):
            raise TemplateError(
                f"unknown slot {slot.group()} in template {template!r}: "
                f"the slots are {SUBJECT_SLOT} and {OBJECT_SLOT}"
            )
    for name in (SUBJECT_SLOT, OBJECT_SLOT):
        count = sum(slot.group() == name for slot in slots)
        if count != 1:
            fault = "is missing from" if count == 0 else f"stands {count} times in"
            raise TemplateError(f"{name} {fault} template {template!r}: each slot stands exactly once")
    first, second = slots
    return Template(
        before=template[: first.start()],
        between=template[first.end() : second.start()],
        after=template[second.end() :],
        subject_first=first.group() == SUBJECT_SLOT,
    )


def fill(template: str, subject: str, object: str) -> Filled:
    """The full text of a template for one fact, with the places of both names.

    Raises TemplateError as `parse` does.
    """
    cut = parse(template)
    names = (subject, object) if cut.subject_first else (object, subject)
    first_start = len(cut.before)
    first_end = first_start + len(names[0])
    second_start = first_end + len(cut.between)
    second_end = second_start + len(names[1])
    spans = ((first_start, first_end), (second_start, second_end))
    if not cut.subject_first:
        spans = spans[::-1]
    text = "".join((cut.before, names[0], cut.between, names[1], cut.after))
    return Filled(text, subject=spans[0], object=spans[1])


def sentence(template: str, subject: str, object: str) -> str:
    """The full text of a template for one fact.

    Raises TemplateError as `parse` does.
    """
    return fill(template, subject, object).text


def statement(text: str) -> str:
    """A filled sentence closed by a full stop; one that already ends in a stop gets no second one."""
    return text if text.endswith(".") else f"{text}."


def forward_question(
    relation: Relation, fact: Fact, *, fact_index: int = 0, template_index: int = 0, prefix: str = ""
) -> Question:
    """Subject given, object asked: `prefix` and the forward template up to the object's slot → object.

    Text after the object's slot is not part of the question.
    """
    filled = fill(relation.forward[template_index], fact.subject, fact.object)
    prompt, answer = _asked(prefix + filled.text[: filled.object[0]], fact.object)
    return Question(
        prompt, answer, fact_index, relation.name, Direction.FORWARD, template_index, fact.subject
    )


def reverse_question(
    relation: Relation, fact: Fact, *, fact_index: int = 0, template_index: int = 0
) -> Question:
    """Object given, subject asked: the reverse template up to the subject's slot → subject.

    A reverse template that begins with its subject slot gives an empty prompt.
    """
    filled = fill(relation.reverse[template_index], fact.subject, fact.object)
    prompt, answer = _asked(filled.text[: filled.subject[0]], fact.subject)
    return Question(prompt, answer, fact_index, relation.name, Direction.REVERSE, template_index, fact.object)


def in_context_question(
    relation: Relation, fact: Fact, *, fact_index: int = 0, template_index: int = 0
) -> Question:
    """The fact is stated, then asked in reverse: forward sentence, ". ", reverse prompt → subject.

    The reverse template of this index is paired with the forward template of the same index; where there
    are fewer forward than reverse templates, the index is taken modulo their number.
    """
    stated = sentence(relation.forward[template_index % len(relation.forward)], fact.subject, fact.object)
    filled = fill(relation.reverse[template_index], fact.subject, fact.object)
    prompt, answer = _asked(f"{statement(stated)} {filled.text[: filled.subject[0]]}", fact.subject)
    return Question(
        prompt, answer, fact_index, relation.name, Direction.IN_CONTEXT, template_index, fact.object
    )


def questions(
    table: FactTable,
    directions: Iterable[Direction] = ALL_DIRECTIONS,
    *,
    prefixes: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Question]:
    """Every question of a table, lazily: fact by fact, each in each direction with each template.

    `prefixes` maps a relation's name to texts that stand before its forward prompts, paired with the
    forward templates by index modulo their number (see `one_shot_prefixes`). What a relation has no
    template for is not asked; `unaskable` names it.

    Raises ValueError where a fact's relation is not in the table, TemplateError where a template is wrong.
    """
    asked = tuple(Direction(direction) for direction in directions)
    for index, fact in enumerate(table.facts):
        relation = relation_of(table, fact)
        prefix_texts = (prefixes or {}).get(relation.name) or ("",)
        for direction in asked:
            for template_index in range(template_count(relation, direction)):
                if direction is Direction.FORWARD:
                    prefix = prefix_texts[template_index % len(prefix_texts)]
                    yield forward_question(
                        relation, fact, fact_index=index, template_index=template_index, prefix=prefix
                    )
                else:
                    ask = reverse_question if direction is Direction.REVERSE else in_context_question
                    yield ask(relation, fact, fact_index=index, template_index=template_index)


def template_count(relation: Relation, direction: Direction) -> int:
    """How many questions a fact of this relation gives in a direction."""
    if direction is Direction.FORWARD:
        return len(relation.forward)
    if direction is Direction.IN_CONTEXT and not relation.forward:
        return 0
    return len(relation.reverse)


def unaskable(
    table: FactTable, directions: Iterable[Direction] = ALL_DIRECTIONS
) -> tuple[tuple[str, Direction], ...]:
    """The relations of a table's facts that have no template for a direction, so that a report can say so."""
    names = dict.fromkeys(fact.relation for fact in table.facts)
    return tuple(
        (name, direction)
        for direction in directions
        for name in names
        if name in table.relations and template_count(table.relations[name], direction) == 0
    )


def one_shot_prefixes(table: FactTable) -> dict[str, tuple[str, ...]]:
    """Each relation's own one-shot texts, in the form that `questions` takes."""
    return {name: relation.one_shot for name, relation in table.relations.items() if relation.one_shot}


def relation_of(table: FactTable, fact: Fact) -> Relation:
    """The relation that puts a fact into words.

    Raises ValueError where the table does not have it.
    """
    try:
        return table.relations[fact.relation]
    except KeyError:
        where = f" ({fact.source})" if fact.source else ""
        known = ", ".join(map(repr, table.relations)) or "none"
        raise ValueError(
            f"fact {fact.subject!r}{where} has the relation {fact.relation!r}, which the table has no "
            f"templates for; it has: {known}"
        ) from None


def _asked(text_before: str, name: str) -> tuple[str, str]:
    """The prompt and the answer: the space before the answer's slot goes to the answer."""
    if text_before.endswith(" "):
        return text_before[:-1], f" {name}"
    return text_before, name
