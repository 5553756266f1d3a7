"""JSON: a list of objects, one object, or one object on each line."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from oneway.facts.formats.form import Opened, Record, shown
from oneway.facts.formats.text import text_lines, whole_text
from oneway.facts.problems import Findings

_SPACE = re.compile(r"[ \t\r\n]*")


class _DoubledKey(ValueError):
    """A key that stands twice in one object: which value is meant cannot be told."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise _DoubledKey(f"the key {shown(doubled)} stands twice in one object")
    return found


Decode = Callable[[str, int], tuple[Any, int]]
_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)
_DECODE = _DECODER.raw_decode
_DECODE_ANY = json.JSONDecoder().raw_decode


def jsonl_file(path: Path, findings: Findings) -> Opened:
    """One JSON object on each line; lines without content are skipped."""

    def records(found: Findings) -> Iterator[Record]:
        return _line_records(path, found)

    return Opened(path, _first_keys(records(Findings())), None, records)


def _line_records(path: Path, findings: Findings) -> Iterator[Record]:
    for number, text in enumerate(text_lines(path, findings), start=1):
        if text is None or not text.strip():
            continue
        try:
            value = _DECODER.decode(text)
        except json.JSONDecodeError as error:
            at = f"{error.msg}, at character {error.colno}"
            findings.problem(path, number, f"not a JSON object on one line: {at}")
        except (ValueError, RecursionError) as error:
            findings.problem(path, number, f"not a JSON object on one line: {error}")
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                findings.problem(path, number, _not_object(value))


def json_file(path: Path, findings: Findings) -> Opened | None:
    """A list of JSON objects, or a single object, which is one record."""
    text = whole_text(path, findings)
    if text is None:
        return None
    start = _space(text, 0)
    if text[start : start + 1] == "[":

        def records(found: Findings) -> Iterator[Record]:
            return _list_records(path, text, start, found)

        return Opened(path, _first_keys(records(Findings())), None, records)
    decoded = _decoded(path, text, start, text.count("\n", 0, start) + 1, findings)
    if decoded is None:
        return None
    value, end = decoded
    if value is _DOUBLED:
        return None
    if not isinstance(value, dict):
        findings.problem(path, 1, "a JSON list of objects, or an object, is expected")
    elif text[end : end + 1]:
        line = text.count("\n", 0, end) + 1
        findings.problem(path, line, "not JSON: more follows the first value (JSON lines are named .jsonl)")
    else:
        return Opened(path, tuple(value), None, lambda found: iter([(1, value)]))
    return None


def _list_records(path: Path, text: str, start: int, findings: Findings) -> Iterator[Record]:
    """The objects of the list that begins at `start`, decoded one after the other."""
    line, counted = 1, 0
    position = _space(text, start + 1)
    if text[position : position + 1] == "]":
        return
    while True:
        line, counted = line + text.count("\n", counted, position), position
        decoded = _decoded(path, text, position, line, findings)
        if decoded is None:
            return
        value, end = decoded
        if isinstance(value, dict):
            yield line, value
        elif value is not _DOUBLED:
            findings.problem(path, line, _not_object(value))
        closing = text[end : end + 1]
        if closing != ",":
            break
        position = _space(text, end + 1)
    line += text.count("\n", counted, end)
    if closing != "]":
        findings.problem(path, line, "not JSON: a comma or ] is expected here")
    elif _space(text, end + 1) != len(text):
        findings.problem(path, line, "not JSON: more follows the list")


_DOUBLED = object()


def _decoded(
    path: Path, text: str, position: int, line: int, findings: Findings, decode: Decode = _DECODE
) -> tuple[Any, int] | None:
    """The value at a position, which is on `line`, and where the next sign after it stands; None without one."""
    try:
        value, end = decode(text, position)
    except _DoubledKey as error:
        findings.problem(path, line, f"not JSON: {error}")
        again = _decoded(path, text, position, line, findings, _DECODE_ANY)
        return again and (_DOUBLED, again[1])
    except json.JSONDecodeError as error:
        findings.problem(path, error.lineno, f"not JSON: {error.msg}")
        return None
    except (ValueError, RecursionError) as error:
        findings.problem(path, line, f"not JSON: {error}")
        return None
    return value, _space(text, end)


def value_lines(text: str, wanted: str) -> Iterator[int]:
    """The line of each element of the list under a key of the top-level object, in a text that is valid JSON.

    The json module keeps no positions, so the values before and in that list are stepped over one by one.
    """

    def next_value(position: int) -> int:
        position = _space(text, position)
        return _space(text, position + 1) if text[position] in ",:" else position

    key, position = _DECODE_ANY(text, next_value(text.index("{") + 1))
    while key != wanted:
        _, position = _DECODE_ANY(text, next_value(position))
        key, position = _DECODE_ANY(text, next_value(position))
    position = next_value(next_value(position) + 1)
    line, counted = 1, 0
    while text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        yield line
        _, position = _DECODE_ANY(text, position)
        position = next_value(position)


def _first_keys(records: Iterator[Record]) -> tuple[str, ...]:
    return tuple(next(records, (0, {}))[1])


def _space(text: str, position: int) -> int:
    """The position of the first sign from here on that is no space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _not_object(value: Any) -> str:
    return f"a JSON object is expected, not {shown(value)}"
