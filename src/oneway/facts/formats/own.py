"""A table of one's own: subject, relation, object, and what may stand beside them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from oneway.facts.formats.form import Form, RawRow, Record, shown, text_of
from oneway.facts.problems import Findings

REQUIRED = ("subject", "relation", "object")
OPTIONAL = ("split", "aliases", "subject_aliases")
ALIAS_SEPARATOR = "|"


def own_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """Each record as it is. Aliases are a list of texts, or one text with "|" between them."""
    for line, record in records:
        get = record.get
        subject, relation, object, split = get("subject"), get("relation"), get("object"), get("split", "")
        if type(subject) is type(relation) is type(object) is type(split) is str:
            aliases, names = aliases_of(get("aliases")), aliases_of(get("subject_aliases"))
            if aliases is not None and names is not None:
                yield RawRow(line, subject, relation, object, split, aliases, names)
                continue
        yield from _slowly(path, line, record, findings)


def _slowly(path: Path, line: int, record: Mapping[str, Any], findings: Findings) -> Iterator[RawRow]:
    """A record that is not all texts: a null is an empty cell, what is of another kind is a problem."""
    faults = [f"missing key {name!r}" for name in REQUIRED if name not in record]
    texts = {name: text_of(record, name) for name in (*REQUIRED, "split")}
    for name, text in texts.items():
        if text is None:
            faults.append(f"{name} must be a text in quotes, not {shown(record[name])}")
    lists = {name: aliases_of(record.get(name)) for name in ("aliases", "subject_aliases")}
    for name, listed in lists.items():
        if listed is None:
            faults.append(f"{name} must be a list of texts, not {shown(record[name])}")
    for fault in faults:
        findings.problem(path, line, fault)
    if not faults:
        subject, relation, object, split = (text or "" for text in texts.values())
        yield RawRow(line, subject, relation, object, split, *(listed or () for listed in lists.values()))


def aliases_of(value: Any) -> tuple[str, ...] | None:
    """Texts of a list, or of one text with bars between them; None where it is neither."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(value.split(ALIAS_SEPARATOR)) if value.strip() else ()
    if isinstance(value, list) and all(isinstance(alias, str) for alias in value):
        return tuple(value)
    return None


OWN = Form(keys=frozenset(REQUIRED), read=frozenset((*REQUIRED, *OPTIONAL)), rows=own_rows)
