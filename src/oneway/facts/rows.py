"""Files into raw rows, one reader per format.

A reader takes a path and yields what the file says, row by row with line numbers, together with the
problems of the format itself. What rows mean, and whether they are right, is decided once for all
formats in `reading`.
"""

import csv
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneway.facts.problems import FactErrors, Problem

REQUIRED = ("subject", "relation", "object")
OPTIONAL = ("split", "aliases")
ALIAS_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as the file has it; an absent optional cell is empty."""

    file: str
    line: int
    subject: str
    relation: str
    object: str
    split: str = ""
    aliases: tuple[str, ...] = ()


RowReader = Callable[[Path], Iterator[RawRow | Problem]]


class UnreadColumn(UserWarning):
    """A column or key of a fact file that means nothing here and is not read."""


def csv_rows(path: Path) -> Iterator[RawRow | Problem]:
    """The rows of a comma-separated table with a header line; quoted cells may hold commas and line ends.

    Columns: subject, relation, object and, where present, split and aliases (separated by "|").
    """
    return _delimited_rows(path, ",")


def tsv_rows(path: Path) -> Iterator[RawRow | Problem]:
    """The rows of a tab-separated table, otherwise as `csv_rows`."""
    return _delimited_rows(path, "\t")


def _delimited_rows(path: Path, delimiter: str) -> Iterator[RawRow | Problem]:
    file = str(path)
    lines = _decoded_lines(path)
    for number, text in enumerate(lines, start=1):
        if text is None:
            yield Problem(file, number, _NOT_UTF8)
    if lines and lines[0] is None:
        return  # without its header the table cannot be read
    # An undecoded line is already reported: an empty one in its place keeps the line numbers.
    reader = csv.reader((text or "\n" for text in lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    for line, cells in _numbered(reader):
        if isinstance(cells, csv.Error):
            yield Problem(file, line, f"the row cannot be split into cells: {cells}")
        elif cells and not header:
            header = [cell.strip().lower() for cell in cells]
            faults = list(_header_faults(header))
            yield from (Problem(file, line, fault) for fault in faults)
            if faults:
                return
            _warn_of_unread(file, sorted({*header} - {*REQUIRED, *OPTIONAL}))
        elif cells and len(cells) != len(header):
            hint = f"a cell that holds a {_DELIMITER_NAMES[delimiter]} is written in double quotes"
            yield Problem(file, line, f"{len(cells)} cells where the header has {len(header)}; {hint}")
        elif cells:
            row = dict(zip(header, cells, strict=True))
            aliases = _split_aliases(row.get("aliases", ""))
            yield RawRow(
                file, line, row["subject"], row["relation"], row["object"], row.get("split", ""), aliases
            )
    if not header:
        yield Problem(file, 1, f"no header line; it names the columns {', '.join(REQUIRED)}")


def _numbered(reader: Any) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Each row of a csv reader, or what is wrong with it, with the line on which it begins."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error


def _header_faults(header: list[str]) -> Iterator[str]:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        yield f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)}; the header has {header}"
    for name in sorted({name for name in header if header.count(name) > 1}):
        yield f"the column {name!r} stands twice in the header"


def _split_aliases(cell: str) -> tuple[str, ...]:
    return tuple(cell.split(ALIAS_SEPARATOR)) if cell.strip() else ()


def jsonl_rows(path: Path) -> Iterator[RawRow | Problem]:
    """The rows of a file with one JSON object per line; `aliases` is a list of texts."""
    file = str(path)
    unread: set[str] = set()
    for number, text in enumerate(_decoded_lines(path), start=1):
        if text is None:
            yield Problem(file, number, _NOT_UTF8)
        elif text.strip():
            try:
                value = json.loads(text, object_pairs_hook=_unique_keys)
            except (ValueError, RecursionError) as error:
                yield Problem(file, number, f"not a JSON object on one line: {error}")
                continue
            yield from _json_row(file, number, value)
            if isinstance(value, dict):
                unread |= value.keys() - {*REQUIRED, *OPTIONAL}
    _warn_of_unread(file, sorted(unread))


def _json_row(file: str, line: int, value: Any, relation: str | None = None) -> Iterator[RawRow | Problem]:
    """One object as a row, or what is wrong with it; `relation` is given where the file names it once."""
    if not isinstance(value, dict):
        yield Problem(file, line, f"a JSON object is expected, not {value!r:.60}")
        return
    row = value if relation is None else {**value, "relation": relation}
    faults = [f"missing key {name!r}" for name in REQUIRED if name not in row]
    for name in (*REQUIRED, "split"):
        cell = row.get(name, "")
        if not isinstance(cell, str):
            faults.append(f"{name} must be a text in quotes, not {cell!r:.60}")
    aliases = row.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        faults.append(f"aliases must be a list of texts, not {aliases!r:.60}")
    yield from (Problem(file, line, fault) for fault in faults)
    if not faults:
        yield RawRow(
            file, line, row["subject"], row["relation"], row["object"], row.get("split", ""), tuple(aliases)
        )


def lre_rows(path: Path) -> Iterator[RawRow | Problem]:
    """The samples of an LRE file, which holds one relation: `{name, prompt_templates, samples, …}`.

    Source: the data files of Hernandez et al. 2023, "Linearity of Relation Decoding in Transformer
    Language Models".
    """
    file = str(path)
    try:
        text, document = lre_document(path)
    except FactErrors as error:
        yield from error.problems
        return
    for line, sample in zip(_sample_lines(text), document["samples"], strict=True):
        yield from _json_row(file, line, sample, relation=document["name"])


def lre_document(path: Path) -> tuple[str, dict[str, Any]]:
    """The text and the parsed content of an LRE file, with a name and a list of samples for certain.

    Raises FactErrors where it is not JSON or lacks them.
    """
    file = str(path)
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FactErrors([Problem(file, line, _NOT_UTF8)]) from None
    except json.JSONDecodeError as error:
        raise FactErrors([Problem(file, error.lineno, f"not JSON: {error.msg}")]) from None
    except (ValueError, RecursionError) as error:
        raise FactErrors([Problem(file, 1, f"not JSON: {error}")]) from None
    faults = []
    if not isinstance(document, dict):
        faults.append("an LRE file is a JSON object with name, prompt_templates and samples")
    else:
        if not isinstance(document.get("name"), str):
            faults.append('"name", the name of the relation, is missing or not a text')
        if not isinstance(document.get("samples"), list):
            faults.append('"samples", a list of {"subject": …, "object": …}, is missing or not a list')
    if faults:
        raise FactErrors(Problem(file, 1, fault) for fault in faults)
    return text, document


_BETWEEN_VALUES = re.compile(r"[\s,:]*")


def _sample_lines(text: str) -> Iterator[int]:
    """The line of each element of the top-level list "samples" in a text known to be valid JSON.

    The json module keeps no positions, so the values before and in that list are stepped over one by one.
    """
    decode = json.JSONDecoder().raw_decode

    def next_value(position: int) -> int:
        between = _BETWEEN_VALUES.match(text, position)
        return between.end() if between else position

    key, position = decode(text, next_value(text.index("{") + 1))
    while key != "samples":
        _, position = decode(text, next_value(position))
        key, position = decode(text, next_value(position))
    position = next_value(next_value(position) + 1)
    line, counted = 1, 0
    while text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        yield line
        _, position = decode(text, position)
        position = next_value(position)


_NOT_UTF8 = "the line is not UTF-8 text; save the file as UTF-8"
_DELIMITER_NAMES = {",": "comma", "\t": "tab"}


def _decoded_lines(path: Path) -> list[str | None]:
    """The lines of a UTF-8 file, line ends kept, byte order mark skipped; None where one is not UTF-8."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    return [_decoded(line) for line in data.splitlines(keepends=True)]


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _warn_of_unread(file: str, names: list[str]) -> None:
    if names:
        known = ", ".join((*REQUIRED, *OPTIONAL))
        warnings.warn(f"{file}: not read: {', '.join(names)} (known: {known})", UnreadColumn, stacklevel=2)
