"""Stating a fact forward first makes its reverse answerable: `← y` fails, `x₁ → y₁ x₂ → y₂ ⇔ ← y` succeeds.

The model knows half of its facts both ways, half forward only, and has learnt from episodes of pairs made at random to
answer in reverse what its context states. The question is `← y` for a fact known forward only, together with its topic:
k candidates for x, the right one among them, in either order. Directly, the likeliest candidate after `← y` is the
answer. Retrieving first, the model writes for every candidate its own likeliest `xᵢ → ŷᵢ`, each from an empty context;
these statements, right or wrong, are put before the question in the given order, and the model itself must find which
of them speaks of y. Nothing else is given: neither which statement matters nor any y of ours. Chance is 1/k. The
statements as they truly are, written by us, show the most that could be had; with their y's swapped they show that the
answer is read.

The claims are about models that can read: a seed passes the gate where it answers at least 95% of the questions from
true statements. Matching a statement to a question is learnt suddenly or not at all; the picture shows every seed.

Source: Nanda 2023, thread on the reversal curse, and Berglund et al. 2023 (arXiv 2309.12288) on recalling the document
first; small models, the candidates and the controls are ours. Deviation: the reverse is written `← y x`, so that the
last token of a question is y; with `y ←` two of three seeds had not learnt to match statements in 1,600 steps.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.recollections import (
    Recollections,
    episode,
    episodes_drawn,
    facts_drawn,
    forward,
    recollections,
    reverse,
)
from oneway.studies.sentence_training import asked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights
    from oneway.training.fit import Batch

SOURCE = "Nanda 2023, thread on the reversal curse"
SCHEMA = {"seed": pl.Int64, "step": pl.Int64, "quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A decoder with learned positions and its own unembedding; `init_std` of its matrices.

    Statements are matched by a head that reads another's output; a start of 0.02 does not get there for long.
    """

    layers: int = 2
    width: int = 32
    heads: int = 1
    mlp: int = 32
    init_std: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """AdamW at a constant rate on the last token; every second step on facts, the others on episodes.

    Facts known both ways help to read: with a quarter of the steps on facts fewer seeds do.
    """

    steps: int = 2500
    batch: int = 128
    learning_rate: float = 0.005
    evaluations: int = 10
    seeds_at_once: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`pairs` facts; `candidates` k are named with every question, and stated in every episode."""

    pairs: int = 16
    candidates: int = 2
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    seeds: tuple[int, ...] = tuple(range(20, 30))  # gate and recipe changed after runs of the seeds below


def quick() -> Config:
    """Two candidates in two layers of width 32."""
    return Config()


def standard() -> Config:
    """Three candidates, more facts, more steps, twice the seeds."""
    return Config(pairs=24, candidates=3, training=Training(steps=4000), seeds=tuple(range(30, 50)))


def paper() -> Config:
    """Four candidates in four layers of width 256 (there is no published size); a GPU."""
    return Config(
        pairs=200,
        candidates=4,
        model=Model(layers=4, width=256, heads=4, mlp=1024, init_std=0.06),
        training=Training(steps=40_000, batch=256, learning_rate=0.001, seeds_at_once=2),
    )


READS = 0.95  # the gate: share of questions answered from true statements
ENOUGH = 5  # seeds


def _learnt(m: Measured) -> bool:
    known = all(m[name].low > 0.9 for name in ("forward", "both_ways_direct"))
    return known and m["seeds_that_read"].mean >= ENOUGH


_CONTROL = (
    f"Of the seeds that answer at least {READS:.0%} of the questions from true statements. Control: they are at least "
    f"{ENOUGH}, and have lower bounds above 0.9 of the share of facts known forward only that are recalled forward, "
    "and of those known both ways that are recalled in reverse without a statement"
)
CLAIMS = (
    Claim(
        id="N5",
        text="Asked to state the facts of the candidates first and then to answer in reverse, a model answers what it "
        "cannot answer directly: from chance to about the share that it recalls forward.",
        source=SOURCE,
        rule=f"{_CONTROL}. Supports: the interval of (share right directly − 1/k) reaches down to 0 or below and stays "
        "under 0.15; lower bound of (share right after retrieving − share right directly) above 0; upper bound of "
        "(share recalled forward − share right after retrieving) below 0.1. Refutes: upper bound of the gain below "
        "0.1.",
        control=_learnt,
        supports=lambda m: (
            m["direct_over_chance"].low <= 0
            and m["direct_over_chance"].high < 0.15
            and m["gain"].low > 0
            and m["short_of_forward"].high < 0.1
        ),
        refutes=lambda m: m["gain"].high < 0.1,
        reads=(
            "forward",
            "both_ways_direct",
            "seeds_that_read",
            "direct",
            "direct_over_chance",
            "retrieved",
            "gain",
            "short_of_forward",
        ),
    ),
    Claim(
        id="N5.read",
        text="The answer is read from what was stated: with the y's of the true statements swapped, the right answer "
        "is gone.",
        source="ours: the control of N5",
        rule=f"{_CONTROL}. Supports: upper bound of the share of right answers after swapped statements below 0.1. "
        "Refutes: its lower bound is above 0.1.",
        control=_learnt,
        supports=lambda m: m["swapped"].high < 0.1,
        refutes=lambda m: m["swapped"].low > 0.1,
        reads=("forward", "both_ways_direct", "seeds_that_read", "swapped"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every group of seeds and ask along the way; a row per seed, step and quantity."""
    from oneway.report.progress import progress

    at_once = config.training.seeds_at_once
    groups = [tuple(seeds[i : i + at_once]) for i in range(0, len(seeds), at_once)]
    rows: list[dict[str, Any]] = []
    with progress(f"retrieving and reversing, {len(seeds)} seeds") as advance:
        for number, group in enumerate(groups):

            def told(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(groups) * total)

            folder = None if workspace is None else workspace / f"seeds-{group[0]}-{group[-1]}"
            rows += _trained(config, group, folder, told)
    return pl.DataFrame(rows, schema=SCHEMA)


def _trained(config: Config, seeds: Sequence[int], workspace: Path | None, told: Any) -> list[dict[str, Any]]:
    import torch

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import initial_weights
    from oneway.training.fit import fit, last_tokens_loss
    from oneway.training.optimisers import Optimisation

    training, worlds = config.training, [recollections(config.pairs, seed=seed) for seed in seeds]
    architecture = Architecture(
        vocab=worlds[0].vocabulary_size,
        context=3 * config.candidates + 3,
        unembedding="untied",
        **asdict(config.model),
    )

    def batches(step: int) -> "Batch":
        drawn = []
        for world, seed in zip(worlds, seeds, strict=True):
            rng = np.random.default_rng((seed, 1 + step))
            if step % 2 == 0:
                drawn.append(facts_drawn(world, training.batch, rng))
            else:
                drawn.append(episodes_drawn(world, training.batch, config.candidates, rng))
        return asked(torch.from_numpy(np.stack(drawn)), read=1)

    def evaluate(weights: "Weights", step: int) -> list[dict[str, Any]]:
        found = read(weights, architecture, worlds, config.candidates)
        return [
            {"seed": seed, "step": step, "quantity": quantity, "value": float(values[i])}
            for quantity, values in found.items()
            for i, seed in enumerate(seeds)
        ]

    return fit(
        initial_weights(architecture, seeds),
        architecture,
        batches,
        Optimisation(steps=training.steps, learning_rate=training.learning_rate, warm_up=0.02),
        objective=last_tokens_loss,
        evaluate=evaluate,
        evaluate_every=max(1, training.steps // training.evaluations),
        workspace=workspace,
        fingerprint=str(asdict(config) | {"seeds": list(seeds)}),
        progress=told,
    ).curves


def scores_of(weights: "Weights", a: "Architecture", prompts: np.ndarray) -> np.ndarray:
    """Logits after every prompt: [seed prompt pos] → [seed prompt vocab]."""
    import torch

    from oneway.models.transformer import residual_at_end, unembed

    with torch.no_grad():
        resid = residual_at_end(weights, torch.from_numpy(prompts), a, 1)
        found: np.ndarray = unembed(weights, resid[:, :, 0], a).numpy()
    return found


def questions(facts: Sequence[int], candidates: int) -> tuple[np.ndarray, np.ndarray]:
    """Every fact asked with its neighbours as the other candidates: facts [question k], and where the right one is.

    With k = 2 every other fact is a candidate once; with more, the k − 1 facts that follow at each distance round the
    circle. The right one stands in every place equally often.
    """
    count = len(facts)
    rows, places = [], []
    for at in range(count):
        for shift in range(1, count):
            others = [facts[(at + shift + n) % count] for n in range(candidates - 1)]
            if facts[at] in others:
                continue
            for place in range(candidates):
                rows.append([*others[:place], facts[at], *others[place:]])
                places.append(place)
    return np.array(rows), np.array(places)


def read(
    weights: "Weights", a: "Architecture", worlds: Sequence[Recollections], candidates: int
) -> dict[str, np.ndarray]:
    """Shares of right answers, per seed: among all tokens, but `direct` among the candidates.

    `direct_of_all` is `direct` among all tokens, `retrieved_of_candidates` is `retrieved` among the candidates.
    """
    facts, place = questions(worlds[0].one_way.tolist(), candidates)
    x, y = (np.stack([getattr(w, n)[facts] for w in worlds]) for n in "xy")  # [seed question k]
    right, asked_y = (np.take_along_axis(each, place[None, :, None], -1)[..., 0] for each in (x, y))

    written = scores_of(weights, a, np.stack([forward(w.x, w.y)[:, :-1] for w in worlds])).argmax(-1)
    own = np.stack([each[facts] for each in written])  # what the model itself writes of every candidate
    one_way = worlds[0].one_way
    known = written == np.stack([w.y for w in worlds])

    def after(stated_y: np.ndarray) -> np.ndarray:
        prompts = [
            episode(xs, ys, place)[:, :-2] for xs, ys in zip(x, stated_y, strict=True)
        ]  # up to ← of the question
        return scores_of(weights, a, np.concatenate([np.stack(prompts), asked_y[..., None]], -1))

    def share(answer: np.ndarray) -> np.ndarray:
        found: np.ndarray = (answer == right).mean(1)
        return found

    def among(scores: np.ndarray) -> np.ndarray:
        best = np.take_along_axis(scores, x, -1).argmax(-1)
        return np.take_along_axis(x, best[..., None], -1)[..., 0]

    direct = scores_of(
        weights, a, np.stack([reverse(r, q)[:, :-1] for r, q in zip(right, asked_y, strict=True)])
    )
    both = slice(0, worlds[0].both_ways)
    recalled = scores_of(
        weights, a, np.stack([reverse(w.x[both], w.y[both])[:, :-1] for w in worlds])
    ).argmax(-1)
    retrieved = after(own)
    found = {
        "forward": known[:, one_way].mean(1),
        "both_ways_direct": (recalled == np.stack([w.x[both] for w in worlds])).mean(1),
        "direct": share(among(direct)),
        "direct_of_all": share(direct.argmax(-1)),
        "stated": share(after(y).argmax(-1)),
        "retrieved": share(retrieved.argmax(-1)),
        "retrieved_of_candidates": share(among(retrieved)),
        "swapped": share(after(np.roll(y, 1, axis=-1)).argmax(-1)),
    }
    found["direct_over_chance"] = found["direct"] - 1 / candidates
    found["gain"] = found["retrieved"] - found["direct"]
    found["short_of_forward"] = found["forward"] - found["retrieved"]
    return found


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity at the last step, over the seeds that pass the gate, and how many they are."""
    final = curves.filter(pl.col("step") == pl.col("step").max())
    reading = final.filter((pl.col("quantity") == "stated") & (pl.col("value") >= READS))["seed"]
    count = float(len(reading))
    measured = {"seeds_that_read": Estimate(count, count, count, final["seed"].n_unique(), "seeds")}
    for (quantity,), rows in final.group_by("quantity", maintain_order=True):
        values = rows.filter(pl.col("seed").is_in(reading.implode())).sort("seed")["value"].to_numpy()
        measured[str(quantity)] = over_seeds(values, "probability")
    return measured


_SHOWN = {
    "forward": ("recalled\nforward", "forward"),
    "direct": ("reverse,\ndirectly (of\nk candidates)", "reverse"),
    "retrieved": ("reverse,\nafter its own\nstatements", "in_context"),
    "stated": ("reverse,\nafter true\nstatements", "in_context"),
    "swapped": ("reverse,\nafter swapped\nstatements", "reverse"),
}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Right answers through training, and at the end with every seed a dot."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    drawn = Figure(figsize=(11.5, 4.4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    final = curves.filter(pl.col("step") == pl.col("step").max())
    of_seed = final.sort("seed").partition_by("quantity", as_dict=True)
    ends = {str(quantity): rows["value"].to_numpy() for (quantity,), rows in of_seed.items()}
    reads = ends["stated"] >= READS
    chance = float((ends["direct"] - ends["direct_over_chance"]).mean())
    for quantity in ("forward", "retrieved", "direct"):
        label, direction = _SHOWN[quantity]
        tone = DIRECTIONS[direction].light
        wide = (
            curves.filter(pl.col("quantity") == quantity)
            .pivot("seed", index="step", values="value")
            .sort("step")
        )
        steps, values = wide["step"].to_numpy(), wide.drop("step").to_numpy()
        left.plot(steps, values, color=tone, alpha=0.25, linewidth=0.8)
        left.plot(steps, values.mean(1), color=tone, linewidth=2.2, label=label.replace("\n", " "))
    left.set(xlabel="step", ylabel="share right", ylim=(-0.02, 1.04))
    left.set_title("Facts known forward only", loc="left", fontsize=10)
    for place, (quantity, (_, direction)) in enumerate(_SHOWN.items()):
        tone = DIRECTIONS[direction].light
        across = place + np.linspace(-0.2, 0.2, len(reads))
        right.bar(place, measured[quantity].mean if reads.any() else 0.0, 0.7, color=tone, alpha=0.45)
        for kind, filled in ((reads, tone), (~reads, "none")):
            right.scatter(
                across[kind], ends[quantity][kind], s=18, facecolors=filled, edgecolors=tone, zorder=3
            )
    right.set_xticks(range(len(_SHOWN)), [label for label, _ in _SHOWN.values()], fontsize=8)
    right.set(ylim=(-0.02, 1.04))
    right.set_title(
        f"Every seed a dot; bars: the {reads.sum()} of {len(reads)} seeds that can read (filled)",
        loc="left",
        fontsize=10,
    )
    for axes in (left, right):
        axes.axhline(chance, color="0.35", linestyle="--", linewidth=1.2, label=f"chance, {chance:.2g}")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    return drawn


STUDY = Study(
    name="retrieve-then-reverse",
    title="Does stating a fact first make its reverse answerable?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
