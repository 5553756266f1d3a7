"""Does the reversal curse hold in every setting? One axis at a time around a small default.

Source: Zhu et al. 2024, section 5 and appendix (arXiv 2405.04669): layers, width, heads, vocabulary, entity length,
positions, frozen embeddings and weight decay. The axes `unembedding`, `dropout` and `alphabet` are where the
published code differs from its text, or may; `loss` and `architecture` are the open questions that the paper names.

Deviation: the quick and standard recipes vary around a small model that is trained for a few hundred steps; the
recipe `paper` varies around the published default.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.studies import reversal
from oneway.studies.reversal import Model, Training, World

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Zhu et al. 2024, section 5 and appendix (arXiv 2405.04669)"
LEARNT = 0.99  # of the probability at which the loss is smallest


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One point of an axis: what changes against the default, by the fields of World, Model and Training."""

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    name: str
    settings: tuple[Setting, ...]


def axis(
    name: str, *values: Any, field: str = "", along: Mapping[Any, Mapping[str, Any]] | None = None
) -> Axis:
    """The settings of one field (by default the axis's name); `along` has what else changes, by value."""
    return Axis(
        name=name,
        settings=tuple(
            Setting(label=str(value), changes={field or name: value, **(along or {}).get(value, {})})
            for value in values
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    base: reversal.Config
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...] = tuple(range(10))
    device: str = "cpu"


def _axes(
    slow: Mapping[str, Any] | None = None,
    large: Mapping[Any, Mapping[str, Any]] | None = None,
    **sizes: Sequence[Any],
) -> tuple[Axis, ...]:
    """The axes that all recipes have, with the sizes of a recipe.

    `slow` changes along with what learns slowly, `large` along with a vocabulary.
    """
    slowly = (4, 8, "sequence", "label_smoothing", "squared_error", "focal", "lstm")
    longer = {value: slow or {} for value in slowly}
    return (
        axis("layers", *sizes["layers"], along=longer),
        axis("width", *sizes["width"]),
        axis("heads", *sizes["heads"]),
        axis("vocabulary", *sizes["vocabulary"], along=large),
        axis("length", *sizes["length"]),
        axis("alphabet", 0.25, 0.5, field="alphabet_share"),
        axis("positions", "none", "learned", "rotary"),
        axis(
            "embeddings", "learned", "frozen", "both_ends_frozen", along={"frozen": {"unembedding": "untied"}}
        ),
        axis("unembedding", "tied", "untied"),
        axis("weight_decay", 0.0, 0.01, 0.9),
        axis("dropout", 0.0, 0.1),
        axis("predicted", "answer", "sequence", along=longer),
        axis("loss", "cross_entropy", "label_smoothing", "squared_error", "focal", along=longer),
        axis("architecture", "transformer", "lstm", along=longer),
    )


def quick() -> Config:
    """Around one layer of width 32 on a vocabulary of 200: about a minute and a half on one core.

    Four layers, the LSTM, the whole sequence and the losses besides cross-entropy are slow to reach the last
    percent and train three times as long; vocabulary 800, with four times the steps, takes half the rate.
    """
    return Config(
        base=reversal.Config(
            world=World(vocabulary=200),
            model=Model(layers=1, width=32, heads=4, unembedding="untied"),
            training=Training(epochs=150, learning_rate=0.01, evaluate_every=25),
        ),
        axes=_axes(
            slow={"epochs": 450},
            large={800: {"learning_rate": 0.005}},
            layers=(1, 2, 4),
            width=(16, 32, 64),
            heads=(1, 4, 8),
            vocabulary=(20, 50, 200, 800),
            length=(1, 2, 3),
        ),
    )


def standard() -> Config:
    """Around two layers of width 64 on the published vocabulary of 800."""
    return Config(
        base=reversal.Config(
            model=Model(layers=2, width=64, heads=4, unembedding="untied"),
            training=Training(epochs=200, learning_rate=0.003, evaluate_every=20),
        ),
        axes=_axes(
            slow={"epochs": 600},
            layers=(1, 2, 4, 8),
            width=(20, 64, 128, 256),
            heads=(1, 4, 16),
            vocabulary=(20, 50, 200, 800),
            length=(1, 2, 3),
        ),
    )


def paper() -> Config:
    """The published grid around the published default as its text has it: 24 layers of width 768; a GPU.

    Width 20 takes 4 heads: it is no multiple of 12.
    """
    axes = _axes(
        layers=(1, 12, 24, 48),
        width=(20, 768),
        heads=(12,),
        vocabulary=(20, 50, 200, 800),
        length=(1, 2, 3),
    )
    narrow = axis("width", 20, 768, along={20: {"heads": 4}})
    return Config(base=reversal.paper(), axes=tuple(narrow if one.name == "width" else one for one in axes))


def published_code() -> Config:
    """The published grid around what the published code does at its default; a GPU."""
    return replace(paper(), base=reversal.published_code())


AXES = tuple(one.name for one in _axes(layers=(), width=(), heads=(), vocabulary=(), length=()))
# What the curves hold of every setting; −ln p of the whole answer in nats, means over sentences.
QUANTITIES = {
    "train_nll": "nats",
    "learnt": "of the best probability",  # in the trained direction of the pairs whose other direction is held out
    "validation_nll": "nats",
    "validation_excess": "nats",  # over uniform guessing
    "validation_type_excess": "nats",  # over guessing among the tokens of the right alphabet
    "validation_accuracy_over_chance": "probability",
}
CURVES = {"seed": pl.Int64, "epoch": pl.Int64, "metric": pl.String, "setting": pl.String, "value": pl.Float64}


def _learnt(measured: Measured, cell: str) -> bool:
    return measured[f"learnt[{cell}]"].low > LEARNT


def _settings(measured: Measured, name: str) -> Iterator[str]:
    """The settings of an axis that were measured, "layers=4"."""
    return (
        key.removeprefix("learnt[").removesuffix("]") for key in measured if key.startswith(f"learnt[{name}=")
    )


def _all_hold(measured: Measured, name: str) -> bool:
    return all(
        measured[f"excess[{cell}]"].low >= 0 for cell in _settings(measured, name) if _learnt(measured, cell)
    )


def _one_fails(measured: Measured, name: str) -> bool:
    return any(
        measured[f"excess[{cell}]"].high < 0 for cell in _settings(measured, name) if _learnt(measured, cell)
    )


def _axis_claim(name: str) -> Claim:
    return Claim(
        id=f"Z3.{name.replace('_', '-')}",
        text=f"Whatever the {name.replace('_', ' ')}: where the trained direction is learnt, the other one is "
        "predicted no better than by uniform guessing.",
        source=SOURCE,
        rule="Control: at least one setting of the axis is learnt, the lower bound of the probability in the "
        f"trained direction of the held-out pairs above {LEARNT:g} of the best that the loss allows. Supports: in "
        "every setting that is learnt the lower bound of the held-out NLL is at or above ln(vocabulary). Refutes: "
        "in one of them its upper bound is below.",
        control=lambda m: any(_learnt(m, cell) for cell in _settings(m, name)),
        supports=lambda m: _all_hold(m, name),
        refutes=lambda m: _one_fails(m, name),
        reads=(f"learnt[{name}=*", f"excess[{name}=*"),
    )


CLAIMS = (
    Claim(
        id="Z3.grid",
        text="In every setting of the grid the held-out direction is predicted no better than by uniform guessing.",
        source=SOURCE,
        rule="A setting is learnt where the lower bound of the probability in the trained direction of the held-out "
        f"pairs is above {LEARNT:g} of the best that the loss allows; those that are not are counted and listed. It "
        "fails where it is learnt and the upper bound of the held-out NLL is below ln(vocabulary), and holds where "
        "the lower bound is at or above. Control: at least half of the settings are learnt. Supports: all settings "
        "that are learnt hold. Refutes: at least one fails.",
        control=lambda m: 2 * m["settings_learnt"].mean >= m["settings"].mean,
        supports=lambda m: m["settings_that_hold"].mean == m["settings_learnt"].mean,
        refutes=lambda m: m["settings_that_fail"].mean > 0,
        reads=(
            *("settings", "settings_learnt", "settings_that_hold", "settings_that_fail"),
            *("fails[*", "undecided[*", "not_learnt[*"),
        ),
    ),
    Claim(
        id="Z3.grid-right-type",
        text="In every setting of the grid, even among the entities of the right type the right one is picked no "
        "more often than by chance.",
        source=f"{SOURCE}; our stricter reading",
        rule="Control: as Z3.grid. Supports: in no setting that is learnt is the lower bound of (share right − "
        "chance) above 0.05. Refutes: in at least one it is.",
        control=lambda m: 2 * m["settings_learnt"].mean >= m["settings"].mean,
        supports=lambda m: m["settings_above_type_chance"].mean == 0,
        refutes=lambda m: m["settings_above_type_chance"].mean > 0,
        reads=("settings", "settings_learnt", "settings_above_type_chance", "above_type_chance[*"),
    ),
    *(_axis_claim(name) for name in AXES),
)


def with_changes(base: reversal.Config, changes: Mapping[str, Any]) -> reversal.Config:
    """The config with these fields of its parts changed. Raises ValueError for a field that none of them has."""
    parts: dict[str, Any] = {}
    for part in ("world", "model", "training"):
        names = {one.name for one in fields(getattr(base, part))}
        parts[part] = replace(getattr(base, part), **{k: v for k, v in changes.items() if k in names})
        changes = {k: v for k, v in changes.items() if k not in names}
    if changes:
        raise ValueError(f"a world, model or training has no {', '.join(changes)}")
    return replace(base, **parts)


def cells(config: Config) -> dict[tuple[str, str], reversal.Config]:
    """The config of every setting, by axis and label."""
    base = replace(config.base, seeds=config.seeds, device=config.device)
    return {
        (one.name, setting.label): with_changes(base, setting.changes)
        for one in config.axes
        for setting in one.settings
    }


def check(config: Config) -> None:
    """Raises ValueError for a setting that cannot be, with its name."""
    for (name, label), cell in cells(config).items():
        try:
            reversal.check(cell)
        except ValueError as error:
            raise ValueError(f"setting {name}={label}: {error}") from error


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every setting, the default once; a row per seed, epoch, axis with quantity, and setting.

    Every setting that is finished is kept in the workspace; the one under way resumes where it was.
    """
    from oneway.report.progress import progress

    found: dict[str, pl.DataFrame] = {}
    named = cells(config)
    different = len({_key(cell) for cell in named.values()})
    tables = []
    with progress(f"training {different} settings of {len(seeds)} seeds") as advance:
        for (name, label), cell in named.items():
            if (key := _key(cell)) not in found:

                def told(done: int, total: int, before: int = len(found)) -> None:
                    advance(before * total + done, different * total)

                place = None if workspace is None else workspace / f"{name}-{label}"
                found[key] = _kept(cell, seeds, place, told)
            metric = pl.concat_str(pl.lit(f"{name}: "), "quantity").alias("metric")
            tables.append(found[key].with_columns(metric, setting=pl.lit(label)).select(*CURVES))
    return pl.concat(tables)


def _key(cell: reversal.Config) -> str:
    """What two settings have in common that are one and the same."""
    return json.dumps(asdict(cell), sort_keys=True)


def _kept(
    cell: reversal.Config, seeds: Sequence[int], place: Path | None, told: Callable[[int, int], None]
) -> pl.DataFrame:
    """The curves of one setting: those in `place`.parquet, or trained, with `place` as the workspace."""
    from oneway.evidence.atomic import make_folder, write_with

    if place is None:
        return _of_interest(cell, seeds, None, told)
    file = place.with_name(f"{place.name}.parquet")
    if file.exists():
        return pl.read_parquet(file)
    curves = _of_interest(cell, seeds, make_folder(place), told)
    write_with(file, curves.write_parquet)
    shutil.rmtree(place, ignore_errors=True)
    return curves


def _of_interest(
    cell: reversal.Config, seeds: Sequence[int], workspace: Path | None, told: Callable[[int, int], None]
) -> pl.DataFrame:
    """The grid's quantities; where training broke down no seed has learnt anything, and nothing else is known."""
    from oneway.training.objectives import best_probability

    try:
        curves = reversal.trained(cell, seeds, workspace, told)
    except FloatingPointError:
        return pl.DataFrame(
            [(seed, cell.training.epochs, "learnt", 0.0) for seed in seeds],
            schema=reversal.CURVES,
            orient="row",
        )
    world = cell.world
    best = best_probability(cell.training.loss, world.vocabulary + 2) ** world.length
    by_type = world.length * math.log(int(world.alphabet_share * world.vocabulary))
    learnt = curves.filter(pl.col("quantity") == "seen_direction_probability").with_columns(
        pl.lit("learnt").alias("quantity"), pl.col("value") / best
    )
    typed = curves.filter(pl.col("quantity") == "validation_nll").with_columns(
        pl.lit("validation_type_excess").alias("quantity"), pl.col("value") - by_type
    )
    return pl.concat([curves, learnt, typed]).filter(pl.col("quantity").is_in(list(QUANTITIES)))


def final(curves: pl.DataFrame) -> pl.DataFrame:
    """The last epoch of every setting: seed, axis, setting, quantity, value, settings in their order."""
    last = curves.filter(pl.col("epoch") == pl.col("epoch").max().over("metric", "setting"))
    parts = pl.col("metric").str.split(": ")
    return last.with_columns(axis=parts.list.first(), quantity=parts.list.last()).select(
        "seed", "axis", "setting", "quantity", "value"
    )


def _estimates(curves: pl.DataFrame) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Every quantity over seeds, of every setting of every axis."""
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for (name, setting, quantity), rows in final(curves).group_by(
        "axis", "setting", "quantity", maintain_order=True
    ):
        values = rows.sort("seed")["value"].to_numpy()
        found.setdefault((str(name), str(setting)), {})[str(quantity)] = over_seeds(
            values, QUANTITIES[str(quantity)]
        )
    return found


def measure(curves: pl.DataFrame) -> Measured:
    """What is learnt and how far the held-out direction is from guessing in every setting, and the counts.

    The default stands in every axis and is counted once.
    """
    estimates = _estimates(curves)
    measured: dict[str, Estimate] = {}
    for (name, setting), of in estimates.items():
        measured[f"learnt[{name}={setting}]"] = of["learnt"]
        if "validation_excess" in of:
            measured[f"excess[{name}={setting}]"] = of["validation_excess"]
            measured[f"type_excess[{name}={setting}]"] = of["validation_type_excess"]
            measured[f"accuracy[{name}={setting}]"] = of["validation_accuracy_over_chance"]
    once: dict[str, tuple[str, dict[str, Estimate]]] = {}
    for (name, setting), of in estimates.items():  # the very same numbers are the very same setting
        cell = f"{name}={setting}"
        once.setdefault(str(of) if "validation_excess" in of else cell, (cell, of))
    lists: dict[str, dict[str, Estimate]] = {
        key: {} for key in ("holds", "fails", "undecided", "not_learnt", "above_type_chance")
    }
    for cell, of in once.values():
        if not of["learnt"].low > LEARNT:
            lists["not_learnt"][cell] = of["learnt"]
            continue
        excess, accuracy = of["validation_excess"], of["validation_accuracy_over_chance"]
        lists["holds" if excess.low >= 0 else "fails" if excess.high < 0 else "undecided"][cell] = excess
        if accuracy.low > 0.05:
            lists["above_type_chance"][cell] = accuracy
    seeds = curves["seed"].n_unique()
    counts = {
        "settings": len(once),
        "settings_learnt": len(once) - len(lists["not_learnt"]),
        "settings_that_hold": len(lists["holds"]),
        "settings_that_fail": len(lists["fails"]),
        "settings_above_type_chance": len(lists["above_type_chance"]),
    }
    exact = {key: float(count) for key, count in counts.items()}
    measured |= {key: Estimate(count, count, count, seeds, "settings") for key, count in exact.items()}
    for key in ("fails", "undecided", "not_learnt", "above_type_chance"):
        measured |= {f"{key}[{cell}]": estimate for cell, estimate in lists[key].items()}
    return measured


def tables(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """A table per axis: a row per setting and quantity, with the interval over seeds."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for (name, setting), of in _estimates(curves).items():
        rows.setdefault(name, []).extend(
            {"setting": setting, "quantity": quantity, **asdict(estimate)}
            for quantity, estimate in of.items()
        )
    return {name: pl.DataFrame(found, infer_schema_length=None) for name, found in rows.items()}


def figure(measured: Measured, curves: pl.DataFrame) -> "dict[str, Figure]":
    """A figure per axis: final loss in both directions, every seed a point, the mean with its interval."""
    ends, estimates = final(curves), _estimates(curves)
    return {
        name: _drawn(name, {s: of for (a, s), of in estimates.items() if a == name}, ends)
        for name in dict.fromkeys(a for a, _ in estimates)
    }


def _drawn(name: str, settings: Mapping[str, Mapping[str, Estimate]], ends: pl.DataFrame) -> "Figure":
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    drawn = Figure(figsize=(1.6 * len(settings) + 3.4, 3.8), layout="constrained")
    axes = drawn.add_subplot()
    ends = ends.filter(pl.col("axis") == name)
    for place, (setting, of) in enumerate(settings.items()):
        if "validation_nll" not in of:
            axes.text(place, 0.3, "diverged", ha="center", color="0.35")
            continue
        guesses = {
            "uniform guess, ln V": ("--", of["validation_nll"].mean - of["validation_excess"].mean),
            "guess of the right type": (":", of["validation_nll"].mean - of["validation_type_excess"].mean),
        }
        for label, (style, height) in guesses.items():
            axes.plot(
                [place - 0.38, place + 0.38], [height] * 2, style, color="0.35", linewidth=1.2,
                label=label if place == 0 else None,
            )  # fmt: skip
        for shift, quantity, label, tone in (
            (-0.13, "train_nll", "trained sentences", DIRECTIONS["forward"].light),
            (0.13, "validation_nll", "held-out direction", DIRECTIONS["reverse"].light),
        ):
            chosen = (pl.col("setting") == setting) & (pl.col("quantity") == quantity)
            values, mean = ends.filter(chosen)["value"].to_numpy(), of[quantity]
            axes.plot(
                [place + shift - 0.07] * len(values), values, ".", color=tone, alpha=0.35, markeredgewidth=0
            )
            half = mean.high - mean.mean if math.isfinite(mean.high) else 0.0
            axes.errorbar(
                place + shift, mean.mean, half, fmt="o", color=tone, markersize=5, capsize=3,
                label=label if place == 0 else None,
            )  # fmt: skip
    marks = ["" if of["learnt"].low > LEARNT else "\n(not learnt)" for of in settings.values()]
    names = [setting.replace("_", " ") + mark for setting, mark in zip(settings, marks, strict=True)]
    axes.set_xticks(range(len(settings)), names)
    axes.set(ylabel="−ln p(answer), nats", ylim=(-0.2, None), xlim=(-0.6, len(settings) - 0.4))
    axes.set_title(f"{name.replace('_', ' ').capitalize()}: loss at the end of training", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    drawn.legend(frameon=False, loc="outside right upper")
    return drawn


STUDY = Study(
    name="reversal-grid",
    title="In which settings does a transformer trained on A→B recall B→A?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    tables=tables,
    recipes={"quick": quick, "standard": standard, "paper": paper, "published_code": published_code},
    check=check,
)
