"""What can be learnt by heart: pairs of integers with random answers, and random facts in a small transformer.

An MLP sees every pair of integers of its own random list and nothing can be generalised. Lists are offered in bits of
answers per trained parameter; the capacity is where the share of pairs known crosses 99%, interpolated for every seed
between two sizes of the list. Every unit is a table over the 40,000 inputs: what the tables are is measured on one
width, beside the same network trained on answers that a single unit could give (the control).

Small transformers are told more facts than they can hold; what they keep is measured in bits from their loss,
against how often they were told, and as residual width and neurons grow.

Sources: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 4, whose toy networks are these;
its introduction (facts grow faster than neurons); Allen-Zhu & Li 2024 (arXiv 2404.05405) for two bits per parameter.
Deviation: a capacity is what this optimiser reaches in a fixed number of steps, a lower bound of what the network
can hold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oneway.evidence import Estimate, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.studies.fact_capacity import Shape, Telling
from oneway.studies.memorisation_claims import CLAIMS
from oneway.studies.memoriser import LEARNT, Network, Practice, bits_known, threshold
from oneway.studies.pieces import Row, kept, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA = {"seed": pl.Int64, "part": pl.String, "arm": pl.String, "size": pl.Float64, "quantity": pl.String}
SCHEMA |= {"value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A network and the sizes of the lists that it is offered, in bits of answers per parameter."""

    network: Network
    offered: tuple[float, ...]


WIDTHS = (8, 16, 32, 64, 128)
FINE = (1.7, 1.9, 2.1, 2.2, 2.3, 2.5, 2.7)
LOW = (1.1, 1.3, 1.5)  # before them for the narrowest, which some seeds train badly
COARSE = (1.0, 1.4, 1.8, 2.2, 2.6, 3.0)


def _arms() -> dict[str, Arm]:
    offered = {width: FINE if width > 8 else (*LOW, *FINE) for width in WIDTHS}
    arms = {f"width {width}": Arm(network=Network(width=width), offered=offered[width]) for width in WIDTHS}
    return arms | {
        "two layers": Arm(network=Network(width=32, layers=2), offered=(1.8, 2.2, 2.6, 3.0, 3.4)),
        "trained": Arm(network=Network(width=32, inputs="trained", embedding=16), offered=COARSE),
        "one-hot": Arm(network=Network(width=16, inputs="one_hot"), offered=COARSE),
        "16 answers": Arm(network=Network(width=32, answers=16), offered=COARSE),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`dissected`: the network whose units are read, at `dissected_at` bits per parameter. `sizes`: transformers by
    the series that they belong to, told `growth.exposures` times; `told`: exposures of the transformer `teller`.
    """

    arms: Mapping[str, Arm] = field(default_factory=_arms)
    practice: Practice = field(default_factory=Practice)
    dissected: Network = field(default_factory=lambda: Network(width=64))
    dissected_at: float = 1.9
    teller: Shape = field(default_factory=lambda: Shape(width=8, neurons=32))
    told: tuple[int, ...] = (100, 1000)
    growth: Telling = field(default_factory=lambda: Telling(exposures=100))
    sizes: Mapping[str, tuple[Shape, ...]] = field(default_factory=lambda: _sizes((8, 12, 16, 20)))
    seeds: tuple[int, ...] = tuple(range(30, 35))


def _sizes(widths: Sequence[int]) -> dict[str, tuple[Shape, ...]]:
    middle = widths[1]
    return {
        "both": tuple(Shape(width=w, neurons=4 * w) for w in widths),
        "neurons": tuple(Shape(width=middle, neurons=middle * share) for share in (1, 2, 4, 8)),
        "width": tuple(Shape(width=w, neurons=4 * middle) for w in widths),
    }


def quick() -> Config:
    """Five seeds; transformers of a few thousand parameters."""
    return Config()


def standard() -> Config:
    """Ten seeds, transformers told 10 to 1,000 times, and twice as often where they grow."""
    return Config(
        told=(10, 30, 100, 300, 1000),
        growth=Telling(exposures=200),
        seeds=tuple(range(40, 50)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of the work: part and arm as in the rows, its size, and where it is kept."""

    part: str
    arm: str
    size: float
    config: Config
    seeds: tuple[int, ...]
    folder: Path | None


def pieces_of(config: Config, seeds: Sequence[int], workspace: Path | None) -> list[Piece]:
    """The pieces, the dearest first so that the last ones to finish are short."""
    asked = [("units", answers, config.dissected_at) for answers in ("random", "ruled")]
    asked += [("capacity", name, bits) for name, arm in config.arms.items() for bits in arm.offered]
    asked += [("told", "exposures", float(exposures)) for exposures in config.told]
    asked += [("growth", f"{s.width}-{s.neurons}", 0.0) for s in sorted(set(_shapes(config)), key=str)]
    made = [
        Piece(part=p, arm=a, size=s, config=config, seeds=tuple(seeds), folder=workspace) for p, a, s in asked
    ]
    return sorted(made, key=_cost, reverse=True)


def _shapes(config: Config) -> list[Shape]:
    return [shape for shapes in config.sizes.values() for shape in shapes]


def _cost(piece: Piece) -> float:
    """Multiplications of a step, times steps, in any unit."""
    if piece.part in ("capacity", "units"):
        of = piece.config.dissected if piece.part == "units" else piece.config.arms[piece.arm].network
        return float(of.parameters * piece.config.practice.batch * piece.config.practice.steps)
    shape = piece.config.teller if piece.part == "told" else _shape(piece.arm)
    exposures = piece.size if piece.part == "told" else piece.config.growth.exposures
    return (
        exposures * 1000.0 * (200 * shape.width + shape.width * (4 * shape.width + 2 * shape.neurons)) ** 1.5
    )


def _shape(name: str) -> Shape:
    width, neurons = name.split("-")
    return Shape(width=int(width), neurons=int(neurons))


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Every piece, side by side; a row per seed, arm, size and quantity."""
    rows = rows_of(work, pieces_of(config, seeds, workspace), f"learning by heart, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort("part", "arm", "size", "quantity", "seed")


def work(piece: Piece) -> list[Row]:
    """One piece: what every seed gave."""
    head = {"part": piece.part, "arm": piece.arm, "size": piece.size}
    return kept(
        piece.folder,
        f"{piece.part}-{piece.arm}-{piece.size:g}",
        lambda: [
            {"seed": seed, **head, "quantity": quantity, "value": float(value)}
            for seed, quantities in zip(piece.seeds, _PARTS[piece.part](piece), strict=True)
            for quantity, value in quantities.items()
        ],
    )


def _capacity(piece: Piece) -> list[dict[str, float]]:
    from oneway.studies.memoriser import Pairs, draw_pairs, memorise, random_answers

    network = piece.config.arms[piece.arm].network
    count = round(piece.size * network.parameters / (network.facts * math.log2(network.answers)))
    pairs = Pairs(draw_pairs(network, count, piece.seeds), random_answers(network, count, piece.seeds))
    found = memorise(network, pairs, piece.seeds, piece.config.practice)
    return [
        {
            "accuracy": float(a),
            "steps": found.steps,
            "answers": network.answers,
            "parameters": network.parameters,
        }
        for a in found.accuracy
    ]


def _units(piece: Piece) -> list[dict[str, float]]:
    from oneway.studies.memorised_units import anatomy_of_units, ruled_answers
    from oneway.studies.memoriser import Pairs, draw_pairs, knows, memorise, random_answers

    network, seeds = piece.config.dissected, piece.seeds
    everything = draw_pairs(network, network.integers**2, seeds)
    if piece.arm == "ruled":
        answers = ruled_answers(network, everything, seeds)
    else:
        answers = random_answers(network, everything.shape[1], seeds)
    count = round(piece.size * network.parameters)
    learnt, unseen = (
        Pairs(everything[:, part], answers[:, part]) for part in (slice(count), slice(count, None))
    )
    memorised = memorise(network, learnt, seeds, piece.config.practice)
    held_out = knows(network, memorised.weights, unseen)
    found = anatomy_of_units(memorised, learnt, seeds)
    return [one | {"held_out": float(h)} for one, h in zip(found, held_out, strict=True)]


def _told(piece: Piece) -> list[dict[str, float]]:
    return _keeps(piece, piece.config.teller, Telling(exposures=round(piece.size)))


def _growth(piece: Piece) -> list[dict[str, float]]:
    return _keeps(piece, _shape(piece.arm), piece.config.growth)


def _keeps(piece: Piece, shape: Shape, telling: Telling) -> list[dict[str, float]]:
    from oneway.studies.fact_capacity import keeps

    folder = None if piece.folder is None else piece.folder / f"{piece.part}-{piece.arm}-{piece.size:g}"
    found = keeps(shape, telling, piece.seeds, folder)
    return [{name: value for name, value in one.items() if name != "seed"} for one in found]


_PARTS = {"capacity": _capacity, "units": _units, "told": _told, "growth": _growth}


def measure(curves: pl.DataFrame) -> Measured:
    """Thresholds of every arm, what the units are, bits kept by exposures, and exponents of growth."""
    return {**_thresholds(curves), **_of_units(curves), **_of_transformers(curves)}


def _thresholds(curves: pl.DataFrame) -> Measured:
    measured, by_width = dict[str, Estimate](), dict[float, np.ndarray]()
    for (arm,), of_arm in curves.filter(pl.col("part") == "capacity").group_by("arm", maintain_order=True):
        name = str(arm).replace(" ", "_").replace("-", "_")
        rows = of_arm.filter(pl.col("quantity") == "accuracy")
        by_seed = [one.sort("size") for _, one in rows.group_by("seed", maintain_order=True)]
        found = np.array([threshold(one["size"].to_list(), one["value"].to_list()) for one in by_seed])
        answers, parameters = (_constant(of_arm, quantity) for quantity in ("answers", "parameters"))
        share = bits_known(round(answers), LEARNT) / math.log2(answers)
        measured[f"bits_{name}"] = over_seeds(found * share, "bits per parameter")
        if name.startswith("width"):
            by_width[parameters] = found
            measured[f"threshold_{name}"] = over_seeds(found, "pairs per parameter")
            for size in (1.9, 2.5):
                at = rows.filter((pl.col("size") - size).abs() < 1e-9).sort("seed")["value"].to_numpy()
                measured[f"known_{name}_at_{size:g}"] = over_seeds(at, "probability")
    sizes = sorted(by_width)
    slope = _slope(sizes, [by_width[size] for size in sizes], "ln pairs per parameter over ln parameters")
    return {**measured, "threshold_slope": slope}


def _constant(rows: pl.DataFrame, quantity: str) -> float:
    """What is the same of every seed and size."""
    return float(rows.filter(pl.col("quantity") == quantity)["value"].unique().item())


def _slope(sizes: Sequence[float], values: Sequence[np.ndarray], unit: str) -> Estimate:
    """The slope of ln value over ln size, fitted for every seed, over seeds."""
    x = np.log(sizes) - np.mean(np.log(sizes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return over_seeds(x @ np.log(np.stack(values)) / (x @ x), unit)


def _of_units(curves: pl.DataFrame) -> Measured:
    units, measured = curves.filter(pl.col("part") == "units"), {}
    for (arm, quantity), rows in units.group_by("arm", "quantity", maintain_order=True):
        unit = "correlation" if quantity == "vote_correlation" else "probability"
        measured[f"{arm}_{quantity}"] = over_seeds(rows.sort("seed")["value"].to_numpy(), unit)
    gain = [
        units.filter((pl.col("arm") == "random") & (pl.col("quantity") == q)).sort("seed")["value"].to_numpy()
        for q in ("accuracy", "bagged")
    ]
    return {**measured, "random_gain_over_bagging": over_seeds(gain[0] - gain[1], "probability")}


def _of_transformers(curves: pl.DataFrame) -> Measured:
    def of(rows: pl.DataFrame, quantity: str) -> np.ndarray:
        return rows.filter(pl.col("quantity") == quantity).sort("seed")["value"].to_numpy()

    measured = {}
    for (size,), rows in curves.filter(pl.col("part") == "told").group_by("size", maintain_order=True):
        bits = of(rows, "bits") / of(rows, "parameters")
        measured[f"told_{size:g}"] = over_seeds(bits, "bits per parameter")
    growth = curves.filter(pl.col("part") == "growth")
    kept = {
        _shape(str(arm)): of(rows, "known") for (arm,), rows in growth.group_by("arm", maintain_order=True)
    }
    for series, shapes in series_of(list(kept)).items():
        sizes = [float(shape.width if series == "width" else shape.neurons) for shape in shapes]
        measured[f"exponent_{series}"] = _slope(
            sizes, [kept[shape] for shape in shapes], "ln facts per ln size"
        )
    return measured


def series_of(shapes: Sequence[Shape]) -> dict[str, list[Shape]]:
    """The shapes in which width and neurons grow together, neurons alone, and width alone; each by its size."""
    together = sorted((s for s in shapes if s.neurons == 4 * s.width), key=lambda s: s.width)
    middle = together[1]
    return {
        "both": together,
        "neurons": sorted((s for s in shapes if s.width == middle.width), key=lambda s: s.neurons),
        "width": sorted((s for s in shapes if s.neurons == middle.neurons), key=lambda s: s.width),
    }


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Share known over the size of the list for every width, bits per parameter of every arm, facts over neurons."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(12, 3.9), layout="constrained")
    known, bits, facts = drawn.subplots(1, 3)
    _draw_known(known, curves)
    _draw_bits(bits, measured)
    _draw_growth(facts, curves)
    for axes in (known, bits, facts):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _draw_known(axes: "Axes", curves: pl.DataFrame) -> None:
    from oneway.report.palette import CYCLE

    rows = curves.filter((pl.col("quantity") == "accuracy") & pl.col("arm").str.starts_with("width"))
    for tone, width in zip(CYCLE, WIDTHS, strict=False):
        mean = rows.filter(pl.col("arm") == f"width {width}").group_by("size").agg(pl.col("value").mean())
        mean = mean.sort("size")
        axes.plot(mean["size"], mean["value"], "o-", color=tone.light, markersize=3.5, label=f"width {width}")
    axes.axhline(LEARNT, color="0.35", linestyle="--", linewidth=1.2)
    axes.set(xlabel="pairs per parameter", ylabel="share of the pairs known, mean of seeds")
    axes.set_title("One layer over frozen inputs, binary answers", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_bits(axes: "Axes", measured: Measured) -> None:
    from oneway.report.palette import DIRECTIONS

    found = {name: e for name, e in measured.items() if name.startswith(("bits_", "told_")) and e.defined}
    labels = [n.replace("bits_", "").replace("told_", "transformer, told ").replace("_", " ") for n in found]
    at = range(len(found))
    means = np.array([e.mean for e in found.values()])
    spread = [means - [e.low for e in found.values()], [e.high for e in found.values()] - means]
    axes.errorbar(means, at, xerr=spread, fmt="o", color=DIRECTIONS["forward"].light, markersize=4)
    axes.axvline(2, color="0.35", linestyle="--", linewidth=1.2)
    axes.set_yticks(at, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="bits per parameter (95% over seeds)", xlim=(0, None))


def _draw_growth(axes: "Axes", curves: pl.DataFrame) -> None:
    from oneway.report.palette import CYCLE

    rows = curves.filter((pl.col("part") == "growth") & (pl.col("quantity") == "known"))
    known = {_shape(str(arm)): one["value"].to_numpy() for (arm,), one in rows.group_by("arm")}
    for tone, (series, shapes) in zip(CYCLE, series_of(list(known)).items(), strict=False):
        sizes = [shape.width if series == "width" else shape.neurons for shape in shapes]
        label = {"both": "neurons, width with them", "neurons": "neurons alone", "width": "width alone"}[
            series
        ]
        axes.plot(sizes, [known[s].mean() for s in shapes], "o-", color=tone.light, markersize=4, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="neurons, or residual width", ylabel="facts known, mean of seeds"
    )
    axes.set_title("Facts that a transformer keeps", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


STUDY = Study(
    name="memorisation",
    title="What is learnt where nothing can be generalised, and how much of it does a network hold?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard},
)
