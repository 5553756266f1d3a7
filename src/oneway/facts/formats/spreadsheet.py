"""Delimited text: CSV and TSV with a header line, as spreadsheets write them."""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from oneway.facts.formats.form import Opened, Record, shown
from oneway.facts.formats.text import text_lines
from oneway.facts.problems import Findings

_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*')  # Excel's own first line, which says what separates the cells


def csv_file(path: Path, findings: Findings) -> Opened | None:
    """A table of cells between commas; where the header has none but semicolons or tabs, these.

    The first line with content names the columns, in any case. Quoted cells may hold delimiters and line
    ends.
    """
    return _opened(path, ",", findings)


def tsv_file(path: Path, findings: Findings) -> Opened | None:
    """A table of cells between tabs, otherwise as `csv_file`."""
    return _opened(path, "\t", findings)


def _opened(path: Path, usual: str, findings: Findings) -> Opened | None:
    at_first = Findings()  # going through the records says it again
    above, header = 0, None
    for header in text_lines(path, at_first):
        if header is None or header.strip():
            break
        above += 1
    if not header or not header.strip():
        findings.include(at_first)
        if not at_first.count:
            findings.problem(path, 1, "no header line, which names the columns subject, relation, object")
        return None
    delimiter = usual
    if said := _SEP_LINE.fullmatch(header):
        above, delimiter = above + 1, said.group(1)
    elif header.count(usual) == 0:
        delimiter = max(_NAMES, key=header.count) if any(map(header.count, _NAMES)) else usual
    if delimiter != usual:
        findings.note(f"cells are separated by {_NAMES.get(delimiter, delimiter)}s", path.name)
    line, cells = next(_rows(path, above, delimiter, Findings()), (above + 1, []))
    if isinstance(cells, csv.Error):
        findings.problem(path, line, f"the header cannot be split into cells: {_plainly(cells)}")
        return None
    keys = tuple(cell.strip().casefold() for cell in cells)
    doubled = sorted({key for key in keys if key and keys.count(key) > 1})
    for key in doubled:
        findings.problem(path, line, f"the column {key!r} stands twice in the header")
    if doubled:
        return None
    return Opened(path, keys, line, lambda found: _records(path, above, delimiter, keys, found))


def _records(
    path: Path, above: int, delimiter: str, keys: tuple[str, ...], findings: Findings
) -> Iterator[Record]:
    width, hint = len(keys), f"a cell that holds a {_NAMES.get(delimiter, delimiter)} is in double quotes"
    for line, cells in islice(_rows(path, above, delimiter, findings), 1, None):
        if isinstance(cells, csv.Error):
            findings.problem(path, line, f"the row cannot be split into cells: {_plainly(cells)}")
        elif len(cells) == width and (cells[0].strip() or any(map(str.strip, cells))):
            yield line, dict(zip(keys, cells, strict=True))
        elif any(map(str.strip, cells)):
            findings.problem(path, line, f"{len(cells)} cells where the header has {width}; {hint}")
        elif cells:
            findings.note("a row without content is skipped", f"{path.name}:{line}")


def _rows(
    path: Path, above: int, delimiter: str, findings: Findings
) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Each row, the header first, or what is wrong with it, with the line on which it begins."""
    lines = text_lines(path, findings)
    for _ in range(above):
        next(lines, None)
    # What cannot be decoded is reported: an empty line in its place keeps the line numbers.
    reader: Any = csv.reader((text or "\n" for text in lines), delimiter=delimiter, strict=True)
    while True:
        line = above + reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error


def _plainly(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote is opened and never closed"
    if "field larger" in str(error):
        return f"a cell of more than {csv.field_size_limit():,} characters; a quote may be opened and never closed"
    return shown(str(error), 200)[1:-1]
