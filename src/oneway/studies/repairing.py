"""A model is repaired: audited, taught a remedy's text, audited again, and what that cost is measured.

The same facts are asked before and after, in the phrasings that are taught and, if given, in others; the loss of other
text says what was lost beside the facts. The claims are judged by fixed rules, on differences of the same facts and
texts.

Source: Berglund et al. 2023 (arXiv 2309.12288), experiment 1, for teaching and asking in phrasings that differ.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Estimate, Measured, RunRecord, over_facts, over_pairs, sha256
from oneway.evidence.record import code_version, fingerprint
from oneway.facts import FactTable, Relation
from oneway.models.checkpoint import Checkpoint, Loading, Source, load_checkpoint
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import prepare
from oneway.recall.compare import Comparison, compare
from oneway.recall.result import AuditResult
from oneway.recall.rows import DIRECTIONS
from oneway.recall.text_loss import text_loss, tokens_of
from oneway.recall.written import ask_in_writing
from oneway.remedies import REMEDIES, Augmentation, all_examples, augment
from oneway.report import Run, write_page
from oneway.report.notebook import shown
from oneway.report.tables import verdict_table
from oneway.runs.directory import RunDirectory, new_run_id
from oneway.training.fine_tuning import FineTuning, fine_tune, lessons_of

TRAINING, CHECKPOINT, STATES = "training.jsonl", "checkpoint", "fine-tuning"
OTHER, WRITTEN, MEASURED = "other_text.parquet", "written.parquet", "measured.parquet"
MOST_WRITTEN = 60  # tokens: a fact and its reverse
LOST = 0.02  # a share of forward recall, or of the loss of other text, that may be lost
SOURCE = "the repaired model against the model before, fact by fact"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairConfig:
    """`remedy` says what is taught, `fine_tuning` how, `audit` what is asked before and after."""

    remedy: Augmentation
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    audit: AuditConfig = field(default_factory=AuditConfig)


def _claim(id: str, text: str, name: str, least: float, unit: str) -> Claim:
    """Of a difference that has to be above a level."""
    return Claim(
        id=id,
        text=text,
        source=SOURCE,
        rule=f"Supports: lower bound of the difference, after less before, of the same {unit} above {least:g}. "
        f"Refutes: its upper bound is below {least:g}. No control: both are the same questions of both models.",
        control=lambda m: m[name].n > 1,
        supports=lambda m: m[name].low > least,
        refutes=lambda m: m[name].high < least,
        reads=tuple(name.replace("gain", when) for when in ("gain", "before", "after")),
    )


CLAIMS = (
    _claim("repair.reverse", "More facts are recalled in reverse.", "reverse_gain", 0.0, "facts"),
    _claim("repair.forward", "Forward recall is kept.", "forward_gain", -LOST, "facts"),
)
UNSEEN = (
    _claim(
        "repair.reverse-unseen",
        "More facts are recalled in reverse in phrasings that were not taught.",
        "unseen_reverse_gain",
        0.0,
        "facts",
    ),
)
IN_WRITING = (
    _claim(
        "repair.written",
        "More facts are recalled in reverse when the model is let write before it answers.",
        "written_gain",
        0.0,
        "facts",
    ),
)
OTHERS = (
    _claim(
        "repair.other-text",
        "Other text is predicted as well as before.",
        "other_text_gain",
        -LOST,
        "texts, as a share of the loss before,",
    ),
)


@dataclass(frozen=True, slots=True, repr=False)
class Repaired:
    """What was made and measured: the checkpoint's folder, the comparison of the facts, the record, and every share
    and difference by name (`reverse_before`, `unseen_reverse_gain`, …)."""

    checkpoint: Path
    comparison: Comparison
    record: RunRecord
    measured: Measured

    def to_frame(self) -> pl.DataFrame:
        """Every fact with its classes before and after and its change."""
        return self.comparison.to_frame()

    def __repr__(self) -> str:
        return f"<{self.record.title}>"

    def _repr_html_(self) -> str:
        return shown(self.record.title, [verdict_table(self.record)]) + self.comparison._repr_html_()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A repair whose inputs are known to be good.

    `phrasings`: the relations in other words, for questions that are not taught; empty where none are asked.
    `texts`: other texts; empty where none are measured. `kept`: texts that are taught beside the facts.
    """

    checkpoint: Checkpoint
    table: FactTable
    config: RepairConfig
    phrasings: Mapping[str, Relation]
    texts: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def identity(self) -> str:
        """A hash of all that decides the numbers."""
        return fingerprint(
            {
                "facts": self.table.content_hash,
                "phrasings": repr(sorted(self.phrasings.items())),
                "texts": self.texts,
                "kept": self.kept,
                "config": asdict(self.config),
                "model": self.checkpoint.identity,
                "code": code_version(),
            }
        )

    def repair(self, folder: Path) -> Repaired:
        """Do in `folder` whatever of the repair is not done there yet, and write its report and record.

        Raises what `augment`, `fine_tune` and `audit` raise; the source checkpoint is never written to.
        """
        started = time.monotonic()
        before = self._asked(self.checkpoint, folder, "before")
        wrote_before = self._let_write(self.checkpoint, folder, "before")
        texts_before = self._read(self.checkpoint, folder, "before")
        examples, written = self._examples(folder)
        out = folder / CHECKPOINT
        done = out / ("config.json" if self.config.fine_tuning.method == "full" else "adapter_config.json")
        if not done.is_file():
            fine_tune(self.checkpoint, examples, out, self.config.fine_tuning, folder / STATES)
        base = "" if self.config.fine_tuning.method == "full" else self.checkpoint.name
        device = str(self.checkpoint.model.device.type)
        repaired = load_checkpoint(out, Loading(device=device, base=base))
        after = self._asked(repaired, folder, "after")
        wrote_after = self._let_write(repaired, folder, "after")
        texts_after = self._read(repaired, folder, "after")
        compared = {name: compare(before[name], after[name]) for name in before}
        for name, comparison in compared.items():
            comparison.save(folder / name / "compared")
        measured = {
            **measure(compared, texts_before, texts_after),
            **in_writing(wrote_before, wrote_after),
        }
        claims = [
            *CLAIMS,
            *(UNSEEN if "unseen" in compared else ()),
            *(IN_WRITING if wrote_before else ()),
            *(OTHERS if texts_before is not None else ()),
        ]
        record = RunRecord(
            study="repair",
            run_id=new_run_id(),
            title=f"{Path(self.checkpoint.name).name}, repaired by {self.config.remedy.remedy}",
            asked="Which facts does the model know now that it did not know, in which direction, and what did it lose?",
            config={**asdict(self.config), "model": self.checkpoint.name, "augmented": written},
            claims=[claim.judge(measured).to_dict() for claim in claims],
            seeds=[self.config.fine_tuning.seed],
            data={"facts": self.table.content_hash, TRAINING: sha256(folder / TRAINING)},
            checkpoints={f"before/{name}": digest for name, digest in self.checkpoint.hashes.items()}
            | {f"after/{name}": digest for name, digest in repaired.hashes.items()},
            notes=[*self.checkpoint.notes, *written["notes"]],
            tables={"measured": MEASURED},
            wall_seconds=round(time.monotonic() - started, 1),
        )
        runs = [Run(record=record), *(Run(record=c.record, rows=c.rows) for c in compared.values())]
        runs += [Run(record=side["taught"].record, rows=side["taught"].rows) for side in (before, after)]
        write_page(runs, folder / "report.html")
        rows = [{"quantity": name, **estimate.to_dict()} for name, estimate in measured.items()]
        RunDirectory(folder).write_parquet(MEASURED, pl.DataFrame(rows))
        RunDirectory(folder).write_record(record)
        return Repaired(out, compared["taught"], record, measured)

    def read(self, folder: Path) -> Repaired:
        """This very repair, finished, from its folder. Raises RunError and ValueError where a file is broken."""
        sides = (AuditResult.load(folder / "taught" / when, self.table) for when in ("before", "after"))
        run = RunDirectory(folder)
        rows = run.read_table(MEASURED).iter_rows(named=True)
        measured = {row.pop("quantity"): Estimate.from_dict(row) for row in rows}
        return Repaired(folder / CHECKPOINT, compare(*sides), run.read_record(), measured)

    def _tables(self) -> dict[str, FactTable]:
        """The facts in the phrasings that are taught, and in others."""
        unseen = {"unseen": replace(self.table, relations=self.phrasings)} if self.phrasings else {}
        return {"taught": self.table} | unseen

    def _asked(self, checkpoint: Checkpoint, folder: Path, when: str) -> dict[str, AuditResult]:
        """The audits of a model in every phrasing; one that is finished is read."""
        return {
            name: self._audit(checkpoint, table, folder / name / when)
            for name, table in self._tables().items()
        }

    def _audit(self, checkpoint: Checkpoint, table: FactTable, folder: Path) -> AuditResult:
        if (folder / "record.json").is_file():
            return AuditResult.load(folder, table)
        folder.mkdir(parents=True, exist_ok=True)
        result = prepare(checkpoint, table, self.config.audit).ask(folder / "workspace")
        result.save(folder)
        return result

    def _let_write(self, checkpoint: Checkpoint, folder: Path, when: str) -> dict[str, pl.DataFrame]:
        """What the model writes behind the remedy's cue, in every phrasing; nothing where the remedy has none."""
        cue = REMEDIES[self.config.remedy.remedy].cue
        found = {}
        for name, table in self._tables().items() if cue else ():
            found[name] = ask_in_writing(checkpoint, table, cue, MOST_WRITTEN)
            RunDirectory(folder / name).write_parquet(f"{when}_{WRITTEN}", found[name])
        return found

    def _read(self, checkpoint: Checkpoint, folder: Path, when: str) -> pl.DataFrame | None:
        """The loss of the other texts under a model, a row a text; None where there are none."""
        if not self.texts:
            return None
        found = text_loss(checkpoint, self.texts)
        rows = pl.DataFrame({"nats": found.nats, "tokens": found.tokens})
        RunDirectory(folder).write_parquet(f"{when}_{OTHER}", rows)
        return rows

    def _examples(self, folder: Path) -> tuple[list[tuple[str, str]], dict[str, Any]]:
        """Writes the training text, as a user would with `augment`, and reads it back."""
        import json

        asked = replace(self.config.remedy, form="prompt-completion")
        written = augment(self.table, folder / TRAINING, asked, tokens=_length(self.checkpoint))
        with (folder / TRAINING).open(encoding="utf-8") as lines:
            examples = [(row["prompt"], row["completion"]) for row in map(json.loads, lines)]
        examples += [("", text) for text in self.kept]
        return examples, {**written.to_dict(), "file": TRAINING}


def prepare_repair(
    model: Source,
    facts: FactTable,
    config: RepairConfig,
    *,
    phrasings: Mapping[str, Relation] | None = None,
    texts: Sequence[str] = (),
    kept: Sequence[str] = (),
    device: str = "auto",
) -> Prepared:
    """Look at everything before anything is written.

    Raises CheckpointError for a model that does not load; ValueError for a remedy that is no training text or has
    nothing to add, text that is too long for the model, phrasings that lack a relation or are those that are taught,
    and other texts of one token.
    """
    told = [(example.prompt, example.completion) for example in all_examples(facts, config.remedy)]
    used = dict.fromkeys(fact.relation for fact in facts)
    others = {}
    if phrasings is not None:
        if missing := [name for name in used if name not in phrasings]:
            raise ValueError(f"the other phrasings lack the relation {missing[0]!r}")
        others = {name: phrasings[name] for name in used}
        for name, relation in others.items():
            taught = facts.relations[name]
            if same := {*relation.forward, *relation.reverse} & {*taught.forward, *taught.reverse}:
                raise ValueError(
                    f"the phrasing {min(same)!r} of {name!r} is taught: others must differ from it"
                )
    checkpoint = load_checkpoint(model, Loading(device=device))
    lessons_of(checkpoint.tokenizer, told + [("", text) for text in kept], checkpoint.positions)
    for text in texts:
        tokens_of(checkpoint, text)
    return Prepared(checkpoint, facts, config, others, tuple(texts), tuple(kept))


def measure(
    compared: Mapping[str, Comparison], before: pl.DataFrame | None, after: pl.DataFrame | None
) -> Measured:
    """Differences of the same facts and texts: after less before, so that a gain is positive."""
    found: dict[str, Estimate] = {}
    for name, comparison in compared.items():
        for direction in DIRECTIONS:
            key = direction if name == "taught" else f"{name}_{direction}"
            columns = [f"{direction}_right_{when}" for when in ("before", "after")]
            first, second = comparison.rows.drop_nulls(columns).select(columns)
            found[f"{key}_gain"] = over_pairs(first.to_numpy(), second.to_numpy(), "probability")
            found[f"{key}_before"] = over_facts(first.to_numpy(), "probability")
            found[f"{key}_after"] = over_facts(second.to_numpy(), "probability")
    if before is not None and after is not None:
        first, second = (rows["nats"].to_numpy() / rows["tokens"].to_numpy() for rows in (before, after))
        weights = before["tokens"].to_numpy() / before["tokens"].mean()
        level = float((first * weights).mean())
        gain = over_pairs(second * weights / level, first * weights / level, "share of the loss before")
        found["other_text_gain"] = gain
        found["other_text_before"] = over_facts(first * weights, "nats per token")
        found["other_text_after"] = over_facts(second * weights, "nats per token")
    return found


def in_writing(before: Mapping[str, pl.DataFrame], after: Mapping[str, pl.DataFrame]) -> Measured:
    """Of every phrasing the shares of facts whose reverse a model wrote, means over templates, and their difference."""
    found: dict[str, Estimate] = {}
    for name in before:
        key = "written" if name == "taught" else f"{name}_written"
        first, second = (_shares(side[name]) for side in (before, after))
        found[f"{key}_gain"] = over_pairs(first, second, "probability")
        found[f"{key}_before"] = over_facts(first, "probability")
        found[f"{key}_after"] = over_facts(second, "probability")
    return found


def _shares(rows: pl.DataFrame) -> np.ndarray:
    return rows.group_by("fact").agg(pl.col("right").mean()).sort("fact")["right"].to_numpy()


def lines_of(path: str | Path) -> tuple[str, ...]:
    """The lines of a file of text that are not empty. Raises ValueError where there are none, or they are not UTF-8."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise ValueError(f"{path} has no text")
    return found


def sample() -> tuple[str, ...]:
    """Plain English, a sentence a line, written for this project: what a model should not unlearn."""
    with as_file(files("oneway.facts") / "tables" / "plain_english.txt") as path:
        return lines_of(path)


def _length(checkpoint: Checkpoint) -> Callable[[Sequence[str]], list[int]]:
    return lambda texts: [len(ids) for ids in checkpoint.tokenizer(list(texts))["input_ids"]]
