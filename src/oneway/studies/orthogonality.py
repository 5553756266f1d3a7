"""Embeddings of different tokens stay nearly orthogonal through training, as the theory assumes.

Cosines between the embeddings of all entities of the arrows world, compared with what independent Gaussian vectors of
that width give: E|cos| = Γ(d/2) / (√π Γ((d+1)/2)) ≈ √(2/(πd)). They are also taken after the mean embedding has been
subtracted, which removes a direction that all entities share, and apart for entities of one kind, of two kinds, and for
partners.

Source: Zhu et al. 2024, section 5 and appendix (arXiv 2405.04669). Deviations: those of the study `reversal`; the
comparison with random vectors, where the source shows histograms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.worlds import Arrows, arrows
from oneway.studies.sentence_training import Decoder, Row, Schedule, Told, answers, grouped, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

SOURCE = "Zhu et al. 2024, section 5 and appendix (arXiv 2405.04669)"
CELLS = ("shallow_narrow", "shallow_wide", "deep_narrow", "deep_wide")
BINS = np.linspace(-1, 1, 81)
SCHEMA = {"seed": pl.Int64, "epoch": pl.Int64, "cell": pl.String, "quantity": pl.String, "at": pl.Float64}
SCHEMA |= {"value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A model and how it is trained."""

    decoder: Decoder
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Two depths by two widths. `vocabulary` counts the tokens besides the two arrows."""

    vocabulary: int = 200
    shallow_narrow: Cell
    shallow_wide: Cell
    deep_narrow: Cell
    deep_wide: Cell
    seeds: tuple[int, ...] = tuple(range(10))
    device: str = "cpu"


def _cell(layers: int, width: int, heads: int, schedule: Schedule) -> Cell:
    return Cell(decoder=Decoder(layers=layers, width=width, heads=heads), schedule=schedule)


def quick() -> Config:
    """1 and 4 layers, widths 24 and 128: seconds."""
    narrow = Schedule(epochs=150, learning_rate=0.01, evaluations=10)
    wide = Schedule(epochs=60, learning_rate=0.003, evaluations=10, seeds_at_once=5)
    return Config(
        shallow_narrow=_cell(1, 24, 4, narrow),
        shallow_wide=_cell(1, 128, 4, wide),
        deep_narrow=_cell(4, 24, 4, replace(narrow, learning_rate=0.005)),
        deep_wide=_cell(4, 128, 4, replace(wide, epochs=80, learning_rate=0.0015)),
    )


def standard() -> Config:
    """The published vocabulary; 1 and 4 layers, widths 24 and 256."""
    narrow = Schedule(epochs=200, learning_rate=0.006)
    wide = Schedule(epochs=100, learning_rate=0.001, seeds_at_once=1)
    return Config(
        vocabulary=800,
        shallow_narrow=_cell(1, 24, 4, narrow),
        shallow_wide=_cell(1, 256, 8, wide),
        deep_narrow=_cell(4, 24, 4, narrow),
        deep_wide=_cell(4, 256, 8, wide),
    )


def paper() -> Config:
    """The published grid's corners: 1 and 24 layers, widths 20 and 768; a GPU."""
    narrow = Schedule(epochs=3000, learning_rate=0.01, evaluations=60)
    wide = Schedule(epochs=3000, learning_rate=0.01, evaluations=60, seeds_at_once=1)
    return Config(
        vocabulary=800,
        shallow_narrow=_cell(1, 20, 4, narrow),
        shallow_wide=_cell(1, 768, 12, wide),
        deep_narrow=_cell(24, 20, 4, narrow),
        deep_wide=_cell(24, 768, 12, wide),
    )


LIKE_RANDOM = 1.5  # mean |cos| of at most this many times what random vectors give


def _claim(cell: str, suffix: str, kind: str) -> Claim:
    ratio, start, known = f"{cell}_{kind}_peak", f"{cell}_{kind}_start", f"{cell}_train_probability"
    after = " once the mean embedding is subtracted" if kind == "centred" else ""
    return Claim(
        id=f"Z6.{cell.replace('_', '-')}{suffix}",
        text=f"In the {cell.replace('_', ' and ')} model the embeddings of different entities stay as close to "
        f"orthogonal through training as random vectors are{after}.",
        source=SOURCE,
        rule="The number is the mean |cos| between different entities over its expectation for random vectors of "
        "that width. Control: the answer's probability has its lower bound above 0.95 at the end, and the number at "
        f"the start lies between 0.9 and 1.1. Supports: upper bound of its largest value in training at or below "
        f"{LIKE_RANDOM:g}. Refutes: lower bound above {LIKE_RANDOM:g}.",
        control=lambda m: m[known].low > 0.95 and m[start].low > 0.9 and m[start].high < 1.1,
        supports=lambda m: m[ratio].high <= LIKE_RANDOM,
        refutes=lambda m: m[ratio].low > LIKE_RANDOM,
        reads=(known, start, ratio, f"{cell}_{kind}", f"{cell}_{kind}_mean", f"{cell}_{kind}_largest"),
    )


CLAIMS = tuple(
    _claim(cell, suffix, kind) for suffix, kind in (("", "raw"), ("-centred", "centred")) for cell in CELLS
)


def expected_mean(width: int) -> float:
    """E|cos| of two independent Gaussian vectors: Γ(d/2) / (√π Γ((d+1)/2))."""
    return math.exp(math.lgamma(width / 2) - math.lgamma((width + 1) / 2)) / math.sqrt(math.pi)


def cosines(vectors: Float[np.ndarray, "entity d_model"]) -> Float[np.ndarray, "entity entity"]:
    """Cosine of every vector with every other."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = unit @ unit.T
    return found


def summary(
    vectors: Float[np.ndarray, "entity d_model"], kinds: dict[str, Bool[np.ndarray, "entity entity"]]
) -> dict[str, float]:
    """Mean |cos| over all pairs of different vectors, the largest, and the ratio to random vectors; per kind too.

    `kinds` name symmetric sets of pairs; their numbers are ratios.
    """
    found, expected = np.abs(cosines(vectors)), expected_mean(vectors.shape[1])
    different = ~np.eye(len(vectors), dtype=bool)
    mean = float(found[different].mean())
    numbers = {"": mean / expected, "_mean": mean, "_largest": float(found[different].max())}
    return numbers | {f"_{kind}": float(found[pairs].mean()) / expected for kind, pairs in kinds.items()}


def kinds_of(
    world: Arrows,
) -> tuple[Int[np.ndarray, " entity"], dict[str, Bool[np.ndarray, "entity entity"]]]:
    """The tokens of all entities, x first, and which pairs of them are of one kind, of two kinds, or partners."""
    tokens = np.concatenate([world.x[:, 0], world.y[:, 0]])
    number, is_x = np.tile(np.arange(len(world.x)), 2), np.arange(len(tokens)) < len(world.x)
    same_kind = is_x[:, None] == is_x[None, :]
    same_pair = number[:, None] == number[None, :]
    return tokens, {
        "one_kind": same_kind & ~same_pair,
        "two_kinds": ~same_kind & ~same_pair,
        "partners": ~same_kind & same_pair,
    }


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed in every cell; a row per seed, epoch, cell and quantity, and the histograms at the end."""
    from oneway.report.progress import progress

    groups = [
        (cell, group)
        for cell in CELLS
        for group in grouped(seeds, getattr(config, cell).schedule.seeds_at_once)
    ]
    rows: list[Row] = []
    with progress(f"embeddings of {len(seeds)} seeds") as advance:
        for number, (cell, group) in enumerate(groups):

            def told(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(groups) * total)

            folder = None if workspace is None else workspace / f"{cell}-{group[0]}-{group[-1]}"
            rows += _trained(config, cell, group, folder, told)
    return pl.DataFrame(rows, schema=SCHEMA)


def _trained(config: Config, cell: str, seeds: Sequence[int], workspace: Path | None, told: Any) -> list[Row]:
    import torch

    asked: Cell = getattr(config, cell)
    worlds = [arrows(config.vocabulary, seed=seed) for seed in seeds]
    sentences = np.stack([w.train for w in worlds])
    train = torch.from_numpy(sentences).to(config.device)

    def evaluate(weights: "Weights", a: "Architecture", epoch: int) -> list[Row]:
        logprobs, _ = answers(weights, a, train, 1)
        rows: list[Row] = []
        for i, (seed, world) in enumerate(zip(seeds, worlds, strict=True)):

            def row(quantity: str, value: float, at: float | None = None, seed: int = seed) -> Row:
                return {
                    "seed": seed, "epoch": epoch, "cell": cell, "quantity": quantity, "at": at, "value": value
                }  # fmt: skip

            rows.append(row("train_probability", float(logprobs[i].exp().mean())))
            tokens, kinds = kinds_of(world)
            vectors = weights["W_E"][i].detach().double().cpu().numpy()[tokens]
            random = np.random.default_rng((seed, 11)).standard_normal(vectors.shape)
            forms = {"raw": vectors, "centred": vectors - vectors.mean(0), "random": random}
            for form, of in forms.items():
                rows += [row(form + name, value) for name, value in summary(of, kinds).items()]
                if epoch == asked.schedule.epochs:
                    apart = cosines(of)[np.triu_indices(len(of), 1)]
                    density, _ = np.histogram(apart, BINS, density=True)
                    middles = (BINS[1:] + BINS[:-1]) / 2
                    rows += [
                        row(f"{form}_density", float(d), float(m))
                        for d, m in zip(density, middles, strict=True)
                    ]
        return rows

    return trained(
        Told(sentences, 1, worlds[0].vocabulary_size),
        seeds,
        asked.decoder,
        asked.schedule,
        evaluate,
        workspace=workspace,
        device=config.device,
        progress=told,
    )


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity at the end of every cell over seeds; of the ratios also those at the start and at their peak."""
    numbers = curves.filter(pl.col("at").is_null())
    measured = {}
    for (cell, quantity), rows in numbers.group_by("cell", "quantity", maintain_order=True):
        by_seed = rows.sort("seed", "epoch").group_by("seed", maintain_order=True)
        table = by_seed.agg(
            start=pl.col("value").first(), end=pl.col("value").last(), peak=pl.col("value").max()
        )
        ratio = str(quantity) in ("raw", "centred")
        unit = "times random" if not str(quantity).endswith(("mean", "largest", "probability")) else ""
        measured[f"{cell}_{quantity}"] = over_seeds(table["end"].to_numpy(), unit)
        if ratio:
            measured[f"{cell}_{quantity}_start"] = over_seeds(table["start"].to_numpy(), unit)
            measured[f"{cell}_{quantity}_peak"] = over_seeds(table["peak"].to_numpy(), unit)
    return measured


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Per cell: above, how cosines are distributed at the end; below, mean |cos| over random through training."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    tones = {
        "random": ("0.45", "random vectors"),
        "raw": (DIRECTIONS["reverse"].light, "embeddings"),
        "centred": (DIRECTIONS["forward"].light, "embeddings less their mean"),
    }
    drawn = Figure(figsize=(13, 6), layout="constrained")
    above, below = drawn.subplots(2, len(CELLS), sharey="row")
    for top, bottom, cell in zip(above, below, CELLS, strict=True):
        of_cell = curves.filter(pl.col("cell") == cell)
        for form, (tone, label) in tones.items():
            density = (
                of_cell.filter(pl.col("quantity") == f"{form}_density")
                .group_by("at")
                .agg(pl.col("value").mean())
            )
            density = density.sort("at")
            top.plot(density["at"], density["value"], color=tone, label=label, linewidth=1.8)
            wide = (
                of_cell.filter(pl.col("quantity") == form)
                .pivot("seed", index="epoch", values="value")
                .sort("epoch")
            )
            epochs, values = wide["epoch"].to_numpy(), wide.drop("epoch").to_numpy()
            bottom.plot(epochs, values, color=tone, alpha=0.25, linewidth=0.8)
            bottom.plot(epochs, values.mean(1), color=tone, linewidth=2.2)
        bottom.axhline(LIKE_RANDOM, color="0.35", linestyle="--", linewidth=1)
        top.set_title(cell.replace("_", " and "), loc="left")
        top.set(xlabel="cosine at the end", xlim=(-1, 1))
        bottom.set(xlabel="epoch", ylim=(0, None))
        for axes in (top, bottom):
            axes.spines[["top", "right"]].set_visible(False)
    above[0].set_ylabel("density")
    below[0].set_ylabel("mean |cos| ÷ that of random vectors")
    above[0].legend(frameon=False, fontsize=8)
    return drawn


STUDY = Study(
    name="orthogonality",
    title="Do embeddings of different tokens stay orthogonal?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
