"""In context both directions are easy: x → y ⇔ y ← x is completed for pairs never seen together. And who copies, and
what happens where the context says one thing and the memory another.

Four trainings. `published`: 100 x's with 10 y's, of each x three y's held out; after it every head's attention from
the last position to x, and what its mean ablation costs. `agreeing` and `contradicting`: facts known both ways, known
forward only, and entities without facts, taught with episodes that state known facts as they are, or re-paired; then
statements that are true, that contradict a known fact, or that are about entities without facts. `untied`: as
`contradicting`, with an unembedding of its own.

Source: Zhu et al. 2024, in-context experiment (arXiv 2405.04669); Nanda 2023, thread on the reversal curse. Deviations:
small models, batches drawn with replacement; both competitions are ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_facts, over_seeds
from oneway.evidence.study import Study
from oneway.facts.symbolic_episodes import LENGTH, crossed, known, lesson
from oneway.studies.episode_reading import read_crossed, read_heads, read_known
from oneway.studies.sentence_training import asked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from oneway.models.transformer import Weights
    from oneway.training.fit import Batch

ZHU, NANDA = (
    "Zhu et al. 2024, in-context experiment (arXiv 2405.04669)",
    "Nanda 2023, thread on the reversal curse",
)
AGREEING = {
    "agreeing": 1.0,
    "contradicting": 0.0,
    "untied": 0.0,
}  # the share of the episodes of known entities
PARTS = ("published", *AGREEING)
SCHEMA = {"seed": pl.Int64, "step": pl.Int64, "part": pl.String, "quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A GPT-2 style decoder of this size."""

    layers: int = 1
    width: int = 32
    heads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """AdamW at a rate that falls to zero, on the last token alone; `seeds_at_once` are stacked."""

    steps: int
    batch: int
    learning_rate: float = 0.005
    evaluations: int = 10
    seeds_at_once: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`xs` and `ys` of the published world, learnt by `model`; `each` facts of each kind in those of `knowing`."""

    xs: int = 100
    ys: int = 10
    each: int = 40
    model: Model = field(default_factory=lambda: Model(layers=2))
    published: Training = field(default_factory=lambda: Training(steps=300, batch=64, learning_rate=0.01))
    knowing: Model = field(default_factory=Model)
    competition: Training = field(default_factory=lambda: Training(steps=1000, batch=64))
    seeds: tuple[int, ...] = tuple(range(20, 30))  # changed after runs of the seeds below, see LOG.md


def quick() -> Config:
    """The published data in two layers of width 32, the competition in one: seconds."""
    return Config()


def standard() -> Config:
    """Two layers of width 128, more facts."""
    return Config(
        each=50,
        model=Model(layers=2, width=128),
        knowing=Model(layers=2, width=128),
        published=Training(steps=1000, batch=64, learning_rate=0.001),
        competition=Training(steps=1500, batch=128, learning_rate=0.001),
    )


def paper() -> Config:
    """The published size: 24 layers of width 768; a GPU."""
    return Config(
        each=200,
        model=Model(layers=24, width=768, heads=12),
        knowing=Model(layers=24, width=768, heads=12),
        published=Training(steps=33_000, batch=64, learning_rate=1e-4, seeds_at_once=1),
        competition=Training(steps=20_000, batch=128, learning_rate=1e-4, seeds_at_once=1),
    )


def _knows(part: str) -> Callable[[Measured], bool]:
    """Known both ways without context, forward only forward, and able to read about entities without facts."""
    names = [f"{part}_{name}" for name in ("recalled", "forward", "unknown_follows_context")]
    return lambda m: all(m[name].low > 0.9 for name in names)


_KNOWN = (
    "recalled",
    "forward",
    "unknown_follows_context",
    "conflict_follows_context",
    "conflict_follows_memory",
)
_KNOWS = (
    "Control: without a statement facts known both ways are recalled in reverse, those known forward only forward, and "
    "unknown entities are answered from the statement, each with a lower bound above 0.9"
)


def _read_not_remembered(id: str, part: str, where: str) -> Claim:
    """The same rule for a tied and an untied unembedding."""
    in_context, remembered = f"{part}_one_way_in_context", f"{part}_one_way_over_chance"
    return Claim(
        id=id,
        text="The same model reverses in context a fact that it knows forward only and cannot reverse from memory "
        f"({where}).",
        source=NANDA,
        rule=f"{_KNOWS}. Supports: lower bound of the share right in context above 0.9, and upper bound of (share "
        "right from memory − chance among the x's of facts known forward only) below 0.05. Refutes: upper bound of the "
        "first below 0.9, or lower bound of the second above 0.05. Episodes in training contradict what is known.",
        control=_knows(part),
        supports=lambda m: m[in_context].low > 0.9 and m[remembered].high < 0.05,
        refutes=lambda m: m[in_context].high < 0.9 or m[remembered].low > 0.05,
        reads=(*(f"{part}_{name}" for name in _KNOWN[:3]), in_context, remembered),
    )


CLAIMS = (
    Claim(
        id="Z7",
        text="In context a pair is reversed that was never seen together: x → y ⇔ y ← x succeeds for held-out pairs.",
        source=ZHU,
        rule="Control: upper bound of the NLL of trained episodes below 0.1 nats. Supports: upper bound of the "
        "held-out NLL below ln(vocabulary), and lower bound of the share right above 0.9. Refutes: upper bound of the "
        "share right below 0.9.",
        control=lambda m: m["published_train_nll"].high < 0.1,
        supports=lambda m: (
            m["published_validation_excess"].high < 0 and m["published_validation_right"].low > 0.9
        ),
        refutes=lambda m: m["published_validation_right"].high < 0.9,
        reads=(
            "published_train_nll",
            "published_validation_nll",
            "published_validation_excess",
            "published_validation_right",
        ),
    ),
    Claim(
        id="N4.head",
        text="The head that attends the most from the last position to x in the statement is the one that copies: no "
        "other head's ablation costs as much.",
        source=f"{NANDA}; the agreement is ours",
        rule="Control: lower bound of the share right of held-out episodes above 0.9. Supports: lower bound (of the "
        "share of seeds) of agreement above 0.5 and lower bound of (fall of the answer's probability without that "
        "head − mean fall without another) above 0. Refutes: upper bound of agreement below 0.5. Chance of agreement: "
        "one of all heads.",
        control=lambda m: m["published_validation_right"].low > 0.9,
        supports=lambda m: m["published_agreement"].low > 0.5 and m["published_fall_beyond_others"].low > 0,
        refutes=lambda m: m["published_agreement"].high < 0.5,
        reads=(
            "published_validation_right",
            "published_agreement",
            "published_agreement_by_chance",
            "published_top_attention",
            "published_top_fall",
            "published_fall_beyond_others",
        ),
    ),
    _read_not_remembered("N4", "contradicting", "the unembedding is the embedding"),
    _read_not_remembered("N4.untied", "untied", "the unembedding is its own"),
    Claim(
        id="N4.competition",
        text="Where the episodes of training agreed with what is known, what is known competes with what is read: a "
        "statement that contradicts a known fact is followed less often than one about unknown entities.",
        source="ours",
        rule=f"{_KNOWS}. Supports: lower bound of (share that follows the statement about unknown entities − share "
        "that follows the contradicting one) above 0.05. Refutes: its upper bound is below 0.05.",
        control=_knows("agreeing"),
        supports=lambda m: m["agreeing_less_followed"].low > 0.05,
        refutes=lambda m: m["agreeing_less_followed"].high < 0.05,
        reads=(*(f"agreeing_{name}" for name in _KNOWN), "agreeing_less_followed"),
    ),
    Claim(
        id="N4.reading-wins",
        text="Where episodes of training contradicted what is known, a statement wins against memory.",
        source="ours",
        rule=f"{_KNOWS}. Supports: lower bound of the share that follows a contradicting statement above 0.9. "
        "Refutes: its upper bound is below 0.9.",
        control=_knows("contradicting"),
        supports=lambda m: m["contradicting_conflict_follows_context"].low > 0.9,
        refutes=lambda m: m["contradicting_conflict_follows_context"].high < 0.9,
        reads=tuple(f"contradicting_{name}" for name in _KNOWN),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every part and group of seeds; a row per seed, step, part and quantity."""
    from oneway.report.progress import progress

    jobs = []
    for part in PARTS:
        at_once = _training(config, part).seeds_at_once
        jobs += [(part, tuple(seeds[i : i + at_once])) for i in range(0, len(seeds), at_once)]
    rows: list[dict[str, Any]] = []
    with progress(f"in-context reversal of {len(seeds)} seeds") as advance:
        for number, (part, group) in enumerate(jobs):

            def told(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(jobs) * total)

            folder = None if workspace is None else workspace / f"{part}-{group[0]}-{group[-1]}"
            rows += _trained(config, part, group, folder, told)
    return pl.DataFrame(rows, schema=SCHEMA)


def _training(config: Config, part: str) -> Training:
    return config.published if part == "published" else config.competition


def _trained(
    config: Config, part: str, seeds: Sequence[int], workspace: Path | None, told: Any
) -> list[dict[str, Any]]:
    import torch

    from oneway.models.architecture import gpt2
    from oneway.models.transformer import initial_weights
    from oneway.training.fit import fit, last_tokens_loss
    from oneway.training.optimisers import Optimisation

    training = _training(config, part)
    model = config.model if part == "published" else config.knowing
    crossings = [crossed(config.xs, config.ys, seed=seed) for seed in seeds] if part == "published" else []
    worlds = [known(config.each, seed=seed) for seed in seeds] if part != "published" else []
    architecture = gpt2(
        vocab=(crossings or worlds)[0].vocabulary_size,
        context=LENGTH - 1,
        layers=model.layers,
        width=model.width,
        heads=model.heads,
    )

    if part == "untied":
        architecture = replace(architecture, unembedding="untied")

    def batches(step: int) -> "Batch":
        draws = [np.random.default_rng((seed, 1 + step)) for seed in seeds]
        if part == "published":
            drawn = [
                c.train[rng.integers(len(c.train), size=training.batch)]
                for c, rng in zip(crossings, draws, strict=True)
            ]
        else:
            drawn = [
                lesson(w, training.batch, AGREEING[part], rng) for w, rng in zip(worlds, draws, strict=True)
            ]
        return asked(torch.from_numpy(np.stack(drawn)), read=1)

    def evaluate(weights: "Weights", step: int) -> list[dict[str, Any]]:
        if part == "published":
            found = read_crossed(weights, architecture, crossings)
            if step == training.steps:
                found |= read_heads(weights, architecture, crossings)
        else:
            found = read_known(weights, architecture, worlds)
        place = {"step": step, "part": part}
        return [
            place | {"seed": seed, "quantity": quantity, "value": float(values[i])}
            for quantity, values in found.items()
            for i, seed in enumerate(seeds)
        ]

    return fit(
        initial_weights(architecture, seeds),
        architecture,
        batches,
        Optimisation(
            steps=training.steps, learning_rate=training.learning_rate, schedule="linear", warm_up=0.05
        ),
        objective=last_tokens_loss,
        evaluate=evaluate,
        evaluate_every=max(1, training.steps // training.evaluations),
        workspace=workspace,
        fingerprint=str(asdict(config) | {"part": part, "seeds": list(seeds)}),
        progress=told,
    ).curves


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity at the last step of its part, over seeds; agreement is a share of seeds."""
    final = curves.filter(pl.col("step") == pl.col("step").max().over("part"))
    measured = {}
    for (part, quantity), rows in final.group_by("part", "quantity", maintain_order=True):
        values = rows.sort("seed")["value"].to_numpy()
        unit = "nats" if quantity.endswith(("nll", "excess")) else "probability"
        unit = "" if quantity.endswith("correlation") else unit
        how = over_facts if quantity == "agreement" else over_seeds
        measured[f"{part}_{quantity}"] = how(values, unit)
    return measured


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """The held-out loss through training; every head's attention against its ablation; memory against statement."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13.5, 4.4), layout="constrained")
    first, second, third = drawn.subplots(1, 3, width_ratios=(1, 1, 1.15))
    _loss(first, measured, curves)
    _heads(second, curves)
    _competition(third, measured)
    return drawn


def _loss(axes: "Axes", measured: Measured, curves: pl.DataFrame) -> None:
    from oneway.report.palette import DIRECTIONS

    tones = {"train_nll": ("trained pairs", "forward"), "validation_nll": ("held-out pairs", "in_context")}
    for quantity, (label, direction) in tones.items():
        tone = DIRECTIONS[direction].light
        rows = curves.filter((pl.col("part") == "published") & (pl.col("quantity") == quantity))
        wide = rows.pivot("seed", index="step", values="value").sort("step")
        steps, values = wide["step"].to_numpy(), wide.drop("step").to_numpy()
        axes.plot(steps, values, color=tone, alpha=0.25, linewidth=0.8)
        axes.plot(steps, values.mean(1), color=tone, linewidth=2.2, label=label)
    guess = measured["published_validation_nll"].mean - measured["published_validation_excess"].mean
    axes.axhline(guess, color="0.35", linestyle="--", linewidth=1.2, label=f"uniform guess, {guess:.2f}")
    axes.set(xlabel="step", ylabel="−ln p(answer), nats", ylim=(0, None))
    axes.set_title("x → y ⇔ y ← x, pairs never seen together", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _heads(axes: "Axes", curves: pl.DataFrame) -> None:
    from oneway.report.palette import DIRECTIONS

    split = curves.with_columns(pl.col("quantity").str.split_exact(".", 1).alias("parts")).unnest("parts")
    wide = split.filter(pl.col("field_1").is_not_null()).pivot(
        "field_0", index=["seed", "field_1"], values="value"
    )
    if wide.height:
        axes.scatter(wide["attention"], wide["fall"], s=22, color=DIRECTIONS["in_context"].light, alpha=0.7)
    axes.set(
        xlabel="attention from the last position to x",
        ylabel="fall of p(answer) without the head",
        xlim=(-0.03, 1.03),
    )
    axes.set_title("Which head copies: every head of every seed", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


_ASKED = {
    "true_follows_context": "true,\nknown\nboth ways",
    "one_way_in_context": "true,\nknown\nforward",
    "unknown_follows_context": "unknown\nentities",
    "conflict_follows_context": "conflicting:\nfollows\nstatement",
    "conflict_follows_memory": "conflicting:\nfollows\nmemory",
}


def _competition(axes: "Axes", measured: Measured) -> None:
    from oneway.report.palette import CYCLE

    places = np.arange(len(_ASKED))
    for offset, part, tone in zip((-0.2, 0.2), ("agreeing", "contradicting"), CYCLE[3:], strict=False):
        found = [measured[f"{part}_{quantity}"] for quantity in _ASKED]
        means = np.array([e.mean for e in found])
        spread = np.array([[e.mean - e.low for e in found], [e.high - e.mean for e in found]])
        axes.bar(
            places + offset,
            means,
            0.4,
            color=tone.light,
            yerr=np.where(np.isfinite(spread), spread, 0),
            label=f"episodes {part} in training",
        )
    axes.set_xticks(places, list(_ASKED.values()), fontsize=8)
    axes.set(ylabel="share of answers", ylim=(0, 1.3), yticks=np.linspace(0, 1, 6))
    axes.set_title("What is read against what is known", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")


STUDY = Study(
    name="in-context",
    title="Can a model reverse in context what it cannot reverse from memory?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
