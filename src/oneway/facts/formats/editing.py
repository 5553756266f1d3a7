"""The data of model editing: CounterFact, and the facts of causal tracing (known_1000).

Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from oneway.facts.fact import Relation
from oneway.facts.formats.form import Form, RawRow, Record, shown
from oneway.facts.formats.wording import blank_fault, blank_template, learnt_relations
from oneway.facts.problems import Findings


def counterfact_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """Of each request what is true: (subject, relation_id, target_true). The edited target is not read."""
    for line, record in records:
        request = record.get("requested_rewrite")
        texts = _request(request)
        for name, text in texts.items():
            if text is None:
                place = f"requested_rewrite: {name}"
                findings.problem(path, line, f"{place} is missing or not a text")
        if None in texts.values():
            continue
        if blank_template(texts["prompt"]) is None:
            findings.problem(path, line, blank_fault(texts["prompt"]))
        else:
            yield RawRow(line, texts["subject"], texts["relation_id"], texts["target_true.str"])


def counterfact_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """Every relation with all prompts that the file has for it, each once, in its order."""
    prompts: dict[str, dict[str, None]] = {}
    for _, record in records:
        texts = _request(record.get("requested_rewrite"))
        relation, prompt = texts["relation_id"], texts["prompt"]
        if relation is not None and prompt is not None:
            templates = prompts.setdefault(relation.strip(), {})
            if template := blank_template(prompt):
                templates[template] = None
    return {name: Relation(name, forward=tuple(templates)) for name, templates in prompts.items()}


def _request(request: Any) -> dict[str, Any]:
    """The texts of a request, None where there is none."""
    request = request if isinstance(request, dict) else {}
    target = request.get("target_true")
    found = {name: request.get(name) for name in ("subject", "relation_id", "prompt")}
    found["target_true.str"] = target.get("str") if isinstance(target, dict) else None
    return {name: text if isinstance(text, str) else None for name, text in found.items()}


def known_rows(path: Path, records: Iterable[Record], findings: Findings) -> Iterator[RawRow]:
    """(subject, relation_id, attribute), worded by the prompt, which ends where the attribute follows.

    The file's own `template` may stop earlier ("{} is located in the continent", without "of").
    """
    for line, record in records:
        texts = _known(record)
        for name, text in texts.items():
            if text is None:
                findings.problem(path, line, f"{name} is missing or not a text")
        if None in texts.values():
            continue
        prompt, subject = texts["prompt"], texts["subject"]
        if subject.strip() and subject.strip() not in prompt:
            findings.problem(
                path, line, f"the prompt {shown(prompt)} does not name its subject {shown(subject)}"
            )
        else:
            yield RawRow(line, subject, texts["relation_id"], texts["attribute"])


def known_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """Every relation with all prompts that the file has for it, the subject cut out, each once."""
    known = (_known(record) for _, record in records)
    return learnt_relations(
        (texts["relation_id"].strip(), texts["prompt"], texts["subject"].strip())
        for texts in known
        if None not in texts.values()
    )


def _known(record: Any) -> dict[str, Any]:
    found = {name: record.get(name) for name in ("subject", "relation_id", "attribute", "prompt")}
    return {name: text if isinstance(text, str) else None for name, text in found.items()}


COUNTERFACT = Form(
    keys=frozenset({"requested_rewrite"}),
    read=frozenset({"requested_rewrite"}),
    rows=counterfact_rows,
    relations=counterfact_relations,
    corpus="CounterFact",
    unread="of a request target_true is read, not target_new, which is false",
)
KNOWN = Form(
    keys=frozenset({"subject", "attribute", "prompt", "relation_id"}),
    read=frozenset({"subject", "attribute", "prompt", "relation_id"}),
    rows=known_rows,
    relations=known_relations,
    corpus="known_1000",
    unread="the words are those of each prompt, which may go on beyond its template",
)
