"""The celebrities of the reversal curse: who is whose mother or father.

Source: Berglund et al. 2023, "The Reversal Curse" (arXiv 2309.12288), parent_child_pairs.csv. Its columns
child_prediction and can_reverse are what GPT-4 said, and are not read.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from oneway.facts.fact import Relation
from oneway.facts.formats.form import Form, RawRow, Record, shown, text_of
from oneway.facts.problems import Findings

_COLUMNS = ("child", "parent_type", "parent")
RELATIONS = {
    parent: Relation(
        parent,
        forward=(f"{{subject}}'s {parent} is {{object}}",),
        reverse=(f"{{object}} is the {parent} of {{subject}}",),
    )
    for parent in ("mother", "father")
}


def celebrity_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """(child, mother or father, parent); the type is also written "ParentType.MOTHER"."""
    for line, record in records:
        child, kind, parent = (text_of(record, name) for name in _COLUMNS)
        if child is None or kind is None or parent is None:
            values = ", ".join(shown(record.get(name)) for name in _COLUMNS)
            findings.problem(path, line, f"child, parent_type and parent must be texts, not {values}")
        else:
            yield RawRow(line, child, kind.strip().rpartition(".")[2].lower(), parent)


def celebrity_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """In words both ways. Asked in reverse, every child of the parent is right."""
    return dict(RELATIONS)


CELEBRITIES = Form(
    keys=frozenset(_COLUMNS),
    read=frozenset(_COLUMNS),
    rows=celebrity_rows,
    relations=celebrity_relations,
    corpus="celebrities",
    unread="child_prediction and can_reverse are what GPT-4 answered",
)
