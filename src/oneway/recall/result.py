"""What an audit found, and the record that traces it."""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from oneway.evidence import RunRecord
from oneway.facts import FactTable
from oneway.facts.rendering import unaskable
from oneway.models.checkpoint import Checkpoint
from oneway.recall.alike import unnamed
from oneway.recall.asking import AuditConfig
from oneway.recall.spans import Splitter
from oneway.report import PER_FACT, SKIPPED, Run, save_run

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OF_SKIPPED = ("fact", "direction", "template_index", "prompt")  # and the reason
FIGURES = {"recall.svg": "figures/recall.svg", "recall.png": "figures/recall.png"}
ASKED = (
    "Which of these facts does the model recall forward (subject given), which in reverse (object given), "
    "and which only when the fact stands in its context?"
)


@dataclass(frozen=True, slots=True, repr=False)
class AuditResult:
    """An audit: `rows` has a row per fact, direction and template, `summary` an entry per group.

    `skipped` has a row per question that could not be scored, with its reason.
    """

    facts: FactTable
    rows: pl.DataFrame
    summary: list[dict[str, Any]]
    skipped: pl.DataFrame
    record: RunRecord

    def to_frame(self) -> pl.DataFrame:
        """The rows as a polars data frame."""
        return self.rows

    def figure(self) -> "Figure":
        """Forward against reverse for every fact; hovering shows the fact."""
        from oneway.report.figures import forward_against_reverse

        return forward_against_reverse(self.rows)

    def save(self, directory: str | Path) -> Path:
        """Write per_fact.parquet, skipped.parquet (where there are any), figures, report.html and record.json.

        Each is written atomically, the record last. Raises WriteError where the directory cannot be written.
        """
        from oneway.report.figures import bars

        run = Run(record=self.record, rows=self.rows, skipped=self.skipped)
        return save_run(run, bars(self.summary), directory)

    @classmethod
    def load(cls, directory: str | Path, facts: FactTable) -> "AuditResult":
        """The audit of these facts that was saved to a directory.

        Raises ValueError where a file is missing or damaged.
        """
        directory = Path(directory)
        try:
            record = RunRecord.from_json((directory / "record.json").read_text(encoding="utf-8"))
            rows = pl.read_parquet(directory / record.tables["per_fact"])
            empty = pl.DataFrame(
                schema={name: rows.schema[name] for name in OF_SKIPPED} | {"reason": pl.String}
            )
            file = record.tables.get("skipped")
            skipped = empty if file is None else pl.read_parquet(directory / file)
        except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
            raise ValueError(f"cannot read the audit in {directory}: {error}") from error
        return cls(facts, rows, list(map(dict, record.summary)), skipped, record)

    def __repr__(self) -> str:
        return f"<{self.record.title}>"

    def _repr_html_(self) -> str:
        from oneway.report.figures import bars
        from oneway.report.notebook import shown
        from oneway.report.tables import summary_table

        return shown(self.record.title, [summary_table(self.summary)], bars(self.summary))


def record_of(
    checkpoint: Checkpoint,
    splitter: Splitter,
    table: FactTable,
    config: AuditConfig,
    notes: list[str],
    rows: pl.DataFrame,
    skipped: pl.DataFrame,
    summary: list[dict[str, Any]],
) -> RunRecord:
    """Everything needed to trace the audit's numbers back to what was asked of which weights."""
    tokenizer = checkpoint.tokenizer
    flags = unnamed(rows["flag"]).value_counts(sort=True)
    reasons = skipped["reason"].value_counts(sort=True)
    unasked = unaskable(table, config.directions)
    notes = [
        *table.notes,
        *checkpoint.notes,
        *notes,
        *(f"{count} questions: {flag}" for flag, count in flags.iter_rows()),
        *(f"{count} questions not scored: {reason}" for reason, count in reasons.iter_rows()),
        *(f"{name} has no template to be asked {direction}" for name, direction in unasked),
    ]
    used = dict.fromkeys(fact.relation for fact in table)
    content = json.dumps(
        [[f.subject, f.relation, f.object, f.split, f.aliases, f.subject_aliases] for f in table]
    )
    return RunRecord(
        study="audit",
        run_id=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        title=f"{Path(checkpoint.name).name or checkpoint.name}: which way it recalls {len(table):,} facts",
        asked=ASKED,
        config={
            **asdict(config),
            "model": checkpoint.name,
            "architecture": type(checkpoint.model).__name__,
            "device": str(checkpoint.model.device),
            "dtype": checkpoint.dtype,
            **({"base": checkpoint.base} if checkpoint.base else {}),
            "tokenizer": {
                "class": type(tokenizer).__name__,
                "vocabulary": len(tokenizer),
                "special_in_front": tokenizer.convert_ids_to_tokens(list(splitter.in_front)),
            },
            **({"chat_template": _chat_of(splitter, rows)} if splitter.chat else {}),
            "templates": {name: asdict(table.relations[name]) for name in used},
        },
        summary=summary,
        seeds=[config.seed],
        data={"facts": hashlib.sha256(content.encode()).hexdigest()},
        checkpoints=dict(checkpoint.hashes),
        notes=notes,
        tables={"per_fact": PER_FACT} | ({} if skipped.is_empty() else {"skipped": SKIPPED}),
        figures=FIGURES,
    )


def _chat_of(splitter: Splitter, rows: pl.DataFrame) -> dict[str, Any]:
    """The template, and the first question as the model reads it."""
    prompt, answer = rows.row(0, named=True)["prompt"], rows.row(0, named=True)["answer"]
    return splitter.chat.record(prompt, answer) if splitter.chat else {}
