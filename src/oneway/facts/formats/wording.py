"""Templates of published files: "{}" for the subject, or a filled sentence from which it is cut out."""

import re
from collections.abc import Iterable

from oneway.facts.fact import OBJECT_SLOT, SUBJECT_SLOT, Relation
from oneway.facts.formats.form import shown
from oneway.facts.rendering import TemplateError, parse

BLANK = "{}"


def blank_template(prompt: str) -> str | None:
    """A prompt whose subject is "{}" as a template: the object follows at its end. None where it cannot be.

    It cannot where "{}" does not stand exactly once, where it holds other slots, or damaged text.
    """
    if prompt.count(BLANK) != 1:
        return None
    return _valid(f"{prompt.replace(BLANK, SUBJECT_SLOT).rstrip()} {OBJECT_SLOT}")


def blank_fault(prompt: str) -> str:
    """Why `blank_template` gives none."""
    return (
        f"the template {shown(prompt)} must hold {BLANK} exactly once, for the subject, and no other slot or "
        f"damaged text; the object follows its end"
    )


def learnt_relations(
    examples: Iterable[tuple[str, str, str]], *, before: str = "", after: str = " "
) -> dict[str, Relation]:
    """The templates of each relation, learnt from (relation, sentence, subject): the subject is cut out.

    `before` and `after` are put around a sentence, then the object follows. A sentence teaches where its
    subject stands in it exactly once, as a whole word; one that names it more often ("Who directed Who?")
    is left to the templates learnt from others. Every relation is named, also one without templates.
    """
    learnt: dict[str, dict[str, None]] = {}
    for relation, text, subject in examples:
        templates = learnt.setdefault(relation, {})
        places = _places(text, subject)
        if len(places) == 1:
            cut = text[: places[0]] + SUBJECT_SLOT + text[places[0] + len(subject) :]
            template = _valid(f"{before}{cut.rstrip()}{after}{OBJECT_SLOT}")
            if template:
                templates[template] = None
    return {name: Relation(name, forward=tuple(templates)) for name, templates in learnt.items()}


def _places(text: str, subject: str) -> list[int]:
    """Where the subject stands in a text as a whole word; in writing without spaces, where it stands at all."""
    if not subject:
        return []
    exact = re.escape(subject)
    whole = [found.start() for found in re.finditer(rf"(?<!\w){exact}(?!\w)", text)]
    if whole or subject.isascii():
        return whole
    return [found.start() for found in re.finditer(exact, text)]


def _valid(template: str) -> str | None:
    """The template, None where its slots are not as they must be or it holds half of a surrogate pair."""
    try:
        parse(template)
        template.encode("utf-8")
    except (TemplateError, UnicodeEncodeError):
        return None
    return template
