"""How two audits were asked differently: what a reader must know before a difference is put down to the models."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import polars as pl

from oneway.evidence import RunRecord

_SAID_ELSEWHERE = ("model", "templates", "tokenizer", "demo")
_LONGEST = 80  # characters of a setting in a note


class Audited(Protocol):
    """What a comparison needs of an audit: an `AuditResult`, or a finished run that was read."""

    @property
    def record(self) -> RunRecord: ...
    @property
    def rows(self) -> pl.DataFrame | None: ...
    @property
    def skipped(self) -> pl.DataFrame | None: ...


def differences(before: Audited, after: Audited) -> Iterator[str]:
    """A note for everything but the facts in which the two audits differ, or in which they do not but should."""
    first, second = before.record, after.record
    if first == second:
        yield "both sides are the same run: every difference is 0"
    elif first.checkpoints and dict(first.checkpoints) == dict(second.checkpoints):
        yield (
            "both audits are of the same weights (equal hashes): what differs comes from how they were asked, "
            "not from the model"
        )
    if _templates(first.config) != _templates(second.config):
        yield from _of_templates(_templates(first.config), _templates(second.config))
    if first.config.get("tokenizer") != second.config.get("tokenizer"):
        yield (
            "the two models have other tokenizers: an answer has other tokens in each, so compare whole answers; "
            "log-probabilities per token are not on one scale"
        )
    for name in dict.fromkeys([*first.config, *second.config]):
        values = [config.get(name) for config in (first.config, second.config)]
        if name not in _SAID_ELSEWHERE and values[0] != values[1]:
            yield f"the audits differ in {name}: {_short(values[0])} before, {_short(values[1])} after"
    for when, audited in (("before", before), ("after", after)):
        if audited.skipped is not None and not audited.skipped.is_empty():
            yield (
                f"{audited.skipped.height} questions of the audit {when} could not be scored (its report has the "
                "reasons); a fact of which no question could be scored is missing in it"
            )


def _templates(config: Mapping[str, Any]) -> dict[str, Any]:
    found = config.get("templates")
    # Through JSON, as a record that was read has them: tuples are lists there.
    return json.loads(json.dumps(found)) if isinstance(found, Mapping) else {}


def _of_templates(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    for name in [name for name in first if name in second]:
        if first[name] != second[name]:
            yield (
                f"{name} was asked with other templates in each audit: every fact's templates are averaged on "
                "either side"
            )


def _short(value: Any) -> str:
    text = "not said" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
