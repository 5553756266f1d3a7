"""Which corners of the table must be taught before the fourth, the reverse, completes itself?

A table of logits has four corners over the entities A and B: what follows an a that is to be repeated (aa), a b that is
to be repeated (bb), the facts (ba), and their reverse, which is never trained. Each corner is a kind of sentence:
`a → b`, `a = a`, `b = b`. Two more give the reverse relation an a to say: the bridge `a → ← a`, and the
relations' own tokens, `a ← a` with `b → b`. Asked is `b ←`. Three parametrisations learn the same sentences: a
free matrix W over bags of tokens, its factorised form W = U Vᵀ, and a transformer of one layer.

Source: our own, on Zhu et al.'s open questions (2024, arXiv 2405.04669): weight symmetry, regularisation,
other architectures. Deviation from our first runs of it: repeating has a relation token of its own (`=`), all tokens
may be answered, and the grid over start and weight decay ends after fewer steps than the table.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from oneway.evidence import Estimate, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.corners import Corners
from oneway.studies.pieces import Row, kept, rows_of
from oneway.studies.three_corner_claims import CLAIMS, cell
from oneway.studies.three_corner_picture import figure

if TYPE_CHECKING:
    from torch import Tensor

# What is taught, by name; the names stand in figures.
DATA: Mapping[str, tuple[str, ...]] = {
    "forward": ("forward",),
    "forward + id(A)": ("forward", "identity of a"),
    "forward + id(B)": ("forward", "identity of b"),
    "forward + id(A) + id(B)": ("forward", "identity of a", "identity of b"),
    "forward + bridge": ("forward", "bridge"),
    "forward + bridge + id(B)": ("forward", "bridge", "identity of b"),
    "forward + a ← a + b → b": ("forward", "a under ←", "b under →"),
    "id(A) + id(B)": ("identity of a", "identity of b"),
}
UNITS = {
    "among": "probability",
    "whole": "probability",
    "forward": "probability",
    "nuclear": "logit",
}  # of what is estimated
MODELS = ("factorised", "direct", "transformer")
Model = Literal["factorised", "direct", "transformer"]
SCHEMA = {"seed": pl.Int64, "step": pl.Int64, "model": pl.String, "scale": pl.Float64, "decay": pl.Float64}
SCHEMA |= {"data": pl.String, "quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """Plain gradient descent of the matrices; `grid_steps` away from the default start and decay."""

    step: float = 0.5
    steps: int = 20_000
    grid_steps: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """AdamW of the transformers on all sentences in every step: width, rate, and the steps of every model."""

    width: int = 32
    steps: int = 400
    learning_rate: float = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The first scale and decay are the default ones, at which the table is read.

    Scales are standard deviations of the initial entries (matrices) or of the initial weights (transformers); decays
    are λ of plain gradient descent or AdamW's.
    """

    pairs: int = 8
    scales: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)
    decays: tuple[float, ...] = (0.0, 0.001, 0.01)
    transformer_scales: tuple[float, ...] = (0.02, 0.1, 0.2)
    transformer_decays: tuple[float, ...] = (0.0, 1.0)
    descent: Descent = field(default_factory=Descent)
    adam: Adam = field(default_factory=Adam)
    seeds: tuple[int, ...] = tuple(range(10))


def quick() -> Config:
    """The table over ten seeds in a minute, the grids in some more."""
    return Config()


def standard() -> Config:
    """Twenty pairs, twenty seeds, transformers of twice the width."""
    return Config(pairs=20, adam=Adam(width=64, steps=800), seeds=tuple(range(10, 30)))


def check(config: Config) -> None:
    """Raises ValueError where the default start is not the smallest: it is found by that."""
    for name in ("scales", "decays", "transformer_scales", "transformer_decays"):
        values = getattr(config, name)
        if not values or list(values) != sorted(set(values)):
            raise ValueError(f"{name} must rise, the default first, not {values}")


@dataclass(frozen=True, slots=True)
class Piece:
    """The models of one parametrisation that run together: all data and seeds at some starts and decays."""

    config: Config
    model: Model
    starts: tuple[tuple[float, float], ...]  # scale and decay
    steps: int
    seeds: tuple[int, ...]
    folder: Path | None

    @property
    def name(self) -> str:
        (scale, decay), more = self.starts[0], len(self.starts) > 1
        return f"{self.model}-grid" if more else f"{self.model}-{scale:g}-{decay:g}"


def pieces_of(config: Config, seeds: Sequence[int], folder: Path | None) -> list[Piece]:
    """The table's matrices first, then their grids, then the transformers of every start and decay."""
    starts = [(scale, decay) for scale in config.scales for decay in config.decays]
    rest = (config, tuple(seeds), folder)

    def piece(model: Model, of: Sequence[tuple[float, float]], steps: int) -> Piece:
        return Piece(rest[0], model, tuple(of), steps, *rest[1:])

    matrices: tuple[Model, ...] = ("factorised", "direct")
    table = [piece(model, starts[:1], config.descent.steps) for model in matrices]
    grids = [piece(model, starts[1:], config.descent.grid_steps) for model in matrices if starts[1:]]
    transformers = [
        piece("transformer", [(scale, decay)], config.adam.steps)
        for scale in config.transformer_scales
        for decay in config.transformer_decays
    ]
    return [*table, *grids, *transformers]


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Every piece, side by side; a row per seed, step, model, start, data and quantity."""
    pieces = pieces_of(config, seeds, workspace)
    rows = rows_of(work, pieces, f"three corners, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort(
        "model", "scale", "decay", "data", "quantity", "step", "seed"
    )


def work(piece: Piece) -> list[Row]:
    """The rows of one piece, read from its folder where it is finished."""
    return kept(piece.folder, piece.name, partial(_rows, piece))


def _rows(piece: Piece) -> list[Row]:
    return list(_of_transformers(piece) if piece.model == "transformer" else _of_matrices(piece))


def read_steps(steps: int, count: int = 10) -> list[int]:
    """Steps at which a run is read: evenly in the logarithm, from 10 to the end."""
    return sorted(set(np.geomspace(min(10, steps), steps, count).round().astype(int).tolist()))


def _of_matrices(piece: Piece) -> Iterator[Row]:
    import torch

    from oneway.studies.corner_descent import Lessons, Start, descend

    world = Corners(piece.config.pairs)
    kinds = list(dict.fromkeys(kind for taught in DATA.values() for kind in taught))
    sentences = {kind: world.sentences(kind) for kind in (*kinds, "reverse")}
    bags = {kind: _bags(of[:, :-1], world.vocabulary_size) for kind, of in sentences.items()}
    of_data = torch.stack(
        [
            torch.cat([torch.full((world.pairs,), float(k in taught)) for k in kinds])
            for taught in DATA.values()
        ]
    )
    of_data /= of_data.sum(1, keepdim=True)
    heads = [
        (data, *start, seed) for data in range(len(DATA)) for start in piece.starts for seed in piece.seeds
    ]
    lessons = Lessons(
        torch.cat([bags[kind] for kind in kinds]),
        torch.from_numpy(np.concatenate([sentences[kind][:, -1] for kind in kinds])),
        of_data[[data for data, *_ in heads]],
    )
    models: Any = piece.model
    starts = [Start(seed, scale, decay) for _, scale, decay, seed in heads]
    steps = read_steps(piece.steps)
    for step, matrix in descend(models, starts, lessons, step=piece.config.descent.step, read_at=steps):
        found = _read(world, bags["forward"] @ matrix, bags["reverse"] @ matrix, matrix)
        yield from _told(piece, step, heads, found, last=step == steps[-1])


def _of_transformers(piece: Piece) -> Iterator[Row]:
    from oneway.studies.corner_transformers import Decoder, answers, trained

    world, ((scale, decay),) = Corners(piece.config.pairs), piece.starts
    kinds = list(dict.fromkeys(kind for taught in DATA.values() for kind in taught))
    taught = [[kinds.index(kind) for kind in of] for of in DATA.values()]
    heads = [(data, scale, decay, seed) for data in range(len(DATA)) for seed in piece.seeds]
    prompts = {kind: world.sentences(kind)[:, :-1] for kind in ("forward", "reverse")}
    entity, relation = np.divmod(np.arange(2 * world.pairs * 3), 3)
    every = np.stack([entity, 2 * world.pairs + relation], axis=1)
    steps = read_steps(piece.steps)
    for step, weights, shape in trained(
        Decoder(**asdict(piece.config.adam)),
        world.vocabulary_size,
        piece.seeds,
        [world.sentences(kind) for kind in kinds],
        taught,
        scale=scale,
        decay=decay,
        read_at=steps,
    ):
        of = {kind: answers(weights, shape, prompt) for kind, prompt in prompts.items()}
        matrix = answers(weights, shape, every)  # a softmax takes no notice of a row's mean
        found = _read(world, of["forward"], of["reverse"], matrix - matrix.mean(-1, keepdim=True))
        yield from _told(piece, step, heads, found, last=step == steps[-1])


def _bags(prompts: np.ndarray, vocabulary: int) -> "Tensor":
    """Prompts [prompt pos] as counts of their tokens [prompt vocab]."""
    import torch

    return torch.nn.functional.one_hot(torch.from_numpy(prompts), vocabulary).sum(1).float()


def _read(world: Corners, forward: "Tensor", reverse: "Tensor", matrix: "Tensor") -> dict[str, np.ndarray]:
    """Of logits [model pair vocab]: right answers among the a's and of all tokens, and the size of the table.

    `singular`: the table's singular values, `block`: the logits of all a's after `b ←`, less their mean.
    """
    import torch

    a = torch.arange(world.pairs)
    among = reverse[..., : world.pairs]
    singular = torch.linalg.svdvals(matrix)
    return {
        "among": (among.argmax(-1) == a).float().mean(-1).numpy(),
        "whole": (reverse.argmax(-1) == a).float().mean(-1).numpy(),
        "forward": (forward.argmax(-1) == a + world.pairs).float().mean(-1).numpy(),
        "nuclear": singular.sum(-1).numpy(),
        "singular": singular.numpy(),
        "block": (among - among.mean(-1, keepdim=True)).flatten(1).numpy(),
    }


def _told(
    piece: Piece, step: int, heads: Sequence[Sequence[Any]], found: Mapping[str, np.ndarray], *, last: bool
) -> Iterator[Row]:
    """Rows of all models at a step; of a grid only how it ends, and blocks only at the end."""
    names = list(DATA)
    if len(piece.starts) > 1 and not last:
        return
    for place, (data, scale, decay, seed) in enumerate(heads):
        head = {"seed": seed, "step": step, "model": piece.model, "scale": scale, "decay": decay}
        head |= {"data": names[data]}
        for quantity, values in found.items():
            if values.ndim == 1:
                yield {**head, "quantity": quantity, "value": float(values[place])}
            elif len(piece.starts) == 1 and (quantity == "singular" or last):
                for number, value in enumerate(values[place].tolist()):
                    yield {**head, "quantity": f"{quantity} {number}", "value": value}


def at_end(curves: pl.DataFrame) -> pl.DataFrame:
    """The last step of every model."""
    return curves.filter(pl.col("step") == pl.col("step").max().over("model", "scale", "decay"))


def at_default(curves: pl.DataFrame) -> pl.DataFrame:
    """The rows of every model's default start: its smallest scale and decay."""
    smallest = [pl.col(name) == pl.col(name).min().over("model") for name in ("scale", "decay")]
    return curves.filter(smallest)


def measure(curves: pl.DataFrame) -> Measured:
    """Every cell of the table over seeds, every start and decay of the grids, and the direct grid in one number."""
    ends = at_end(curves)
    pairs = math.sqrt(ends.filter(pl.col("quantity").str.starts_with("block"))["quantity"].n_unique())
    measured = {"chance": Estimate(1 / pairs, 1 / pairs, 1 / pairs, 1, "probability")}
    for quantity, unit in UNITS.items():
        own = ends.filter(pl.col("quantity") == quantity)
        for (model, data), rows in at_default(own).group_by("model", "data", maintain_order=True):
            measured[cell(quantity, str(model), str(data))] = _over_seeds(rows, unit)
        keys = ("model", "data", "scale", "decay")
        for (model, data, scale, decay), rows in own.group_by(*keys, maintain_order=True):
            start = f"scale {scale:g}, decay {decay:g}"
            measured[cell(quantity, str(model), str(data), start)] = _over_seeds(rows, unit)
    direct = ends.filter((pl.col("model") == "direct") & (pl.col("quantity") == "among"))
    measured[cell("among", "direct", "everywhere")] = _over_seeds(
        direct.group_by("seed").agg(pl.mean("value")), "probability"
    )
    return measured


def _over_seeds(rows: pl.DataFrame, unit: str) -> Estimate:
    return over_seeds(rows.sort("seed")["value"].to_numpy(), unit)


def tables(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The table as a table: a row per data and model, with intervals over seeds."""
    rows = [
        {"data": data, "model": model, "quantity": quantity, **asdict(measured[cell(quantity, model, data)])}
        for data in DATA
        for model in MODELS
        for quantity in ("among", "whole", "forward")
    ]
    return {"corners": pl.DataFrame(rows)}


STUDY = Study(
    name="three-corner",
    title="Which corners of the table must be taught before the reverse completes itself?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    tables=tables,
    recipes={"quick": quick, "standard": standard},
    check=check,
)
