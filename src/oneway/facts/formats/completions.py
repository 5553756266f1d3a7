"""Prompts with their completions, as models are fine-tuned on: asked forward, the text as it is."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from oneway.facts.fact import OBJECT_SLOT, SUBJECT_SLOT, Relation
from oneway.facts.formats.form import Form, RawRow, Record, shown
from oneway.facts.problems import Findings

SPACED = Relation("completion", forward=(f"{SUBJECT_SLOT} {OBJECT_SLOT}",))
JOINED = Relation("completion_joined", forward=(f"{SUBJECT_SLOT}{OBJECT_SLOT}",))


def completion_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """(prompt, completion). The template together with both is the prompt and then the completion, unchanged.

    Where a space stands at the seam it is the template's; where none does, nothing is put in.
    """
    for line, record in records:
        prompt, completion = record.get("prompt"), record.get("completion")
        for name, text in (("prompt", prompt), ("completion", completion)):
            if not isinstance(text, str):
                findings.problem(path, line, f"{name} must be a text in quotes, not {shown(text)}")
        if not isinstance(prompt, str) or not isinstance(completion, str):
            continue
        if completion.startswith(" "):
            yield RawRow(line, prompt, SPACED.name, completion[1:])
        elif prompt.endswith(" "):
            yield RawRow(line, prompt[:-1], SPACED.name, completion)
        else:
            yield RawRow(line, prompt, JOINED.name, completion)


def completion_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """One relation for texts with a space at the seam, one for those without; nothing is asked in reverse."""
    return {relation.name: relation for relation in (SPACED, JOINED)}


COMPLETIONS = Form(
    keys=frozenset({"prompt", "completion"}),
    read=frozenset({"prompt", "completion"}),
    rows=completion_rows,
    relations=completion_relations,
    corpus="prompts and completions",
    cells="texts",
)
