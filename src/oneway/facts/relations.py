"""How relations are put into words: a TOML of relations, a stub to fill in."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oneway.facts.fact import OBJECT_SLOT, SUBJECT_SLOT, Relation
from oneway.facts.problems import FactErrors, Problem
from oneway.facts.rendering import TemplateError, parse

_LISTS = ("forward", "reverse", "one_shot", "bridge")
_KEYS = (*_LISTS, "inverse", "one_to_one")


def relations_stub(names: Iterable[str]) -> str:
    """A TOML for these relations, ready to fill in: one table each with a forward and a reverse template."""
    return "\n".join(
        f"[{toml_key(name)}]\n"
        f'forward = ["{SUBJECT_SLOT} ... {OBJECT_SLOT}"]\n'
        f'reverse = ["{OBJECT_SLOT} ... {SUBJECT_SLOT}"]\n'
        for name in dict.fromkeys(names)
    )


def read_relations(path: str | Path, own: Mapping[str, Relation] | None = None) -> dict[str, Relation]:
    """The relations of a TOML file, by name.

    Each table holds `forward`, and optionally `reverse`, `one_shot`, `bridge` (lists of texts), `inverse` (a
    text) and `one_to_one` (true or false). `own` are relations that the fact file words itself: a table of the
    same name replaces only what it mentions.

    Raises FactErrors with every problem and its line: unreadable TOML, unknown keys, wrong types, and
    templates whose slots are missing, doubled or unknown.
    """
    file = str(path)
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FactErrors([Problem(file, line, "the line is not UTF-8 text")]) from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at.group(1)) if at else data.count(b"\n") + 1
        raise FactErrors([Problem(file, line, f"not TOML: {error}")]) from None
    relations = dict(own or {})
    problems: list[Problem] = []
    for name, table in tables.items():
        faults = list(_faults(name, table, worded=name in relations))
        header = _line_of_header(text, name)
        problems += [Problem(file, _line_of_text(text, at, header), reason) for at, reason in faults]
        if not faults:
            relations[name] = _relation(name, table, relations.get(name))
    if problems:
        raise FactErrors(problems)
    return relations


def _relation(name: str, table: Mapping[str, Any], own: Relation | None) -> Relation:
    changes: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in table.items()}
    return replace(own or Relation(name=name, forward=()), **changes)


def _faults(name: str, table: Any, *, worded: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with one relation's table: (a text near which it stands, the reason)."""
    if not isinstance(table, dict):
        yield name, f"{name!r} stands outside a table; a relation is a table [{toml_key(name)}]"
        return
    for key, value in table.items():
        if key not in _KEYS:
            yield key, f"relation {name!r} has an unknown key {key!r}; known: {', '.join(_KEYS)}"
        elif key in _LISTS and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            yield key, f"{key} of relation {name!r} must be a list of texts"
        elif key == "inverse" and not isinstance(value, str):
            yield key, f"inverse of relation {name!r} must be a text"
        elif key == "one_to_one" and not isinstance(value, bool):
            yield key, f"one_to_one of relation {name!r} must be true or false"
        elif key in ("forward", "reverse"):
            yield from ((template, fault) for template in value for fault in _template_fault(template))
        elif key == "bridge":
            wrong = [text for text in value if text.count(SUBJECT_SLOT) != 2 or OBJECT_SLOT in text]
            yield from (
                (text, f"a bridge says {SUBJECT_SLOT} twice and no {OBJECT_SLOT}: {text!r}") for text in wrong
            )
        elif key == "one_shot":
            held = [text for text in value if SUBJECT_SLOT in text or OBJECT_SLOT in text]
            yield from (
                (text, f"a one-shot text is put in as it is; it has no slots: {text!r}") for text in held
            )
    if not table.get("forward") and not (worded and "forward" not in table):
        yield name, f"relation {name!r} has no forward template"


def _template_fault(template: str) -> Iterator[str]:
    try:
        parse(template)
    except TemplateError as error:
        yield str(error)


def _line_of_header(text: str, name: str) -> int:
    """The line on which the table of a relation begins; 1 where it is written in an unusual way."""
    keys = {name, json.dumps(name), json.dumps(name, ensure_ascii=False), f"'{name}'"}
    pattern = re.compile(rf"^\s*\[\s*(?:{'|'.join(map(re.escape, keys))})\s*\]", re.MULTILINE)
    found = pattern.search(text)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def _line_of_text(text: str, wanted: str, first: int) -> int:
    """The first line from `first` on that has a key or a text as a file may write it; else `first`."""
    escaped = (json.dumps(wanted), json.dumps(wanted, ensure_ascii=False), f"'{wanted}'")
    exact = "|".join((rf"^\s*{re.escape(wanted)}\s*=", *map(re.escape, escaped)))
    lines = text.split("\n")[first - 1 :]
    for pattern in (exact, re.escape(wanted)):
        for number, line in enumerate(lines, start=first):
            if re.search(pattern, line):
                return number
    return first


def toml_key(name: str) -> str:
    """A name as the key of a TOML table, in quotes where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
