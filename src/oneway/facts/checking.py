"""Raw rows into facts: what rows mean, and everything that is wrong with them, the same for all formats."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oneway.facts.fact import Fact, Relation
from oneway.facts.problems import Problem
from oneway.facts.rows import RawRow

# Control characters, line and paragraph separators, halves of surrogate pairs, the byte order mark, and
# the mark that an earlier wrong decoding left behind. Joiners and writing-direction marks belong to names.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffd]")


@dataclass
class _Seen:
    """Where facts stood before, under the names that make two rows the same."""

    fact: dict[tuple[str, str, str], RawRow] = field(default_factory=dict)
    subject: dict[tuple[str, str], RawRow] = field(default_factory=dict)
    object: dict[tuple[str, str], RawRow] = field(default_factory=dict)


def check(
    rows: Iterable[RawRow], relations: Mapping[str, Relation] | None
) -> tuple[list[Fact], list[Problem]]:
    """The facts that raw rows state, and every problem among them.

    Problems: empty cells, control characters in a name, relations that `relations` does not have (None:
    not known yet, not checked), duplicates, and contradictions: in a one-to-one relation, a subject with
    two objects or an object with two subjects. Rows that differ in Unicode normalisation only are the same.
    """
    facts: list[Fact] = []
    problems: list[Problem] = []
    seen = _Seen()
    for row in map(_stripped, rows):
        faults = list(_cell_faults(row))
        if not faults:
            relation = relations.get(row.relation) if relations is not None else None
            if relations is not None and relation is None:
                known = ", ".join(map(repr, relations))
                faults.append(f"unknown relation {row.relation!r}; there are templates for: {known}")
            faults += _clashes(row, seen, one_to_one=relation is not None and relation.one_to_one)
        problems += [Problem(row.file, row.line, fault) for fault in faults]
        if not faults:
            source = f"{Path(row.file).name}:{row.line}"
            facts.append(Fact(row.subject, row.relation, row.object, row.split, row.aliases, source))
    return facts, problems


def _stripped(row: RawRow) -> RawRow:
    return RawRow(
        row.file,
        row.line,
        row.subject.strip(),
        row.relation.strip(),
        row.object.strip(),
        row.split.strip(),
        tuple(alias.strip() for alias in row.aliases),
    )


def _cell_faults(row: RawRow) -> Iterator[str]:
    cells = {"subject": row.subject, "relation": row.relation, "object": row.object}
    for name, cell in cells.items():
        if not cell:
            yield f"{name} is empty"
    if "" in row.aliases:
        yield "an alias is empty"
    for cell in (*cells.values(), row.split, *row.aliases):
        found = _FORBIDDEN.search(cell)
        if found:
            code = f"U+{ord(found.group()):04X}"
            yield f"{cell!r} holds the character {code}, a control character or a sign of damaged text"


def _clashes(row: RawRow, seen: _Seen, *, one_to_one: bool) -> Iterator[str]:
    """What an earlier row says against this one; the row is remembered for the next ones."""
    subject, relation, object = map(_normal, (row.subject, row.relation, row.object))
    earlier = seen.fact.setdefault((subject, relation, object), row)
    if earlier is not row:
        differs = (earlier.subject, earlier.object) != (row.subject, row.object)
        yield f"duplicate of {_place(earlier, row)}" + ", but for its Unicode form" * differs
        return
    if one_to_one:
        earlier = seen.subject.setdefault((subject, relation), row)
        if earlier is not row:
            yield (
                f"contradicts {_place(earlier, row)}: {row.relation!r} is one-to-one, and {row.subject!r} "
                f"has the object {earlier.object!r} there, {row.object!r} here"
            )
        earlier = seen.object.setdefault((object, relation), row)
        if earlier is not row:
            yield (
                f"contradicts {_place(earlier, row)}: {row.relation!r} is one-to-one, and {row.object!r} "
                f"has the subject {earlier.subject!r} there, {row.subject!r} here"
            )


def _place(earlier: RawRow, row: RawRow) -> str:
    return f"line {earlier.line}" if earlier.file == row.file else f"{earlier.file}:{earlier.line}"


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
