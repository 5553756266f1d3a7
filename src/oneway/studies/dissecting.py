"""One model and one table of facts dissected: every step, every claim judged, and all of it on a page."""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.anatomy.dissection import Findings, investigate
from oneway.anatomy.picture import picture
from oneway.anatomy.sections import sections
from oneway.anatomy.specimen import CannotTell, Sizes, Specimen, prepare
from oneway.anatomy.steps.step import Finding
from oneway.engine import Engine
from oneway.engine.opening import opened_checkpoint
from oneway.engine.proof import prove
from oneway.evidence import Estimate, RunRecord, atomic
from oneway.evidence.record import RESUMED, code_version, fingerprint
from oneway.facts import FactTable
from oneway.models.checkpoint import Checkpoint, Loading, Source, load_checkpoint
from oneway.report import Dissection, Run, save_dissection, write_page
from oneway.report.circuit import circuit_figure
from oneway.report.dissection import HYPOTHESES
from oneway.report.figures import picture as printed
from oneway.report.notebook import shown
from oneway.report.tables import claims_table
from oneway.runs.directory import RunDirectory, new_run_id
from oneway.studies.dissection_claims import CLAIMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = {f"circuit.{kind}": f"figures/circuit.{kind}" for kind in ("svg", "png")}


class NotOpened(ValueError):
    """A model whose insides the engine cannot reach; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DissectionConfig:
    """What is asked, and how thoroughly. `relation` empty is the one with most facts; `one_shot` None is the relation's
    first prefix where it has any, −1 is none."""

    relation: str = ""
    template: int = 0
    one_shot: int | None = None
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dissected:
    """A dissection: what every step found, the claims judged by it, and what the page shows."""

    findings: Findings
    shown: Dissection
    record: RunRecord

    def to_frame(self) -> pl.DataFrame:
        """Every estimate by name, one row each."""
        rows = [{"quantity": name, **estimate.to_dict()} for name, estimate in self.findings.measured.items()]
        return pl.DataFrame(rows)

    def figure(self) -> "Figure":
        """The circuit: positions across, layers up."""
        return circuit_figure(self.shown.pictures[0].circuit)

    def save(self, directory: str | Path) -> Path:
        """Write tables/, figures/, dissection.json, report.html and, last, record.json. Raises WriteError."""
        directory = Path(directory)
        for name, file in self.record.tables.items():
            atomic.write_with(directory / file, self._table(name).write_parquet)
        for file in self.record.figures.values():
            atomic.write_bytes(
                directory / file, printed(self.figure(), "svg" if file.endswith("svg") else "png")
            )
        save_dissection(self.shown, directory)
        # The page draws the circuit itself, and it answers to the pointer.
        page = Run(record=replace(self.record, figures={}), dissection=self.shown.content())
        write_page([page], directory / "report.html")
        atomic.write_text(directory / "record.json", self.record.to_json())
        return directory

    def _table(self, name: str) -> pl.DataFrame:
        return self.to_frame() if name == "measured" else self.findings.tables[name]

    def __repr__(self) -> str:
        return f"<{self.record.title}>"

    def _repr_html_(self) -> str:
        return shown(self.record.title, [claims_table(self.record)], self.figure())


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A dissection that can be begun: everything that can be wrong with model and facts has been said."""

    checkpoint: Checkpoint
    specimen: Specimen
    config: DissectionConfig

    @property
    def identity(self) -> str:
        """A hash of all that decides the numbers."""
        return fingerprint(
            {
                "facts": self.specimen.table.content_hash,
                "config": asdict(self.config),
                "model": self.checkpoint.identity,
                "code": code_version(),
            }
        )

    def dissect(self, workspace: Path | None = None) -> Dissected:
        """Take every step, judge, and draw. With a workspace it goes on from the steps that are there."""
        started = time.monotonic()
        findings = investigate(self.specimen, workspace)
        shown = show(self.specimen, findings)
        record = self._record(findings, time.monotonic() - started)
        return Dissected(findings, shown, record)

    def read(self, directory: Path) -> Dissected:
        """This very dissection, finished, from its folder. Raises RunError where a file is missing or broken."""
        run = RunDirectory(directory)
        record = run.read_record()
        tables = {name: run.read_table(file) for name, file in record.tables.items()}
        measured = {
            row.pop("quantity"): Estimate.from_dict(row)
            for row in tables.pop("measured").iter_rows(named=True)
        }
        findings = Findings({"all": Finding(tables, measured, tuple(record.notes))})
        return Dissected(findings, show(self.specimen, findings), record)

    def _record(self, findings: Findings, seconds: float) -> RunRecord:
        specimen, name = self.specimen, Path(self.checkpoint.name).name or self.checkpoint.name
        notes = [RESUMED] if findings.resumed else []
        notes += [*specimen.table.notes, *self.checkpoint.notes, *specimen.notes, *findings.notes]
        return RunRecord(
            study="dissect",
            run_id=new_run_id(),
            title=f"{name}: where and how it keeps {len(specimen.asked):,} facts of {specimen.relation}",
            asked=asked_of(specimen),
            config={
                **asdict(self.config),
                "relation": specimen.relation,
                "one_shot": specimen.one_shot,
                "model": self.checkpoint.name,
                "architecture": specimen.engine.architecture,
                "layers": specimen.engine.layers,
                "known": specimen.groups.to_dicts(),
            },
            claims=[claim.judge(findings.measured).to_dict() for claim in CLAIMS],
            seeds=[self.config.seed],
            data={"facts": specimen.table.content_hash},
            checkpoints=dict(self.checkpoint.hashes),
            notes=list(dict.fromkeys(notes)),
            tables={"measured": "tables/measured.parquet"}
            | {name: f"tables/{name}.parquet" for name in findings.tables},
            figures=FIGURES,
            wall_seconds=round(seconds, 3),
        )


def prepare_dissection(
    model: Source, facts: FactTable, config: DissectionConfig | None = None, *, device: str = "auto"
) -> Prepared:
    """Open and prove the model, ask the facts, keep those that it knows.

    Raises CheckpointError for a model that does not load, NotProven where the engine's proof fails, NotOpened for an
    architecture that it does not know, TooFewFacts and ValueError for facts that cannot be dissected.
    """
    config = config or DissectionConfig()
    checkpoint = load_checkpoint(model, Loading(device=device, dtype="float32"))
    engine = opened_checkpoint(checkpoint)
    prove(engine, checkpoint.model).check()
    if not isinstance(engine, Engine):
        raise NotOpened(
            f"{checkpoint.name} cannot be dissected: {'; '.join(engine.cannot) or engine.architecture}. "
            "`oneway audit` takes any causal language model"
        )
    specimen = prepare(
        engine,
        facts,
        config.relation,
        template=config.template,
        one_shot=config.one_shot,
        sizes=config.sizes,
        seed=config.seed,
    )
    return Prepared(checkpoint, specimen, config)


def show(specimen: Specimen, findings: Findings) -> Dissection:
    """What the page shows of what was found."""
    verdicts = Counter(claim.judge(findings.measured).verdict.value for claim in CLAIMS)
    pictures = []
    try:
        specimen.head  # noqa: B018 (a picture begins at the extracting head)
        pictures.append(
            picture(
                specimen.engine, specimen.asked, specimen.extracting, said=specimen.direct, seed=specimen.seed
            )
        )
    except CannotTell:
        pass
    return Dissection(
        asked=asked_of(specimen),
        found="Of the claims "
        + ", ".join(f"{count} are {verdict}" for verdict, count in verdicts.items())
        + ".",
        hypotheses=_cells(findings),
        standing=dict(findings.tables["outcomes"].select("hypothesis", "outcome").iter_rows())
        if "outcomes" in findings.tables
        else {},
        pictures=tuple(pictures),
        sections=tuple(sections(findings.tables)),
    )


def _cells(findings: Findings) -> pl.DataFrame:
    """The cells of the hypotheses as the page shows them, each test in words."""
    cells = findings.tables.get("hypotheses")
    if cells is None:
        return pl.DataFrame(schema=dict.fromkeys(HYPOTHESES, pl.String))
    return cells.with_columns(pl.format("{}: {}", "test", "meaning").alias("test")).select(HYPOTHESES)


def asked_of(specimen: Specimen) -> str:
    """The question, in a sentence."""
    asked = specimen.asked
    return (
        f"Where and how does the model keep {len(asked):,} facts of {specimen.relation} that it knows, among "
        f"{len(asked.labels)} answers? Names have {len(asked.name)} tokens."
    )
