"""LRE: one relation in a file, `{name, prompt_templates, samples: [{subject, object}, …], …}`.

Source: the data files of Hernandez et al. 2023, "Linearity of Relation Decoding in Transformer Language
Models" (arXiv 2308.09124).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from oneway.facts.fact import Relation
from oneway.facts.formats.form import Form, RawRow, Record, shown
from oneway.facts.formats.jsons import value_lines
from oneway.facts.formats.text import whole_text
from oneway.facts.formats.wording import blank_fault, blank_template
from oneway.facts.problems import Findings

_TEMPLATES = ("prompt_templates", "prompt_templates_zs")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")


def lre_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """The samples. A text that was escaped twice ("S\\u00e3o" once the JSON is read) is decoded, and noted."""
    text = whole_text(path, Findings()) or ""
    alone = path.suffix.lower() == ".json" and text.lstrip().startswith("{")
    for at, document in records:
        name, samples = document.get("name"), document.get("samples")
        if not isinstance(name, str):
            findings.problem(path, 1, '"name", the name of the relation, is missing or not a text')
        if not isinstance(samples, list):
            fault = '"samples", a list of {"subject": …, "object": …}, is missing or not a list'
            findings.problem(path, 1, fault)
        _template_faults(path, text, document, findings)
        if not isinstance(name, str) or not isinstance(samples, list):
            continue
        # A document that is the whole file has a line for each sample, one among several its own.
        lines = value_lines(text, "samples") if alone else repeat(at, len(samples))
        for line, sample in zip(lines, samples, strict=True):
            names = [sample.get(key) for key in ("subject", "object")] if isinstance(sample, dict) else []
            texts = [value for value in names if isinstance(value, str)]
            if len(texts) < 2:
                fault = f"a sample is an object with the texts subject and object, not {shown(sample)}"
                findings.problem(path, line, fault)
                continue
            subject, object = (_unescaped(value, findings, f"{path.name}:{line}") for value in texts)
            yield RawRow(line, subject, _decoded(name), object)


def lre_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """The relation of each document, as a rule one a file.

    Its templates hold "{}" for the subject; the object follows at the end. The few-shot
    (`prompt_templates`) and zero-shot (`prompt_templates_zs`) templates are taken in this order, each once. There are
    no reverse templates in this format.
    """
    found: dict[str, dict[str, None]] = {}
    for _, document in records:
        if isinstance(document.get("name"), str):
            listed = found.setdefault(_decoded(document["name"]).strip(), {})
            listed |= {
                text: None for _, worded in _templates(document) if (text := blank_template(_decoded(worded)))
            }
    return {name: Relation(name, forward=tuple(listed)) for name, listed in found.items()}


def _templates(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in _TEMPLATES:
        listed = document.get(key)
        if isinstance(listed, list):
            yield from ((key, text) for text in listed if isinstance(text, str))


def _template_faults(path: Path, text: str, document: Mapping[str, Any], findings: Findings) -> None:
    for key in _TEMPLATES:
        listed = document.get(key)
        if listed is not None and not (isinstance(listed, list) and all(isinstance(t, str) for t in listed)):
            findings.problem(path, _line_of(text, key), f"{key} must be a list of texts")
    templates = [template for _, template in _templates(document)]
    for template in templates:
        if blank_template(_decoded(template)) is None:
            findings.problem(path, _line_of(text, template), blank_fault(template))
    if not templates:
        findings.problem(path, 1, "no prompt_templates: the relation cannot be put into words")


def _line_of(text: str, wanted: str) -> int:
    """The line on which a text first stands in the file, 1 where it is written in an unusual way."""
    places = (text.find(json.dumps(wanted)), text.find(json.dumps(wanted, ensure_ascii=False)))
    return text.count("\n", 0, max(*places, 0)) + 1


def _unescaped(text: str, findings: Findings, place: str) -> str:
    found = _decoded(text)
    if found != text:
        findings.note("a text that was escaped twice (\\u…) is decoded", place)
    return found


def _decoded(text: str) -> str:
    """The text with escapes that survived reading the JSON decoded, surrogate pairs as one character."""
    if "\\u" not in text:
        return text
    return _ESCAPES.sub(lambda run: json.loads(f'"{run.group()}"'), text)


LRE = Form(
    keys=frozenset({"samples"}),
    read=frozenset({"name", "samples", *_TEMPLATES}),
    rows=lre_rows,
    relations=lre_relations,
    corpus="LRE",
    unread="what its properties say of the relation is not asked",
)
