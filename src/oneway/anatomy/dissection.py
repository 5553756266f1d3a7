"""The whole investigation of one specimen, step by step; each step is kept, so that a killed one goes on from there."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from oneway.anatomy.specimen import Specimen
from oneway.anatomy.steps import circuit, extraction, hashing, hypotheses, lookup, neurons, reading, related
from oneway.anatomy.steps.step import Finding, Step
from oneway.evidence import atomic
from oneway.evidence.estimate import Estimate
from oneway.report.progress import progress

STEPS: tuple[Step, ...] = (
    *lookup.STEPS[:2],  # where, before how
    *extraction.STEPS,
    *reading.STEPS,
    *lookup.STEPS[2:],
    *neurons.STEPS,
    *hashing.STEPS,
    *circuit.STEPS,
    *hypotheses.STEPS,
    *related.STEPS,
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What all steps found: tables, estimates and notes, by the steps' ids."""

    of: dict[str, Finding]
    resumed: bool = False  # whether some of the steps had been taken before

    @property
    def measured(self) -> dict[str, Estimate]:
        return {name: estimate for found in self.of.values() for name, estimate in found.measured.items()}

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        return {name: table for found in self.of.values() for name, table in found.tables.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for found in self.of.values() for note in found.notes)


def investigate(
    specimen: Specimen, workspace: Path | None = None, steps: tuple[Step, ...] = STEPS
) -> Findings:
    """Take every step. With a `workspace`, each finished step is written there, and is read from there the next time.

    What is in a workspace is trusted to be of this very specimen: whoever calls sees to that. Raises WriteError where
    the workspace cannot be written.
    """
    found: dict[str, Finding] = {}
    resumed = False
    with progress("dissecting") as advance:
        for number, step in enumerate(steps):
            advance(number, len(steps))
            kept = None if workspace is None else _Kept(workspace / step.id)
            if kept is not None and kept.finished:
                found[step.id], resumed = kept.read(), True
                continue
            found[step.id] = step(specimen)
            if kept is not None:
                kept.write(found[step.id])
        advance(len(steps), len(steps))
    return Findings(found, resumed)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A finding on disk: a file a table, and a last one that says it is whole."""

    folder: Path

    @property
    def last(self) -> Path:
        return self.folder / "finding.json"

    @property
    def finished(self) -> bool:
        return self.last.exists()

    def write(self, found: Finding) -> None:
        for name, table in found.tables.items():
            atomic.write_with(self.folder / f"{name}.parquet", table.write_parquet)
        content = {
            "tables": list(found.tables),
            "measured": {name: estimate.to_dict() for name, estimate in found.measured.items()},
            "notes": list(found.notes),
        }
        atomic.write_text(self.last, json.dumps(content, allow_nan=False))

    def read(self) -> Finding:
        content = json.loads(self.last.read_text(encoding="utf-8"))
        return Finding(
            {name: pl.read_parquet(self.folder / f"{name}.parquet") for name in content["tables"]},
            {name: Estimate.from_dict(fields) for name, fields in content["measured"].items()},
            tuple(content["notes"]),
        )
