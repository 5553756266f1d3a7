"""Fact Finding, end to end, on the default model: where a fact is looked up, by what, and how.

Every seed grows a model of its own in a world of its own (see the study default-model) and has to pass that study's
gate, stated in advance, to be dissected; all seeds are shown. Each that passes is taken apart by the steps of `oneway
dissect`, F1 to F16 of the posts and the parts of the circuit of Nanda's thread, and each claim is judged by its fixed
rule. With one or two models the intervals are over athletes; with three or more they are over seeds.

Source: Nanda, Rajamanoharan, Kramár, Shah 2023, Fact Finding, posts 1 to 3; Nanda 2023, thread on asymmetric lookup.
Deviations: the model is grown here on invented athletes; half a million parameters instead of 2.8 billion; a handful
of heads are a tenth of all; the MLPs of the lookup are all that can read the whole name below the extracting head.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from oneway.evidence import Estimate, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts import FactTable, resolve
from oneway.studies.default_model import GATE, looked_up, world
from oneway.studies.default_model import Config as World
from oneway.studies.dissection_claims import CLAIMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 3  # models: with as many or more an interval is over them
COLUMNS = {"seed": pl.Int64, "quantity": pl.String, "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64}
COLUMNS |= {"n": pl.Int64, "unit": pl.String}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is grown, and how thoroughly it is dissected. The fields of `sizes` are those of `Sizes`.

    With a `model` (a directory or a hub name) and `facts` (a file or a shipped table, with `relations` if need be) that
    model is dissected instead, by the first relation of the table; nothing is grown, and there is no gate.
    """

    model: str = ""
    facts: str = ""
    relations: str = ""
    device: str = "cpu"
    world: World = field(default_factory=World)
    sizes: Mapping[str, int] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)


def quick() -> Config:
    """Two seeds of the default model, intervals over athletes."""
    return Config()


def standard() -> Config:
    """Five seeds of a model twice as deep as the default one, intervals over seeds: what that changes is in LOG.md."""
    return Config(world=World(layers=16), seeds=tuple(range(5)), sizes={"entities": 48})


def paper() -> Config:
    """Pythia 2.8B and the shipped athletes, who are real: the posts' model and facts. A GPU with 24 GiB."""
    return Config(model="EleutherAI/pythia-2.8b", facts="athletes", seeds=(0,))


def check(config: Config) -> None:
    """Raises ValueError where a model is given without facts, facts without a model, or a model with several seeds."""
    if bool(config.model) != bool(config.facts):
        raise ValueError("give both --model and --facts, or neither: then the default model is grown")
    if config.model and len(config.seeds) > 1:
        raise ValueError("one model is dissected with one seed: give --seeds 1")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Every seed's estimates, and the page's picture of the first that passed the gate."""

    curves: pl.DataFrame
    dissection: Mapping[str, Any] | None


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> Found:
    """Grow and dissect a model for every seed, side by side.

    Raises ValueError without a workspace: a model is measured as the checkpoint that it was written to.
    """
    from oneway.runs.workers import side_by_side

    if workspace is None:
        raise ValueError("a model is grown in a workspace: there is none")
    pieces = [(config, seed, workspace / f"seed-{seed}") for seed in seeds]
    done = {piece[1]: rows for piece, rows in side_by_side(one_seed, pieces)}
    curves = pl.DataFrame([row for seed in seeds for row in done[seed]], schema=COLUMNS)
    from oneway.report import read_dissection

    shown = (read_dissection(folder) for _, _, folder in pieces)
    return Found(curves, next((content for content in shown if content is not None), None))


def one_seed(piece: tuple[Config, int, Path]) -> list[dict[str, Any]]:
    """Grow one seed's model and take it apart: a row for every estimate. A finished seed is read, not run again."""
    from oneway.engine import Engine, open_model
    from oneway.evidence import atomic
    from oneway.training.default_model import default_model
    from oneway.training.teach import teach

    config, seed, folder = piece
    finished = folder / "rows.json"
    if finished.exists():
        kept: list[dict[str, Any]] = json.loads(finished.read_text(encoding="utf-8"))
        return kept
    if config.model:
        given = resolve(config.facts, config.relations or None)
        rows = _dissected(config, config.model, given, seed, folder)
        atomic.write_text(finished, json.dumps(rows, allow_nan=False))
        return rows
    table, recipe, of = world(config.world, seed), default_model(seed), config.world
    recipe = replace(
        recipe,
        size=replace(recipe.size, layers=of.layers, width=of.width),
        optimisation=replace(recipe.optimisation, steps=of.steps),
    )
    taught = teach(table, folder / "model", recipe)
    engine = open_model(taught.checkpoint, device="cpu")
    assert isinstance(engine, Engine)
    gate = looked_up(engine, table, seed)
    gate["passed"] = float(GATE.passed(gate))
    rows = [_row(seed, f"gate.{name}", Estimate(value, value, value, 1, "")) for name, value in gate.items()]
    if gate["passed"]:
        rows += _dissected(config, taught.checkpoint, table, seed, folder)
    atomic.write_text(finished, json.dumps(rows, allow_nan=False))
    return rows


def _dissected(
    config: Config, model: str | Path, table: FactTable, seed: int, folder: Path
) -> list[dict[str, Any]]:
    from oneway.anatomy.specimen import Sizes
    from oneway.report import save_dissection
    from oneway.studies.dissecting import DissectionConfig, prepare_dissection

    relation = next(iter(table)).relation if len(table) else ""
    asked = DissectionConfig(relation=relation, seed=seed, sizes=Sizes(**config.sizes))
    found = prepare_dissection(model, table, asked, device=config.device).dissect(folder / "steps")
    save_dissection(found.shown, folder)
    return [_row(seed, name, estimate) for name, estimate in found.findings.measured.items()]


def _row(seed: int, quantity: str, estimate: Estimate) -> dict[str, Any]:
    return {"seed": seed, "quantity": quantity, **estimate.to_dict()}


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity over the models that passed the gate, see `over_models`."""
    found: dict[str, list[Estimate]] = {name: [] for claim in CLAIMS for name in claim.reads}
    for row in curves.iter_rows(named=True):
        fields = {name: row[name] for name in ("mean", "low", "high", "n", "unit")}
        found.setdefault(row["quantity"], []).append(Estimate.from_dict(fields))
    return {name: over_models(estimates) for name, estimates in found.items() if not name.startswith("gate.")}


def over_models(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of several models' estimates.

    Of three or more: over models, each as good as the other. Of one or two: these models as they are, with intervals
    over what each was measured on; the half-widths of two independent ones combine as √(a² + b²) / 2. Models in which a
    quantity could not be measured are left out.
    """
    known = [one for one in estimates if one.defined]
    if not known:
        return Estimate(math.nan, -math.inf, math.inf, 0, "")
    if len(known) >= FEW:
        return over_seeds([one.mean for one in known], known[0].unit)
    mean = sum(one.mean for one in known) / len(known)
    below, above = (
        math.sqrt(sum(width**2 for width in widths)) / len(known)
        for widths in ([one.mean - one.low for one in known], [one.high - one.mean for one in known])
    )
    return Estimate(mean, mean - below, mean + above, sum(one.n for one in known), known[0].unit)


def by_seed(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """One row a seed: what the gate reads and whether it passed; and the verdicts on the hypotheses of all models."""
    gate = curves.filter(pl.col("quantity").str.starts_with("gate."))
    wide = gate.with_columns(pl.col("quantity").str.strip_prefix("gate."))
    from oneway.anatomy.steps.hypotheses import judged_by

    tables = {"seeds": wide.pivot("quantity", index="seed", values="mean")}
    judged = judged_by(measured)
    of_all = pl.DataFrame({"hypothesis": list(judged.outcomes), "outcome": list(judged.outcomes.values())})
    return tables | {"hypotheses": judged.cells, "outcomes": of_all}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Every estimate that is a share, a correlation or a ratio: a dot for each seed, the whole with its interval."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    drawn_units = {name for name, one in measured.items() if one.unit not in ("logits", "nats")}
    names = sorted(
        (
            name
            for name in drawn_units
            if measured[name].defined and measured[name].low != measured[name].high
        ),
        key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)],
    )
    drawn = Figure(figsize=(10, 0.24 * len(names) + 1.2), layout="constrained")
    axes = drawn.subplots()
    for place, name in enumerate(names):
        one = measured[name]
        axes.plot([one.low, one.high], [place, place], color="0.4", linewidth=1.2)
        axes.plot([one.mean], [place], marker="|", color="0.1", markersize=9)
        own = curves.filter(quantity=name)["mean"].drop_nulls().to_list()
        axes.scatter(own, [place] * len(own), color=DIRECTIONS["forward"].light, s=18, zorder=3, alpha=0.8)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(0, color="0.8", zorder=0)
    axes.axvline(1, color="0.8", zorder=0)
    axes.set_xlabel("dots: seeds; line: 95% interval")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("What was measured, by experiment", loc="left")
    return drawn


STUDY = Study(
    name="fact-finding",
    title="Where and how does a small model look up facts?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
    check=check,
    tables=by_seed,
)
