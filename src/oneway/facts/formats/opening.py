"""A path into an opened file: the container is told by the ending, the form by the keys."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from oneway.facts.formats.celebrities import CELEBRITIES
from oneway.facts.formats.completions import COMPLETIONS
from oneway.facts.formats.editing import COUNTERFACT, KNOWN
from oneway.facts.formats.form import FactFile, Form, Opened, Record, shown
from oneway.facts.formats.jsons import json_file, jsonl_file
from oneway.facts.formats.lre import LRE
from oneway.facts.formats.own import OPTIONAL, OWN, REQUIRED
from oneway.facts.formats.parquet import parquet_file
from oneway.facts.formats.popqa import POPQA
from oneway.facts.formats.spreadsheet import csv_file, tsv_file
from oneway.facts.problems import SHOWN, Findings

FORMATS: Mapping[str, Callable[[Path, Findings], Opened | None]] = {
    ".csv": csv_file,
    ".tsv": tsv_file,
    ".txt": tsv_file,
    ".jsonl": jsonl_file,
    ".ndjson": jsonl_file,
    ".json": json_file,
    ".parquet": parquet_file,
}
FORMS = (OWN, COUNTERFACT, KNOWN, POPQA, CELEBRITIES, COMPLETIONS, LRE)


def open_file(path: Path, findings: Findings) -> FactFile | None:
    """A file of facts, whatever it is; None where it cannot be read, which is a problem.

    Raises ValueError where the ending is not known.
    """
    try:
        opened = FORMATS[path.suffix.lower()](path, findings)
    except KeyError:
        known = ", ".join(FORMATS)
        raise ValueError(f"{path}: the format is told by the file's ending; known: {known}") from None
    form = None if opened is None else _form_of(opened, findings)
    if opened is None or form is None:
        return None
    if opened.header is None:
        records = _noting_unread(opened, form, findings)
    else:
        _note_unread(path, form, dict.fromkeys(opened.keys), findings)
        records = opened.records(findings)
    relations = form.relations(opened.records(Findings()))
    return FactFile(path, form, form.rows(path, records, findings), relations)


def _form_of(opened: Opened, findings: Findings) -> Form | None:
    for form in FORMS:
        if form.keys <= set(opened.keys):
            return form
    if opened.header is None:
        return OWN  # whose keys may stand in later records
    missing = [name for name in REQUIRED if name not in opened.keys]
    found = f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)}"
    findings.problem(opened.file, opened.header, f"{found}; the header has {shown(list(opened.keys), 300)}")
    return None


def _noting_unread(opened: Opened, form: Form, findings: Findings) -> Iterator[Record]:
    """The records; what is in them and not read is noted once all were gone through."""
    unread: dict[str, None] = {}
    for line, record in opened.records(findings):
        if not record.keys() <= form.read:
            unread |= dict.fromkeys(key for key in record if key not in form.read)
        yield line, record
    _note_unread(opened.file, form, unread, findings)


def _note_unread(path: Path, form: Form, keys: dict[str, None], findings: Findings) -> None:
    unread = [_plainly(key) for key in keys if key not in form.read]
    if unread:
        more = f" and {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
        said = form.unread or f"read are: {', '.join((*REQUIRED, *OPTIONAL))}"
        text = f"{form.corpus or 'own table'}: not read: {', '.join(unread[:SHOWN])}{more}; {said}"
        findings.note(text, path.name)


def _plainly(key: str) -> str:
    """A key for a note; as Python writes it where it would not print plainly, or goes on and on."""
    if not key:
        return "a column without a name"
    return key if key.isprintable() and len(key) < 60 else shown(key)
