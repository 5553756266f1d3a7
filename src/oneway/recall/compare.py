"""Two audits fact by fact: which facts were gained, lost, turned around. `compare(before, after)`."""

import hashlib
import io
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from oneway.evidence import RunRecord, mcnemar, over_pairs, sha256
from oneway.recall.changes import CHANGES, COMPARED, CompareError, changes, checked, per_fact
from oneway.recall.differences import Audited, differences
from oneway.recall.rows import DIRECTIONS
from oneway.recall.summary import groups, resamples
from oneway.report import PER_FACT, Run, save_run

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FIGURES = {"changes.svg": "figures/changes.svg", "changes.png": "figures/changes.png"}
ASKED = (
    "Which facts did the second model gain, which did it lose, and of which did it turn the direction of recall "
    "around? Every fact of both audits is compared with itself."
)


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """What became of every fact: `rows` has a row per fact, `summary` the entries of the record."""

    rows: pl.DataFrame
    summary: list[dict[str, Any]]
    record: RunRecord

    def to_frame(self) -> pl.DataFrame:
        """The rows as a polars data frame: every fact with its classes, its change and its numbers."""
        return self.rows

    def changed(self, change: str) -> pl.DataFrame:
        """The facts of one change: gained, lost, turned_around, kept, not_comparable, only_before or only_after.

        Raises ValueError for another word.
        """
        if change not in CHANGES:
            raise ValueError(f"{change!r} is no change of a fact; use one of: {', '.join(CHANGES)}")
        return self.rows.filter(pl.col("change") == change)

    def figure(self) -> "Figure":
        """Before against after for every fact and direction; hovering shows the fact."""
        from oneway.report.comparisons import before_against_after

        return before_against_after(self.rows)

    def save(self, directory: str | Path) -> Path:
        """Write per_fact.parquet, figures, report.html and record.json, each atomically, the record last.

        Raises WriteError where the directory cannot be written.
        """
        from oneway.report.comparisons import printed

        return save_run(Run(record=self.record, rows=self.rows), printed(self.summary), directory)

    def __repr__(self) -> str:
        return f"<{self.record.title}>"

    def _repr_html_(self) -> str:
        from oneway.report.comparisons import printed
        from oneway.report.notebook import shown
        from oneway.report.tables import changes_line, difference_table

        tables = changes_line(self.summary), difference_table(self.summary)
        return shown(self.record.title, tables, printed(self.summary))


def compare(before: Audited, after: Audited) -> Comparison:
    """Compare two audits on the facts that stand in both; facts of only one are counted and listed.

    A fact is the same where subject, relation and object are. It is `gained` where it is known in a direction
    more and in none less, `lost` the other way, `turned_around` where it was known in one direction only and is
    now known in the other only, else `kept`; being read off the prompt counts where neither direction is known.
    Both audits are judged by one rule, that of `oneway.recall.rows.with_classes`.

    Raises CompareError where a table is no audit's or damaged, or where the audits have no fact in common.
    """
    started = time.monotonic()
    names = _names(before.record, after.record)
    sides = [_read(audited, name) for audited, name in zip((before, after), names, strict=True)]
    rows = changes(*sides)
    if not rows["change"].is_in(COMPARED).any():
        common = rows.filter(pl.col("change") == "not_comparable").height
        said = f"{common} facts, but were asked none of them in the same direction" if common else "no fact"
        example = [f"{side['subject'][0]!r} ({side['relation'][0]})" for side in sides]
        raise CompareError(
            f"the two audits have in common {said}: {names[0]} asks {sides[0].height}, such as {example[0]}; "
            f"{names[1]} asks {sides[1].height}, such as {example[1]}. Audit both models on the same facts"
        )
    summary = summarise(rows)
    notes = [*_of_facts(rows, sides, names), *differences(before, after)]
    record = _record(before, after, names, rows, summary, notes)
    return Comparison(rows, summary, replace(record, wall_seconds=time.monotonic() - started))


def summarise(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Per relation and split ("" is all together): one entry of changes, and one per direction.

    The first has `changes`, a count per change, and `transitions`, how many facts went from which class to
    which (null where a class is undefined). The others, over the facts asked that way in both audits, have
    `before` and `after`, the share of whole answers right; `difference`, after less before; `p_value`, the exact
    McNemar test of the facts right in one audit only (`right_before_only`, `right_after_only`: at least half of
    the templates); and `logprob_per_token`, the mean difference in nats.
    """
    entries: list[dict[str, Any]] = []
    for group, facts in groups(rows):
        counts = dict(facts["change"].value_counts().iter_rows())
        compared = facts.filter(pl.col("change").is_in(COMPARED))
        moved = compared.group_by("class_before", "class_after").len().sort("class_before", "class_after")
        head = {"direction": "", "facts": compared.height}
        head["changes"] = {name: counts.get(name, 0) for name in CHANGES}
        head["transitions"] = [
            dict(zip(("before", "after", "facts"), row, strict=True)) for row in moved.iter_rows()
        ]
        entries.append({**group, **head})
        entries += [{**group, **entry} for direction in DIRECTIONS if (entry := _paired(facts, direction))]
    return entries


def _paired(facts: pl.DataFrame, direction: str) -> dict[str, Any] | None:
    before, after = f"{direction}_right_before", f"{direction}_right_after"
    asked = facts.drop_nulls([before, after])
    if asked.is_empty():
        return None
    right, right_now = asked[before] >= 0.5, asked[after] >= 0.5
    only_before, only_after = int((right & ~right_now).sum()), int((right_now & ~right).sum())
    return {
        "direction": direction,
        "facts": asked.height,
        "before": float(asked[before].mean()),  # type: ignore[arg-type]
        "after": float(asked[after].mean()),  # type: ignore[arg-type]
        "difference": _difference(asked, f"{direction}_right", "probability"),
        "right_before_only": only_before,
        "right_after_only": only_after,
        "p_value": mcnemar(only_before, only_after),
        "logprob_per_token": _difference(asked, f"{direction}_per_token", "nats"),
    }


def _difference(facts: pl.DataFrame, name: str, unit: str) -> dict[str, Any]:
    before, after = (facts[f"{name}_{when}"].to_numpy() for when in ("before", "after"))
    return over_pairs(before, after, unit, resamples=resamples(facts.height)).to_dict()


def _names(before: RunRecord, after: RunRecord) -> tuple[str, str]:
    """What to call the two: the models' names, or the runs' where the models have the same."""

    def model(record: RunRecord) -> str:
        named = record.config.get("model")
        return Path(named).name or named if isinstance(named, str) and named else record.run_id

    first, second = model(before), model(after)
    return (
        (first, second) if first != second else (f"{first} ({before.run_id})", f"{second} ({after.run_id})")
    )


def _read(audited: Audited, name: str) -> pl.DataFrame:
    if audited.rows is None:
        raise CompareError(
            f"{name}: a run of {audited.record.study!r} without a table per_fact; give the folders of two audits"
        )
    facts = per_fact(checked(audited.rows, name))
    if facts.is_empty():
        raise CompareError(
            f"{name}: its table of facts is empty; every question was left out (see its notes)"
        )
    return facts


def _of_facts(rows: pl.DataFrame, sides: list[pl.DataFrame], names: tuple[str, str]) -> Iterator[str]:
    """What the reader must know of the facts that are compared, and of those that are not."""
    counts = dict(rows["change"].value_counts().iter_rows())
    for change, name in (("only_before", names[0]), ("only_after", names[1])):
        if counts.get(change):
            yield f"{counts[change]} facts stand in the audit of {name} only: they are listed, not compared"
    if lonely := counts.get("not_comparable"):
        yield f"{lonely} facts were asked in no direction by both audits: they are listed, not compared"
    for side, name in zip(sides, names, strict=True):
        if copies := side.filter(pl.col("copies") > 1).height:
            yield f"{copies} facts stand more than once in the audit of {name}: their rows are averaged"
    if moved := rows.filter(pl.col("split").str.contains(" → ", literal=True)).height:
        yield f'{moved} facts are labelled with another split in each audit: their split is written "first → second"'
    for direction in DIRECTIONS:
        column = rows[f"{direction}_per_token_difference"]
        if bad := int((column.is_nan() | column.is_infinite()).sum()):
            yield f"{bad} facts have no finite log-probability {direction}: its mean difference has no interval"


def _record(
    before: Audited,
    after: Audited,
    names: tuple[str, str],
    rows: pl.DataFrame,
    summary: list[dict[str, Any]],
    notes: list[str],
) -> RunRecord:
    sides = {"before": before, "after": after}
    compared = rows["change"].is_in(COMPARED).sum()
    return RunRecord(
        study="compare",
        run_id=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        title=f"{names[1]} after {names[0]}: {compared:,} facts compared",
        asked=ASKED,
        config={when: _traced(side, name) for (when, side), name in zip(sides.items(), names, strict=True)},
        summary=summary,
        data={f"{when}/{PER_FACT}": _hash(side) for when, side in sides.items()},
        checkpoints={
            f"{when}/{file}": digest
            for when, side in sides.items()
            for file, digest in side.record.checkpoints.items()
        },
        notes=notes,
        tables={"per_fact": PER_FACT},
        figures=FIGURES,
    )


def _traced(audited: Audited, name: str) -> Mapping[str, Any]:
    record = audited.record
    traced = {
        field: getattr(record, field) for field in ("study", "run_id", "title", "created", "commit", "config")
    }
    folder = getattr(audited, "folder", None)
    return {"name": name, **traced} | ({} if folder is None else {"folder": str(folder)})


def _hash(audited: Audited) -> str:
    """Of the table's file where there is one, else of the bytes that it would have."""
    folder, file = getattr(audited, "folder", None), audited.record.tables.get("per_fact")
    if folder is not None and file is not None and (Path(folder) / file).is_file():
        return sha256(Path(folder) / file)
    buffer = io.BytesIO()
    assert audited.rows is not None
    audited.rows.write_parquet(buffer)
    return hashlib.sha256(buffer.getvalue()).hexdigest()
