"""A file's bytes as text: byte order marks, encodings, and what is no text at all.

UTF-8 is read, with or without its mark, and UTF-16 with its mark (Excel's "Unicode text"). What is neither is
named with its line; nothing is guessed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from oneway.facts.problems import Findings

_LOOKED_AT = 8192  # bytes at the beginning that show what a file is
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF32 = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_AS_CSV = "save its sheet as CSV (UTF-8)"
_SIGNATURES = {
    b"PK\x03\x04": f"a zip archive, as an Excel workbook (.xlsx) is one; {_AS_CSV}",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": f"an old Excel workbook (.xls); {_AS_CSV}",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\xfd7zXZ\x00": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstandard archive; unpack it first",
    b"PAR1": "a Parquet file; its name must end in .parquet",
    b"SQLite format 3\x00": "an SQLite database; export its table as CSV",
    b"%PDF-": "a PDF",
}
_WORD = re.compile(rb"[^\s,;|\"{}\[\]:]+")


def text_lines(path: Path, findings: Findings) -> Iterator[str | None]:
    """The lines of a text file one by one, line ends kept; None in the place of one that cannot be decoded.

    Lines end as anywhere: with a line feed, a carriage return, or both.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
        fault = _not_text(start)
        if fault:
            findings.problem(path, 1, fault)
            return
        if start.startswith(_UTF16):
            yield from _utf16_lines(path, findings)
            return
        file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
        number = 0
        for line in file:
            # A lone carriage return within ends a line too.
            for part in line.splitlines(keepends=True) if line.find(b"\r", 0, -2) >= 0 else (line,):
                number += 1
                try:
                    yield part.decode("utf-8")
                except UnicodeDecodeError as error:
                    findings.problem(path, number, _not_utf8(part, error.start))
                    yield None


def whole_text(path: Path, findings: Findings) -> str | None:
    """The text of a file, every line end a line feed; None where it has none, which is a problem."""
    data = path.read_bytes()
    utf16 = data.startswith(_UTF16)
    fault, at = _not_text(data[:_LOOKED_AT]), 0
    if not fault:
        try:
            text = data.decode("utf-16" if utf16 else "utf-8-sig")
        except UnicodeDecodeError as error:
            at = error.start
            fault = _DAMAGED_UTF16 if utf16 else _not_utf8(data, at)
        else:
            if utf16:
                findings.note(_AS_UTF16, path.name)
            return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    findings.problem(path, data.count(b"\n", 0, at) + 1, fault)
    return None


_AS_UTF16 = "read as UTF-16"
_DAMAGED_UTF16 = "damaged UTF-16 text from here on; save the file as UTF-8"


def _utf16_lines(path: Path, findings: Findings) -> Iterator[str]:
    findings.note(_AS_UTF16, path.name)
    number = 0
    try:
        with path.open(encoding="utf-16", newline="") as file:
            for line in file:
                number += 1
                yield line
    except UnicodeError:
        findings.problem(path, number + 1, _DAMAGED_UTF16)


def _not_text(start: bytes) -> str:
    """Why a file that begins so cannot be text; nothing where it can."""
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            return f"not a text file but {kind}"
    if start.startswith(_UTF32):
        return "UTF-32 text; save the file as UTF-8"
    if b"\x00" in start and not start.startswith(_UTF16):
        if start.count(b"\x00") > len(start) // 3:
            return (
                "not UTF-8 text: every second byte is zero, as in UTF-16 without its mark; save it as UTF-8"
            )
        if start.count(b"\x00") > 8:
            return "not a text file: it holds zero bytes"
    return ""


def _not_utf8(data: bytes, at: int) -> str:
    """What is wrong with bytes that are not UTF-8 from `at` on, with the word as Windows-1252 would have it."""
    first = max(0, at - 40)
    for word in _WORD.finditer(data, first, at + 40):
        if word.start() <= at < word.end():
            try:
                text = word.group().decode("cp1252")
            except UnicodeDecodeError:
                break
            return f"not UTF-8 text; it looks like Windows-1252: {text!r}; save the file as UTF-8"
    return f"not UTF-8 text (the byte 0x{data[at]:02X}); save the file as UTF-8"
