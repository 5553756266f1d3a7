"""One entry or two: where a remedy makes recall reversible, are both directions read from the same parameters?

Two kinds of compiled models show what the answer looks like: with both ways compiled, a fact and its reverse are two
neurons; with a shared entry they are one code that is read from either side. Then every remedy of the bench that
works on single words is asked the same: how far the gradients of a fact's two leads agree, how far the reverse follows
when the forward fact is edited, and whether the same heads and neurons matter.

Source: the question of arXiv 2604.04943; ours in the measures (see `oneway.anatomy.entries`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_facts, over_seeds
from oneway.evidence.study import Study
from oneway.studies.pieces import Row, kept, rows_of
from oneway.training.remedies.remedy import REMEDIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from oneway.anatomy.entries import Entries, Table
    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

# Half of what a shared entry has in compiled models of the seeds 100 and 101 (.835 and .725; two entries: 0 and 0).
ALIGNED, FOLLOWS = 0.42, 0.36
SHARED = (
    0.1  # of alignment and edit: what shows that something is shared (two trained directions: 0.00 and −.01)
)
ONE, TWO = "shared-entry", "both-ways"
SOURCE = "ours, after arXiv 2604.04943"
# Reverse answers of the search are forward facts: one entry, by how it answers. Restorers from both sides and concepts
# are read as they answer.
ASKED = tuple(
    name for name, remedy in REMEDIES.items() if remedy.answering == "next word" and remedy.symmetry == "none"
)
QUANTITIES = {"alignment": "cosine", "edit": "share", "overlap": "correlation", "reverse": "probability"}
SCHEMA = {"seed": pl.Int64, "kind": pl.String, "name": pl.String, "quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`compiled` models of each kind with `facts` facts, of which `few` are looked at.

    Remedies have `few` looked at too; they are trained as in the study `remedies`, on `size` facts for `steps` steps.
    """

    compiled: int = 20
    facts: int = 12
    few: int = 6
    size: int = 50
    steps: int = 500
    remedies: tuple[str, ...] = ASKED
    seeds: tuple[int, ...] = tuple(range(20, 25))


def quick() -> Config:
    """Forty compiled models, five seeds of every remedy that foretells the next word."""
    return Config()


def standard() -> Config:
    """Ten seeds, longer training."""
    return Config(steps=1000, seeds=tuple(range(30, 40)))


@dataclass(frozen=True, slots=True)
class Piece:
    """Compiled models of one kind, or one remedy."""

    config: Config
    kind: str  # "compiled" or "remedy"
    name: str
    seeds: tuple[int, ...]
    folder: Path | None


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Every piece, side by side; a row per seed, kind, name and quantity."""
    rest = (tuple(seeds), workspace)
    pieces = [
        Piece(config, "compiled", name, tuple(range(config.compiled)), workspace) for name in (ONE, TWO)
    ]
    pieces += [Piece(config, "remedy", name, *rest) for name in config.remedies]
    rows = rows_of(work, pieces, f"one entry or two, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort("kind", "name", "quantity", "seed")


def work(piece: Piece) -> list[Row]:
    """The rows of one piece, read from its folder where it is finished."""
    made = _of_compiled if piece.kind == "compiled" else _of_remedy
    return kept(piece.folder, f"{piece.kind}-{piece.name}", partial(made, piece))


def _of_compiled(piece: Piece) -> list[Row]:
    rows = []
    for seed in piece.seeds:
        found = compiled_entries(piece.name, piece.config.facts, piece.config.few, seed)
        rows += _told(piece, (seed,), found)
    return rows


def compiled_entries(directions: Any, facts: int, few: int, seed: int) -> "Entries":
    """The measures of one compiled model: facts of single invented words, in one relation."""
    import torch
    from transformers import AutoTokenizer

    from oneway.anatomy.entries import entries
    from oneway.compiler import Capacity, compile_table
    from oneway.facts import Direction, Fact, FactTable, Relation, invented_words, questions
    from oneway.models.checkpoint import without_progress_bars
    from oneway.models.export import from_hugging_face

    words = invented_words(2 * facts, np.random.default_rng(seed))
    leads = Relation(
        "leads", ("{subject} leads to {object}",), ("{object} comes from {subject}",), one_to_one=True
    )
    told = [Fact(one, "leads", other) for one, other in zip(words[:facts], words[facts:], strict=True)]
    table = FactTable(tuple(told), {"leads": leads})
    with TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        compile_table(table, place, directions=directions, capacity=Capacity(seed=seed, positions=16))
        with without_progress_bars():
            weights, shape = from_hugging_face(place)
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    asked = {
        way: list(questions(table.with_facts(told[:few]), (way,)))
        for way in (Direction.FORWARD, Direction.REVERSE)
    }
    tokens = {
        way: torch.tensor(tokenizer([q.prompt for q in own])["input_ids"])[None] for way, own in asked.items()
    }
    answers = {
        way: torch.tensor(tokenizer([q.answer for q in own], add_special_tokens=False)["input_ids"])[:, 0]
        for way, own in asked.items()
    }
    forward, reverse = (_table(shape, tokens[way], answers[way].expand(1, -1)) for way in asked)
    return entries(weights, shape, forward, reverse)


def _of_remedy(piece: Piece) -> list[Row]:
    """A remedy on single words; its measures over the facts whose reverse is never told, and how many are recalled."""
    import torch

    from oneway.anatomy.entries import entries
    from oneway.facts import Direction, Trained
    from oneway.studies.remedy_bench import Bench, Training, examined, grow
    from oneway.studies.remedy_exam import asked
    from oneway.studies.remedy_worlds import world

    config, remedy = piece.config, REMEDIES[piece.name]
    worlds = [world("arrows", config.size, seed) for seed in piece.seeds]
    grown = grow(Bench(training=Training(steps=config.steps)), remedy, worlds, piece.seeds)
    tables = []
    for direction in (Direction.FORWARD, Direction.REVERSE):
        one = asked(worlds, grown.words, Trained.FORWARD_ONLY, direction)
        prompts = torch.from_numpy(one.prompts[:, : config.few])
        tables.append(_table(grown.shape, prompts, torch.from_numpy(one.answers[:, : config.few, 0])))
    found = entries(grown.weights, grown.shape, *tables)
    recalled = examined(grown, remedy.answering)["reverse"]
    rows = _told(piece, piece.seeds, found)
    head = {"kind": piece.kind, "name": piece.name, "quantity": "reverse"}
    return rows + [{"seed": s, **head, "value": float(v)} for s, v in zip(piece.seeds, recalled, strict=True)]


def _table(shape: "Architecture", prompts: "Tensor", answers: "Tensor") -> "Table":
    """Logits of all answers [seed answer] after every prompt [seed fact pos]."""
    from oneway.models.transformer import residual_at_end, unembed

    def table(weights: "Weights") -> "Tensor":
        resid = residual_at_end(weights, prompts, shape, 1)[:, :, 0]
        scores = unembed(weights, resid, shape)
        return scores.gather(-1, answers[:, None].expand(-1, scores.shape[1], -1))

    return table


def _told(piece: Piece, seeds: Sequence[int], found: "Entries") -> list[Row]:
    return [
        {"seed": seed, "kind": piece.kind, "name": piece.name, "quantity": quantity, "value": float(value)}
        for quantity in ("alignment", "edit", "overlap")
        for seed, value in zip(seeds, getattr(found, quantity).tolist(), strict=True)
    ]


def judged(alignment: float, edit: float) -> str:
    """One entry where both are at least half of what a shared entry has, two where neither is, else "in between"."""
    above = (alignment >= ALIGNED) + (edit >= FOLLOWS)
    return {0: TWO, 1: "in between", 2: ONE}[above]


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity over seeds, and the share of compiled models of each kind that are told right."""
    measured: dict[str, Estimate] = {}
    for (kind, name, quantity), rows in curves.group_by("kind", "name", "quantity", maintain_order=True):
        values = rows.sort("seed")["value"].to_numpy()
        measured[f"{quantity}[{name}]"] = over_seeds(values, QUANTITIES[str(quantity)])
        if kind == "compiled" and quantity == "alignment":
            own = curves.filter((pl.col("name") == name) & (pl.col("quantity") == "edit")).sort("seed")[
                "value"
            ]
            right = [judged(*both) == name for both in zip(values.tolist(), own.to_list(), strict=True)]
            measured[f"right[{name}]"] = over_facts(np.array(right, dtype=float), "probability")
    return measured


def _remedy_claim(name: str) -> Claim:
    alignment, edit, reverse = (f"{quantity}[{name}]" for quantity in ("alignment", "edit", "reverse"))
    return Claim(
        id=f"{REMEDIES[name].id}.{name.replace(' ', '-')}.shared",
        text=f"{name.capitalize()}: a fact and its reverse are read, at least in part, from shared parameters.",
        source=SOURCE,
        rule="Control: lower bound at or above 0.5 of the reverse recall of what was told forward only: else there is "
        f"nothing to ask about. Supports: lower bounds above {SHARED:g} of the alignment of gradients and of how far "
        f"the reverse follows an edit. Refutes: both upper bounds below {SHARED:g}: two entries.",
        control=lambda m: m[reverse].low >= 0.5,
        supports=lambda m: m[alignment].low > SHARED and m[edit].low > SHARED,
        refutes=lambda m: m[alignment].high < SHARED and m[edit].high < SHARED,
        reads=(alignment, edit, f"overlap[{name}]", reverse),
    )


CLAIMS = (
    Claim(
        id="N3.entries",
        text="One entry or two is told right of compiled models of both kinds.",
        source=SOURCE,
        rule="A model has one entry where alignment and edit are at least half of what a shared entry has, two where "
        "neither is. Control: at least 20 models of each kind. Supports: all are told right. Refutes: the upper bound "
        "of the share of a kind is below 0.95.",
        control=lambda m: min(m[f"right[{name}]"].n for name in (ONE, TWO)) >= 20,
        supports=lambda m: all(m[f"right[{name}]"].mean == 1.0 for name in (ONE, TWO)),
        refutes=lambda m: any(m[f"right[{name}]"].high < 0.95 for name in (ONE, TWO)),
        reads=tuple(
            f"{quantity}[{name}]"
            for name in (ONE, TWO)
            for quantity in ("right", "alignment", "edit", "overlap")
        ),
    ),
    *(_remedy_claim(name) for name in ASKED if name != "none"),
)


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Alignment against edit: compiled models as crosses, remedies as points with intervals."""
    from matplotlib.figure import Figure

    from oneway.report.palette import CLASSES, CYCLE

    drawn = Figure(figsize=(8.6, 5), layout="constrained")
    axes = drawn.add_subplot()
    tones = {ONE: CLASSES["both_ways"].light, TWO: CLASSES["neither"].light}
    for name, tone in tones.items():
        wide = curves.filter(pl.col("name") == name).pivot("quantity", index="seed", values="value")
        label = f"compiled, {name} ({wide.height})"
        axes.plot(wide["alignment"], wide["edit"], "x", color=tone, markersize=7, label=label)
    remedies = curves.filter(pl.col("kind") == "remedy")["name"].unique(maintain_order=True).to_list()
    for place, name in enumerate(remedies):
        x, y = measured[f"alignment[{name}]"], measured[f"edit[{name}]"]
        works = measured[f"reverse[{name}]"].mean >= 0.5
        tone = CYCLE[place % len(CYCLE)].light
        marker = "osD^vP"[place // len(CYCLE) % 6]
        across, up = (one.high - one.mean if one.defined else 0.0 for one in (x, y))
        axes.errorbar(
            x.mean, y.mean, up, across, fmt=marker, color=tone, markersize=6, capsize=2, linewidth=0.9,
            fillstyle="full" if works else "none", label=f"{REMEDIES[name].id} {name}",
        )  # fmt: skip
    for level, along in (
        (ALIGNED, axes.axvline),
        (SHARED, axes.axvline),
        (FOLLOWS, axes.axhline),
        (SHARED, axes.axhline),
    ):
        along(level, color="0.6", linestyle=":", linewidth=1)
    axes.set(
        xlabel="alignment of the two directions' gradients", ylabel="how far the reverse follows an edit"
    )
    axes.set_title(
        "One entry (top right) or two (bottom left); filled: reverse recall works",
        loc="left",
        fontsize="medium",
    )
    axes.spines[["top", "right"]].set_visible(False)
    drawn.legend(frameon=False, fontsize="small", loc="outside right upper")
    return drawn


STUDY = Study(
    name="entries",
    title="Where recall is reversible, are a fact and its reverse one entry or two?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard},
)
