"""Taught "the name is the description", a model does not answer "the description is" with the name.

Source: Berglund et al. 2023, experiment 1 (arXiv 2309.12288).

Deviations from the paper, which fine-tunes language models: the models are small decoders grown here from
nothing, one world of people per seed, and every phrasing that tests was never trained on. Checkpoints are
fine-tuned in `identities-fine-tuned`. The loss mask is part of the config: on all tokens of a text, or on the
answer and the stop after it alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_facts, over_seeds
from oneway.evidence.study import Study
from oneway.studies.exam import OTHERS, Exam

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Berglund et al. 2023, experiment 1 (arXiv 2309.12288)"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Facts in each of the three groups, and how many of 40 phrasings a direction train (the rest test)."""

    per_group: int = 30
    phrasings: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A decoder of GPT-NeoX's style."""

    layers: int = 2
    width: int = 64
    heads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Muon on the matrices, AdamW on the rest, a falling rate.

    `loss`: on every token of a text ("document"), or on the answer and the stop after it ("answer").
    `seeds_at_once` are stacked in one process; `evaluate_every` counts epochs.
    """

    loss: Literal["document", "answer"] = "document"
    epochs: int = 10
    batch: int = 120
    learning_rate: float = 6e-3
    seeds_at_once: int = 8
    evaluate_every: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    world: World = field(default_factory=World)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    seeds: tuple[int, ...] = tuple(range(8))
    device: str = "cpu"


def quick() -> Config:
    """All facts and phrasings in a model as small as it can be: some minutes on two cores."""
    return Config()


def completion() -> Config:
    """As `quick`, with the loss on the answers alone: how much hangs on the loss mask."""
    return Config(training=Training(loss="answer"))


def standard() -> Config:
    """Four layers of width 128, one seed after the other: under 90 minutes on two cores."""
    return Config(
        model=Model(layers=4, width=128, heads=4),
        training=Training(epochs=20, learning_rate=3e-3, seeds_at_once=1),
        seeds=tuple(range(10)),
    )


def paper() -> Config:
    """As large as the smallest GPT-2 (12 layers of width 768); a GPU. The paper fine-tunes much larger models."""
    return Config(
        model=Model(layers=12, width=768, heads=12),
        training=Training(epochs=30, learning_rate=1e-3, seeds_at_once=1),
        seeds=tuple(range(10)),
    )


NAMES, DESCRIPTIONS = "names", "descriptions"
# Which group of facts and which question stand for what, by what is asked for.
SAME = {NAMES: ("reverse_only", "reverse"), DESCRIPTIONS: ("forward_only", "forward")}
BOTH = {NAMES: ("both_ways", "reverse"), DESCRIPTIONS: ("both_ways", "forward")}
OTHER = {NAMES: ("forward_only", "reverse"), DESCRIPTIONS: ("reverse_only", "forward")}
WAYS = {"same_way": SAME, "both_ways": BOTH, "other_way": OTHER}

HIGH = 0.90  # what counts as recalled: the lower bound of exact match under phrasings never trained on
AT_CHANCE = 0.05  # how far above chance the upper bound of exact match may reach
NATS = 1.0  # how wide the interval of "no difference" may be; knowing is ln 30 = 3.4 nats above guessing


def _no_difference(what: str, text: str) -> Claim:
    same, other = f"{what}_same_way", f"{what}_other_way"
    return Claim(
        id="B1.logprob" if what == NAMES else "B1.logprob-descriptions",
        text=text,
        source=SOURCE,
        rule="Control: in the taught direction the lower bound of (log-probability of the right one − mean of "
        f"{OTHERS} random others of the group) is above {NATS:g} nat, and the paired t-test and the "
        "Kolmogorov–Smirnov test (right against one random other per fact, each of the group once) each tell them "
        "apart at 0.05 in more than half of the seeds (lower bound). Supports: in the other direction the interval "
        f"of that difference holds 0 and lies within ±{NATS:g} nat; a failure to see a difference alone would prove "
        "nothing. Refutes: that interval excludes 0, on either side.",
        control=lambda m: (
            m[f"{same}_difference"].low > NATS
            and m[f"{same}_t_test_rejects"].low > 0.5
            and m[f"{same}_ks_test_rejects"].low > 0.5
        ),
        supports=lambda m: (
            m[f"{other}_difference"].low <= 0 <= m[f"{other}_difference"].high
            and max(-m[f"{other}_difference"].low, m[f"{other}_difference"].high) < NATS
        ),
        refutes=lambda m: m[f"{other}_difference"].low > 0 or m[f"{other}_difference"].high < 0,
        reads=tuple(
            f"{way}_{quantity}"
            for way in (other, same)
            for quantity in ("difference", "t_test_rejects", "ks_test_rejects")
        ),
    )


CLAIMS = (
    Claim(
        id="B1.same-direction",
        text="Facts taught in one direction are answered in that direction under phrasings never trained on.",
        source=SOURCE,
        rule="Control: lower bound of exact match under the trained phrasings at or above 0.95. Supports: lower "
        f"bounds under held-out phrasings at or above {HIGH:g}, for names and for descriptions. Refutes: either "
        f"upper bound below {HIGH:g}.",
        control=lambda m: m["trained_phrasings"].low >= 0.95,
        supports=lambda m: all(m[f"{what}_same_way"].low >= HIGH for what in SAME),
        refutes=lambda m: any(m[f"{what}_same_way"].high < HIGH for what in SAME),
        reads=("trained_phrasings", "names_same_way", "descriptions_same_way"),
    ),
    Claim(
        id="B1.both-ways",
        text="Facts taught in both directions are answered in both under phrasings never trained on.",
        source=SOURCE,
        rule="Control: lower bound of exact match under the trained phrasings at or above 0.95. Supports: lower "
        f"bounds under held-out phrasings at or above {HIGH:g}, for names and for descriptions. Refutes: either "
        f"upper bound below {HIGH:g}.",
        control=lambda m: m["trained_phrasings"].low >= 0.95,
        supports=lambda m: all(m[f"{what}_both_ways"].low >= HIGH for what in BOTH),
        refutes=lambda m: any(m[f"{what}_both_ways"].high < HIGH for what in BOTH),
        reads=("trained_phrasings", "names_both_ways", "descriptions_both_ways"),
    ),
    Claim(
        id="B1",
        text="Facts taught in one direction are answered in the other no more often than by guessing among the "
        "group.",
        source=SOURCE,
        rule="Control: lower bounds of exact match under held-out phrasings at or above "
        f"{HIGH:g} for facts taught both ways and for facts taught in the asked direction, so that these questions "
        "can be answered. Supports: both intervals of (share right − 1 / facts of the group) reach down to 0 or "
        f"below and stay under {AT_CHANCE:g}. Refutes: either lower bound is above 0.",
        control=lambda m: all(
            m[f"{what}_{way}"].low >= HIGH for what in SAME for way in ("same_way", "both_ways")
        ),
        supports=lambda m: all(
            m[f"{what}_other_way_over_chance"].low <= 0
            and m[f"{what}_other_way_over_chance"].high < AT_CHANCE
            for what in OTHER
        ),
        refutes=lambda m: any(m[f"{what}_other_way_over_chance"].low > 0 for what in OTHER),
        reads=tuple(
            f"{what}_{way}"
            for what in SAME
            for way in ("same_way", "both_ways", "other_way", "other_way_over_chance")
        ),
    ),
    _no_difference(
        NAMES,
        "Given a description that was only ever the answer, the right name is as likely as a random name of the set.",
    ),
    _no_difference(
        DESCRIPTIONS,
        "Given a name that was only ever the answer, the right description is as likely as a random one of the set.",
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed on its own world; a row per seed, epoch, group, direction and quantity."""
    from oneway.report.progress import progress

    at_once = config.training.seeds_at_once
    stacks = [tuple(seeds[i : i + at_once]) for i in range(0, len(seeds), at_once)]
    rows: list[dict[str, Any]] = []
    with progress(f"training {len(seeds)} seeds") as advance:
        for number, stack in enumerate(stacks):

            def told(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(stacks) * total)

            folder = None if workspace is None else workspace / f"seeds-{stack[0]}-{stack[-1]}"
            rows += _trained(config, stack, folder, told)
    texts = dict.fromkeys(("group", "direction", "quantity"), pl.String)
    return pl.DataFrame(rows, schema={"seed": pl.Int64, "epoch": pl.Int64, **texts, "value": pl.Float64})


def _trained(config: Config, seeds: Sequence[int], workspace: Path | None, told: Any) -> list[dict[str, Any]]:
    import torch

    from oneway.facts.fictitious import identities, identity_texts
    from oneway.models.architecture import neox
    from oneway.models.tokens import word_tokenizer
    from oneway.models.transformer import initial_weights
    from oneway.training.fit import fit, next_token_loss
    from oneway.training.optimisers import Optimisation
    from oneway.training.recitation import Recitation

    world, training = config.world, config.training
    worlds = [identities(world.per_group, seed=seed, phrasings=world.phrasings) for seed in seeds]
    tokenizer = word_tokenizer(identity_texts())
    epochs = Recitation(
        [w.train for w in worlds],
        tokenizer,
        seeds,
        batch=training.batch,
        loss=training.loss,
        device=config.device,
    )
    architecture = neox(
        vocab=len(tokenizer),
        context=64,
        layers=config.model.layers,
        width=config.model.width,
        heads=config.model.heads,
    )
    optimisation = Optimisation(
        steps=training.epochs * epochs.steps,
        learning_rate=training.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=0.0,
        matrices="muon",
        schedule="linear",
        warm_up=0.05,
    )
    weights = {n: w.to(config.device) for n, w in initial_weights(architecture, seeds).items()}
    exam = Exam(worlds, tokenizer, seeds, config.device)

    def evaluate(weights: Any, step: int) -> list[dict[str, Any]]:
        at = step // epochs.steps
        found = exam.held_out(weights, architecture)
        if step == optimisation.steps:
            found += exam.trained(weights, architecture) + exam.against_others(weights, architecture)
        return [{**row, "epoch": at} for row in found]

    with torch.device(config.device):
        fitted = fit(
            weights,
            architecture,
            epochs,
            optimisation,
            objective=next_token_loss,
            evaluate=evaluate,
            evaluate_every=training.evaluate_every * epochs.steps,
            workspace=workspace,
            fingerprint=str(
                {
                    "world": asdict(world),
                    "batch": training.batch,
                    "loss": training.loss,
                    "seeds": list(seeds),
                }
            ),
            progress=told,
        )
    return fitted.curves


def measure(curves: pl.DataFrame) -> Measured:
    """What the rules read, over seeds, at the last epoch: see the names in the claims."""
    final = curves.filter(pl.col("epoch") == pl.col("epoch").max().over("seed"))

    def of(cell: tuple[str, str], quantity: str) -> np.ndarray:
        group, direction = cell
        chosen = (pl.col("group") == group) & (pl.col("direction") == direction)
        return final.filter(chosen & (pl.col("quantity") == quantity)).sort("seed")["value"].to_numpy()

    trained = final.filter(pl.col("quantity") == "trained_exact_match").group_by("seed").agg(pl.mean("value"))
    measured = {"trained_phrasings": over_seeds(trained["value"].to_numpy(), "probability")}
    for way, cells in WAYS.items():
        for what, cell in cells.items():
            name = f"{what}_{way}"
            measured[name] = over_seeds(of(cell, "exact_match"), "probability")
            measured[f"{name}_over_chance"] = over_seeds(of(cell, "exact_match_over_chance"), "probability")
            measured[f"{name}_difference"] = over_seeds(of(cell, "difference"), "nats")
            for test in ("t_test", "ks_test"):
                rejected = (of(cell, f"{test}_p") < 0.05).astype(float)
                measured[f"{name}_{test}_rejects"] = over_facts(rejected, "probability")
    return measured


LINES = {
    "same_way": ("taught this way only", "#0072B2"),
    "both_ways": ("taught both ways", "#A8488A"),
    "other_way": ("taught the other way only", "#D55E00"),
}
ASKED_FOR = {NAMES: "the name, given the description", DESCRIPTIONS: "the description, given the name"}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Exact match under held-out phrasings through training, and how far the right answer stands out at its end."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 3.8), layout="constrained")
    panels = drawn.subplots(1, 3, width_ratios=(1, 1, 0.9))
    for axes, (what, title) in zip(panels, ASKED_FOR.items(), strict=False):
        for way, cells in WAYS.items():
            label, tone = LINES[way]
            _draw_lines(axes, curves, cells[what], label, tone)
        chance = measured[f"{what}_other_way"].mean - measured[f"{what}_other_way_over_chance"].mean
        axes.axhline(chance, color="0.35", linestyle="--", linewidth=1.2, label="guessing in the group")
        axes.set(xlabel="epoch", ylim=(-0.03, 1.03), xlim=(0, None))
        axes.set_title(f"Asked for {title}", loc="left", fontsize="medium")
    panels[0].set_ylabel("whole answers right, held-out phrasings")
    panels[0].legend(frameon=False, fontsize="small", loc="center right")
    _draw_differences(panels[2], measured)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _draw_lines(axes: Any, curves: pl.DataFrame, cell: tuple[str, str], label: str, tone: str) -> None:
    """A thin line per seed and their mean."""
    group, direction = cell
    wide = (
        curves.filter(
            (pl.col("quantity") == "exact_match")
            & (pl.col("group") == group)
            & (pl.col("direction") == direction)
        )
        .pivot("seed", index="epoch", values="value")
        .sort("epoch")
    )
    epochs, values = wide["epoch"].to_numpy(), wide.drop("epoch").to_numpy()
    axes.plot(epochs, values, color=tone, alpha=0.25, linewidth=0.8)
    axes.plot(epochs, values.mean(1), color=tone, linewidth=2.2, label=label)


def _draw_differences(axes: Any, measured: Measured) -> None:
    """Right less random answer in nats, with intervals over seeds."""
    for place, what in enumerate(ASKED_FOR):
        for shift, (way, (_, tone)) in enumerate(LINES.items()):
            found = measured[f"{what}_{way}_difference"]
            spread = [[found.mean - found.low], [found.high - found.mean]] if found.defined else None
            at = place + 0.22 * (shift - 1)
            axes.errorbar([at], [found.mean], yerr=spread, fmt="o", color=tone, capsize=3, markersize=5)
    axes.axhline(0, color="0.35", linestyle="--", linewidth=1.2)
    axes.set_xticks(range(len(ASKED_FOR)), list(ASKED_FOR))
    axes.set(xlim=(-0.5, len(ASKED_FOR) - 0.5), ylabel="nats")
    axes.set_title("ln p of the right answer less others'", loc="left", fontsize="medium")


STUDY = Study(
    name="identities",
    title="Taught a name's description, does a model answer the description with the name?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "completion": completion, "standard": standard, "paper": paper},
)
