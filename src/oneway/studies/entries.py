"""One entry or two: where a remedy makes recall reversible, are both directions read from the same parameters?

Two kinds of compiled models show what the answer looks like: with both ways compiled, a fact and its reverse are two
neurons; with a shared entry they are one code that is read from either side. They have different words, 8 to 24 facts,
every second one noise, and both ways are GPT-2 and NeoX. Then every remedy of the bench is asked the same on single
words: how far the gradients of a fact's two leads agree, how far the reverse follows when the forward fact is edited,
and whether the same heads and neurons matter. A positive control among the remedies is the search (R11), which answers
the reverse from the forward entry itself.

Source: the question of arXiv 2604.04943; ours in the measures (see `oneway.anatomy.entries`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_facts, over_seeds
from oneway.evidence.study import Study
from oneway.studies.pieces import Row, kept, rows_of
from oneway.training.remedies.remedy import REMEDIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.anatomy.entries import Entries

# Half of what a shared entry has in compiled models of the seeds 100 and 101 (.835 and .725; two entries: 0 and 0).
ALIGNED, FOLLOWS = 0.42, 0.36
SHARED = (
    0.1  # of alignment and edit: what shows that something is shared (two trained directions: 0.00 and −.01)
)
ONE, TWO = "shared-entry", "both-ways"
SOURCE = "ours, after arXiv 2604.04943"
ASKED = tuple(REMEDIES)
QUANTITIES = {"alignment": "cosine", "edit": "share", "overlap": "correlation", "reverse": "probability"}
SCHEMA = {"seed": pl.Int64, "kind": pl.String, "name": pl.String, "quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`compiled` models of each kind, of whose facts `few` are looked at.

    Remedies are trained as in the study `remedies`, on `size` facts for `steps` steps, and `told` of the facts that
    are told forward only are looked at.
    """

    compiled: int = 20
    few: int = 6
    size: int = 50
    told: int = 15
    steps: int = 500
    remedies: tuple[str, ...] = ASKED
    seeds: tuple[int, ...] = tuple(range(20, 30))


def quick() -> Config:
    """Forty compiled models, ten seeds of every remedy."""
    return Config()


def standard() -> Config:
    """Twenty other seeds, longer training."""
    return Config(steps=1000, seeds=tuple(range(30, 50)))


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
    from oneway.studies.entry_tables import compiled_entries

    rows = []
    for seed in piece.seeds:
        found = compiled_entries(piece.name, piece.config.few, seed)
        rows += _told(piece, (seed,), found)
    return rows


def _of_remedy(piece: Piece) -> list[Row]:
    """A remedy on single words; its measures over the facts whose reverse is never told, and how many are recalled."""
    from oneway.studies.entry_tables import remedy_entries
    from oneway.studies.remedy_bench import Bench, Training, examined, grow
    from oneway.studies.remedy_worlds import world

    config, remedy = piece.config, REMEDIES[piece.name]
    worlds = [world("arrows", config.size, seed) for seed in piece.seeds]
    grown = grow(Bench(training=Training(steps=config.steps)), remedy, worlds, piece.seeds)
    rows = _told(piece, piece.seeds, remedy_entries(grown, remedy, config.told))
    recalled = examined(grown, remedy.answering)["reverse"]
    head = {"kind": piece.kind, "name": piece.name, "quantity": "reverse"}
    return rows + [{"seed": s, **head, "value": float(v)} for s, v in zip(piece.seeds, recalled, strict=True)]


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
