"""PopQA: questions about entities of every popularity, with every answer that is accepted.

Source: Mallen et al. 2023, "When Not to Trust Language Models" (arXiv 2212.10511).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from oneway.facts.fact import Relation
from oneway.facts.formats.form import Form, RawRow, Record, shown
from oneway.facts.formats.wording import learnt_relations
from oneway.facts.problems import Findings

_TEXTS = ("subj", "prop", "obj", "question")
_LISTS = ("possible_answers", "s_aliases")


def popqa_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """(subj, prop, obj) with the other possible answers and the subject's other names as aliases."""
    for line, record in records:
        texts, lists = _texts(record), {name: _listed(record.get(name)) for name in _LISTS}
        for name, text in texts.items():
            if text is None:
                findings.problem(path, line, f"{name} is missing or not a text")
        for name, listed in lists.items():
            if listed is None:
                value = shown(record.get(name))
                findings.problem(path, line, f"{name} must be a JSON list of texts, not {value}")
        if None in texts.values() or None in lists.values():
            continue
        subject, object, question = texts["subj"], texts["obj"], texts["question"]
        if subject and subject not in question:
            fault = f"the question {shown(question)} does not name its subject {shown(subject)}"
            findings.problem(path, line, fault)
            continue
        answers, names = (
            _others(lists[key], own) for key, own in zip(_LISTS, (object, subject), strict=True)
        )
        yield RawRow(line, subject, texts["prop"], object, aliases=answers, subject_aliases=names)


def popqa_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """Every property with its question, asked as "Q: … A:"."""
    rows = (_texts(record) for _, record in records)
    return learnt_relations(
        ((row["prop"], row["question"], row["subj"]) for row in rows if None not in row.values()),
        before="Q: ",
        after=" A: ",
    )


def _texts(record: Any) -> dict[str, Any]:
    found = {name: record.get(name) for name in _TEXTS}
    return {name: text.strip() if isinstance(text, str) else None for name, text in found.items()}


def _listed(value: Any) -> list[str] | None:
    """A list of texts, written as JSON or given as one; empty where there is none; None where it is another."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _others(names: Any, own: str) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(map(str.strip, names)) if name and name != own)


POPQA = Form(
    keys=frozenset({"subj", "prop", "obj", "question"}),
    read=frozenset({*_TEXTS, *_LISTS}),
    rows=popqa_rows,
    relations=popqa_relations,
    corpus="PopQA",
    unread="aliases are the possible_answers and the s_aliases",
)
