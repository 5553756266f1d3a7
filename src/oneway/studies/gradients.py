"""A gradient step on x→y does nothing for y←x, while it does for a paraphrase of x→y.

Each pair of the world can be told forward, in other words, and in reverse. Most pairs are trained in all forms, so that
the model could learn what the forms have to do with one another; the pairs measured are kept out of training. For each
of them: the gradient of the loss of its forward sentence, of the same sentence in another context, of its paraphrase
and of its reverse, at checkpoints through training. The measure of an overlap is its excess: the cosine between the
forward gradient of pair i and the other gradient of the same pair, less that with the other gradient of pair j ≠ i.
A small step along each forward gradient then shows what it truly does to every other loss.

Source: Neel Nanda's thread on the reversal curse (2023), "no gradient from one to the other". The paraphrase as
control, the groups of parameters and the checkpoints are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.paraphrases import FILLERS, FORWARD, PARAPHRASE, REVERSE, Paraphrases, paraphrases, told
from oneway.studies.sentence_training import asked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

SOURCE = "Nanda 2023, thread on the reversal curse"
KINDS = ("forward", "again", "paraphrase", "reverse")
UNEMBEDDINGS: tuple[Literal["untied", "tied"], ...] = ("untied", "tied")
GROUPS = ("all", "embedding", "attention pattern", "attention values", "mlp in", "mlp out", "unembedding")
SCHEMA = {"seed": pl.Int64, "step": pl.Int64, "unembedding": pl.String, "group": pl.String}
SCHEMA |= {"quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A GPT-2 style decoder of this size."""

    layers: int = 1
    width: int = 64
    heads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """AdamW on all trained sentences at once; gradients are taken at the start, every `every` steps and at the end."""

    steps: int = 120
    learning_rate: float = 0.005
    every: int = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`pairs` of each world, a third of them kept out.

    `drop`: by how many nats a step on a fact lowers the loss of that fact, to first order.
    """

    pairs: int = 60
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    drop: float = 0.01
    seeds: tuple[int, ...] = tuple(range(10))


def quick() -> Config:
    """One layer of width 64: seconds."""
    return Config()


def standard() -> Config:
    """Two layers of width 128, ninety pairs."""
    return Config(pairs=90, model=Model(layers=2, width=128), training=Training(steps=300, every=100))


def paper() -> Config:
    """Twelve layers of width 768 (the thread has no published size); a GPU."""
    return Config(
        pairs=300,
        model=Model(layers=12, width=768, heads=12),
        training=Training(steps=2000, learning_rate=3e-4, every=200),
    )


def _claims(unembedding: str, id: str, where: str) -> tuple[Claim, Claim]:
    def name(quantity: str) -> str:
        return f"{unembedding}_{quantity}"

    cosines = [name(f"{kind}_excess") for kind in ("again", "paraphrase", "reverse")]
    again, paraphrase, reverse = cosines
    moved, told_again = name("reverse_transfer"), name("paraphrase_transfer")
    difference = name("reverse_transfer_less_a_tenth")
    trained, loss = name("trained_nll"), name("least_loss")

    def learnt(m: Measured) -> bool:
        return m[trained].high < 0.1 and m[loss].low > 1e-3

    shared = (
        "Control: the trained sentences end at a mean loss below 0.1 nats and no loss measured is below 0.001"
    )
    return (
        Claim(
            id=id,
            text="The gradient of a fact does not lower the loss of its reverse, while it does that of its "
            f"paraphrase{where}.",
            source=SOURCE,
            rule=f"{shared}; lower bounds of the excess cosine with the same fact in another context and with its "
            "paraphrase above 0.1. Supports: the interval of the excess cosine with the reverse reaches down to 0 or "
            "below and stays under 0.05. Refutes: its lower bound is above 0. Means over all checkpoints.",
            control=lambda m: learnt(m) and m[again].low > 0.1 and m[paraphrase].low > 0.1,
            supports=lambda m: m[reverse].low <= 0 and m[reverse].high < 0.05,
            refutes=lambda m: m[reverse].low > 0,
            reads=(trained, loss, *cosines),
        ),
        Claim(
            id=f"{id}.step",
            text="After a small step on a fact, its reverse has gained less than a tenth of what its paraphrase has "
            f"gained, beyond what unrelated facts gain{where}.",
            source=f"{SOURCE}; as a true change of the loss, and our tenth",
            rule=f"{shared}; lower bound of the paraphrase's gain above 0.1 of the fact's own first-order gain. "
            "Supports: upper bound of (the reverse's gain − a tenth of the paraphrase's) below 0. Refutes: its lower "
            "bound is above 0. Gains are beyond those of unrelated facts, means over all checkpoints.",
            control=lambda m: learnt(m) and m[told_again].low > 0.1,
            supports=lambda m: m[difference].high < 0,
            refutes=lambda m: m[difference].low > 0,
            reads=(trained, loss, told_again, moved, difference),
        ),
    )


CLAIMS = (
    *_claims("untied", "N3", ""),
    *_claims("tied", "N3.tied", ", where the embedding is the unembedding's transpose"),
    Claim(
        id="N3.first-order",
        text="The inner product of two gradients foretells what a small step on one fact does to the other.",
        source="ours: what makes a gradient's overlap a measure of an effect",
        rule="Control: lower bound of the true gain of the same fact in another context above 0.1 of the fact's own "
        "first-order gain. Supports: upper bound of the mean absolute error of the first-order gains, in that unit, "
        "below 0.1. Refutes: its lower bound is above 0.1.",
        control=lambda m: m["untied_again_transfer"].low > 0.1,
        supports=lambda m: m["untied_first_order_error"].high < 0.1,
        refutes=lambda m: m["untied_first_order_error"].low > 0.1,
        reads=("untied_again_transfer", "untied_first_order_error"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed with either unembedding; a row per seed, step, unembedding, group of parameters and quantity."""
    from oneway.report.progress import progress

    rows: list[dict[str, Any]] = []
    with progress(f"gradients of {len(seeds)} seeds") as advance:
        for number, unembedding in enumerate(UNEMBEDDINGS):

            def told_of(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(UNEMBEDDINGS) * total)

            folder = None if workspace is None else workspace / f"{unembedding}-{seeds[0]}-{seeds[-1]}"
            rows += _trained(config, unembedding, seeds, folder, told_of)
    return pl.DataFrame(rows, schema=SCHEMA)


def _trained(
    config: Config,
    unembedding: Literal["untied", "tied"],
    seeds: Sequence[int],
    workspace: Path | None,
    told_of: Any,
) -> list[dict[str, Any]]:
    import torch

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import initial_weights, seed_of
    from oneway.training.fit import fit, last_tokens_loss
    from oneway.training.optimisers import Optimisation

    worlds = [paraphrases(config.pairs, seed=seed) for seed in seeds]
    architecture = Architecture(
        vocab=worlds[0].vocabulary_size,
        context=3,
        layers=config.model.layers,
        width=config.model.width,
        heads=config.model.heads,
        mlp=4 * config.model.width,
        unembedding=unembedding,
    )
    everything = asked(torch.from_numpy(np.stack([world.train for world in worlds])), read=1)

    def evaluate(weights: "Weights", step: int) -> list[dict[str, Any]]:
        trained = last_tokens_loss(weights, architecture, everything).tolist()
        found = []
        for index, seed in enumerate(seeds):
            measured = overlaps(seed_of(weights, index), architecture, worlds[index], config.drop)
            measured[("all", "trained_nll")] = trained[index]
            place = {"seed": seed, "step": step, "unembedding": unembedding}
            found += [place | {"group": g, "quantity": q, "value": v} for (g, q), v in measured.items()]
        return found

    fitted = fit(
        initial_weights(architecture, seeds),
        architecture,
        lambda step: everything,
        Optimisation(steps=config.training.steps, learning_rate=config.training.learning_rate),
        objective=last_tokens_loss,
        evaluate=evaluate,
        evaluate_every=config.training.every,
        workspace=workspace,
        fingerprint=str(asdict(config) | {"seeds": list(seeds)}),
        progress=told_of,
    )
    return fitted.curves


def sentences_asked(world: Paraphrases) -> np.ndarray:
    """The held-out pairs in each of `KINDS`: [kind pair 4]."""
    pairs = world.held_out
    return np.stack(
        [
            told(pairs, FORWARD),
            told(pairs, FORWARD, FILLERS[1]),
            told(pairs, PARAPHRASE),
            told(pairs, REVERSE),
        ]
    )


def gradients_of(weights: "Weights", a: "Architecture", sentences: Any) -> "Weights":
    """The gradient of −ln p(last token) of each sentence: [sentence …] for each of one seed's weights.

    Each sentence has its own copy of the weights on the seed axis, so one backward pass gives all gradients apart.
    """
    import torch

    from oneway.training.fit import last_tokens_loss

    count = len(sentences)
    copies = {n: w.detach().expand(count, *w.shape[1:]).clone().requires_grad_() for n, w in weights.items()}
    with torch.enable_grad():
        last_tokens_loss(copies, a, asked(sentences.unsqueeze(1), read=1)).sum().backward()
    return {n: w.grad for n, w in copies.items() if w.grad is not None}


def grouped(gradients: "Weights") -> dict[str, list[Any]]:
    """The gradients by group of parameters, each [sentence parameter]; norms are in the group "all" alone."""
    groups: dict[str, list[Any]] = {group: [] for group in GROUPS}
    for name, gradient in gradients.items():
        flat = gradient.flatten(1)
        groups["all"].append(flat)
        short = name.rsplit(".", 1)[-1]
        if short in ("W_QKV", "b_QKV"):
            pattern, values = gradient.tensor_split([2 * gradient.shape[-1] // 3], dim=-1)
            groups["attention pattern"].append(pattern.flatten(1))
            groups["attention values"].append(values.flatten(1))
        elif group := _GROUP_OF.get(short):
            groups[group].append(flat)
    return {group: parts for group, parts in groups.items() if parts}


_GROUP_OF = {"W_E": "embedding", "W_pos": "embedding", "W_U": "unembedding"}
_GROUP_OF |= {"W_O": "attention values", "b_O": "attention values"}
_GROUP_OF |= {"W_in": "mlp in", "b_in": "mlp in", "W_out": "mlp out", "b_out": "mlp out"}


def overlaps(
    weights: "Weights", a: "Architecture", world: Paraphrases, drop: float
) -> dict[tuple[str, str], float]:
    """What the curves hold of one seed, by group and quantity.

    With forward gradients f_i and those of another kind k_j: `…_cosine` is the mean of cos(f_i, k_i),
    `…_unrelated_cosine` that of cos(f_i, k_j) over j ≠ i, `…_excess` their difference. A step on pair i moves the
    weights by −η f_i with η = drop/‖f_i‖². `…_first_order` is the gain f_i·k_i/‖f_i‖² and `…_transfer` the true gain
    (L_before − L_after)/drop, both of the same pair less the mean of the others; `first_order_error` is the mean
    absolute difference of the two over all pairs and kinds.
    """
    import torch

    sentences = torch.from_numpy(sentences_asked(world))
    kinds, pairs, _ = sentences.shape
    flat = sentences.flatten(0, 1)
    gradients = gradients_of(weights, a, flat)
    found: dict[tuple[str, str], float] = {}
    for group, parts in grouped(gradients).items():
        # [pair, kind pair]: every forward gradient with every gradient.
        products = sum((part[:pairs].double() @ part.double().T) for part in parts)
        norms = sum(part.double().square().sum(1) for part in parts).sqrt()
        cosines = products / (norms[:pairs, None] * norms).clamp_min(1e-30)
        for kind, block in zip(KINDS, cosines.view(pairs, kinds, pairs).unbind(1), strict=True):
            own, others = _own_and_others(block)
            found[group, f"{kind}_cosine"], found[group, f"{kind}_unrelated_cosine"] = own, others
            found[group, f"{kind}_excess"] = own - others
            found[group, f"{kind}_inner"] = float(
                products.view(pairs, kinds, pairs)[:, KINDS.index(kind)].diagonal().mean()
            )
        if group == "all":
            first_order = (products / norms[:pairs, None] ** 2).view(pairs, kinds, pairs)
    before, gains = _gains(weights, a, flat, gradients, drop)
    gains = gains.view(pairs, kinds, pairs)
    found["all", "least_loss"] = float(before.min())
    found["all", "first_order_error"] = float((gains - first_order).abs().mean())
    for index, kind in enumerate(KINDS):
        found["all", f"{kind}_loss"] = float(before.view(kinds, pairs)[index].mean())
        for name, table in (("first_order", first_order), ("transfer", gains)):
            own, others = _own_and_others(table[:, index])
            found["all", f"{kind}_{name}"] = own - others
    return found


def _own_and_others(table: Any) -> tuple[float, float]:
    """The mean of the diagonal, and of everything else, of a square table."""
    count = len(table)
    diagonal = table.diagonal()
    return float(diagonal.mean()), float((table.sum() - diagonal.sum()) / (count * (count - 1)))


def _gains(
    weights: "Weights", a: "Architecture", sentences: Any, gradients: "Weights", drop: float
) -> tuple[Any, Any]:
    """Losses before any step [sentence], and (L_before − L_after)/drop after each pair's step [pair sentence]."""
    import torch

    pairs = len(sentences) // len(KINDS)
    squared = sum(g[:pairs].flatten(1).double().square().sum(1) for g in gradients.values())
    size = drop / torch.as_tensor(squared)
    with torch.no_grad():
        stepped = {
            n: w.double() - size.view(-1, *[1] * (w.dim() - 1)) * gradients[n][:pairs].double()
            for n, w in weights.items()
        }
        before = _losses({n: w.double() for n, w in weights.items()}, a, sentences)[0]
        return before, (before - _losses(stepped, a, sentences)) / drop


def _losses(weights: "Weights", a: "Architecture", sentences: Any) -> Any:
    """−ln p(last token) under each seed's weights: [seed sentence]."""
    from oneway.models.transformer import residual_at_end, unembed

    seeds = len(weights["W_E"])
    resid = residual_at_end(weights, sentences[:, :-1].expand(seeds, -1, -1), a, 1)
    logprobs = unembed(weights, resid[:, :, 0], a).log_softmax(-1)
    return -logprobs.gather(-1, sentences[:, -1:].expand(seeds, -1, -1)).squeeze(-1)


def measure(curves: pl.DataFrame) -> Measured:
    """Means over all checkpoints of what was measured over all parameters, and of every group's excess, over seeds.

    `trained_nll` is that of the last checkpoint, `least_loss` the least of all.
    """
    measured = {}
    for (unembedding, group, quantity), rows in curves.group_by(
        "unembedding", "group", "quantity", maintain_order=True
    ):
        if group != "all" and not quantity.endswith("_excess"):
            continue
        by_seed = rows.sort("step").group_by("seed", maintain_order=True)
        how = {"trained_nll": pl.last("value"), "least_loss": pl.min("value")}.get(quantity, pl.mean("value"))
        values = by_seed.agg(how).sort("seed")["value"].to_numpy()
        name = quantity if group == "all" else f"{group}_{quantity}".replace(" ", "_")
        measured[f"{unembedding}_{name}"] = over_seeds(values, _unit(quantity))
    for unembedding in curves["unembedding"].unique(maintain_order=True):
        gains = {
            kind: _per_seed(curves, unembedding, f"{kind}_transfer") for kind in ("reverse", "paraphrase")
        }
        measured[f"{unembedding}_reverse_transfer_less_a_tenth"] = over_seeds(
            gains["reverse"] - 0.1 * gains["paraphrase"], _unit("transfer")
        )
    return measured


def _unit(quantity: str) -> str:
    if quantity.endswith(("loss", "nll")):
        return "nats"
    if quantity.endswith("inner"):
        return "nats² per squared weight"
    return "share of own gain" if quantity.endswith(("transfer", "order", "error")) else "cosine"


def _per_seed(curves: pl.DataFrame, unembedding: str, quantity: str) -> np.ndarray:
    rows = curves.filter(
        (pl.col("unembedding") == unembedding) & (pl.col("quantity") == quantity) & (pl.col("group") == "all")
    )
    means: np.ndarray = rows.group_by("seed").agg(pl.mean("value")).sort("seed")["value"].to_numpy()
    return means


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Excess cosines and true gains through training (untied), and the excess by group of parameters."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11.5, 7.2), layout="constrained")
    panels = drawn.subplots(2, 2)
    for row, unembedding in zip(panels, UNEMBEDDINGS, strict=True):
        _through_training(row[0], curves, unembedding)
        _by_group(row[1], measured, unembedding)
    panels[0, 0].legend(frameon=False)
    return drawn


def _tones() -> Mapping[str, str]:
    from oneway.report.palette import CYCLE, DIRECTIONS

    forward, reverse = DIRECTIONS["forward"].light, DIRECTIONS["reverse"].light
    return {"again": forward, "paraphrase": CYCLE[3].light, "reverse": reverse}


_LABELS = {"again": "same fact, other context", "paraphrase": "paraphrase", "reverse": "reverse"}


def _through_training(axes: "Axes", curves: pl.DataFrame, unembedding: str) -> None:
    chosen = curves.filter((pl.col("unembedding") == unembedding) & (pl.col("group") == "all"))
    for kind, tone in _tones().items():
        wide = (
            chosen.filter(pl.col("quantity") == f"{kind}_transfer")
            .pivot("seed", index="step", values="value")
            .sort("step")
        )
        steps, values = wide["step"].to_numpy(), wide.drop("step").to_numpy()
        axes.plot(steps, values, color=tone, alpha=0.25, linewidth=0.8)
        axes.plot(steps, values.mean(1), color=tone, linewidth=2.2, label=_LABELS[kind])
    axes.axhline(0, color="0.35", linestyle="--", linewidth=1.2)
    axes.set(xlabel="step of training", ylabel="gain ÷ the fact's own gain")
    axes.set_title(
        f"{unembedding}: what a step on a fact gains, beyond unrelated facts", loc="left", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)


def _by_group(axes: "Axes", measured: Measured, unembedding: str) -> None:
    prefixes = {g: "" if g == "all" else f"{g}_".replace(" ", "_") for g in GROUPS}
    present = [g for g in GROUPS if f"{unembedding}_{prefixes[g]}reverse_excess" in measured]
    places = np.arange(len(present))
    for offset, (kind, tone) in zip((-0.26, 0, 0.26), _tones().items(), strict=True):
        found = [measured[f"{unembedding}_{prefixes[g]}{kind}_excess"] for g in present]
        means = np.array([e.mean for e in found])
        bars = np.array([[e.mean - e.low for e in found], [e.high - e.mean for e in found]])
        axes.bar(places + offset, means, 0.26, color=tone, yerr=np.where(np.isfinite(bars), bars, 0))
    axes.axhline(0, color="0.35", linewidth=1)
    axes.set_xticks(
        places, [g.replace("attention ", "attn\n").replace(" ", "\n") for g in present], fontsize=8
    )
    axes.set_ylabel("excess cosine")
    axes.set_title(
        f"{unembedding}: overlap with the forward gradient, by parameters", loc="left", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)


STUDY = Study(
    name="gradients",
    title="Does learning a fact lower the loss of its reverse?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
