"""What a model trained on chains makes of them: premises, conclusions seen and held out, and two steps written out.

Shared by the studies `chain` and `related-tokens`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from oneway.evidence import Measured, over_seeds
from oneway.facts.chains import STEP, Chains
from oneway.facts.related_chains import RelatedChains
from oneway.studies.sentence_training import Decoder, Row, Schedule, Told, answers, grouped, trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

World = Chains | RelatedChains
SCHEMA = {
    "seed": pl.Int64,
    "epoch": pl.Int64,
    "world": pl.String,
    "quantity": pl.String,
    "value": pl.Float64,
}
QUANTITIES = {
    "train_nll": "trained sentences, nats",
    "trained_conclusions": "probability of the answer, conclusions that are trained",
    "premises": "probability of the answer, the two premises of triples whose conclusion is held out",
    "validation_nll": "held-out conclusions, nats",
    "validation_excess": "held-out conclusions, nats above uniform guessing over the vocabulary",
    "validation_probability": "probability of the answer, held-out conclusions",
    "validation_accuracy_over_chance": "held-out conclusions, share right among its type, minus chance",
    "rollout": "held-out triples whose two steps, written out, end at z, share",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One of a study's worlds by name, as a function of the seed."""

    name: str
    world: Callable[[int], World]


def curves_of(
    arms: Sequence[Arm],
    decoder: Decoder,
    schedule: Schedule,
    seeds: Sequence[int],
    workspace: Path | None,
    device: str,
) -> pl.DataFrame:
    """Train every seed in every arm; a row per seed, epoch, arm and quantity."""
    from oneway.report.progress import progress

    groups = [(arm, group) for arm in arms for group in grouped(seeds, schedule.seeds_at_once)]
    rows: list[Row] = []
    with progress(f"chains, {len(seeds)} seeds") as advance:
        for number, (arm, group) in enumerate(groups):

            def told_of_all(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(groups) * total)

            worlds = [arm.world(seed) for seed in group]
            probe = Probe(worlds, device)

            def evaluate(
                weights: "Weights",
                a: "Architecture",
                epoch: int,
                probe: Probe = probe,
                labels: tuple[str, tuple[int, ...]] = (arm.name, group),
            ) -> list[Row]:
                world, seeds = labels
                return [
                    {
                        "seed": seed,
                        "epoch": epoch,
                        "world": world,
                        "quantity": quantity,
                        "value": float(value),
                    }
                    for quantity, values in probe(weights, a).items()
                    for seed, value in zip(seeds, values, strict=True)
                ]

            told = Told(np.stack([w.train for w in worlds]), probe.read, worlds[0].vocabulary_size)
            rows += trained(
                told,
                group,
                decoder,
                schedule,
                evaluate,
                workspace=None if workspace is None else workspace / f"{arm.name}-{group[0]}-{group[-1]}",
                device=device,
                progress=told_of_all,
            )
    return pl.DataFrame(rows, schema=SCHEMA)


class Probe:
    """What the curves hold (`QUANTITIES`), measured over every sentence of every seed."""

    def __init__(self, worlds: Sequence[World], device: str = "cpu") -> None:
        import torch

        def stacked(parts: Sequence[np.ndarray]) -> Any:
            return torch.from_numpy(np.stack(parts)).to(device)

        first = worlds[0]
        held_out = [w.held_out.reshape(len(w.held_out), 3, -1) for w in worlds]
        self.read, self.vocabulary = held_out[0].shape[2], first.vocabulary_size
        self.candidates = first.candidates
        self.train = stacked([w.train for w in worlds])
        self.validation = stacked([w.validation for w in worlds])
        self.concluded = stacked([w.concluded for w in worlds])
        self.premises = stacked([(w.train_triple >= w.whole) & ~w.concluded for w in worlds])
        self.held_out = stacked(held_out)

    def __call__(self, weights: "Weights", a: "Architecture") -> "dict[str, Float[Tensor, ' seed']]":
        train, _ = answers(weights, a, self.train, self.read)
        validation, logprobs = answers(weights, a, self.validation, self.read)
        last = logprobs[:, :, -1, self.candidates]
        right = last.argmax(-1) + self.candidates.start == self.validation[:, :, -1]
        return {
            "train_nll": -train.mean(1),
            "trained_conclusions": _mean_where(train.exp(), self.concluded),
            "premises": _mean_where(train.exp(), self.premises),
            "validation_nll": -validation.mean(1),
            "validation_excess": -validation.mean(1) - self.read * math.log(self.vocabulary),
            "validation_probability": validation.exp().mean(1),
            "validation_accuracy_over_chance": right.float().mean(1) - 1 / last.shape[-1],
            "rollout": self._rollout(weights, a),
        }

    def _rollout(self, weights: "Weights", a: "Architecture") -> "Float[Tensor, ' seed']":
        """Share of held-out triples for which what the model says after `x →` gives z when asked `… →` in turn."""
        said = self.held_out[:, :, 0]
        for _ in range(2):
            said = _greedy(weights, a, said, self.read)
        return (said == self.held_out[:, :, 2]).all(-1).float().mean(1)


def _mean_where(values: Any, chosen: Any) -> Any:
    return (values * chosen).sum(1) / chosen.sum(1)


def _greedy(
    weights: "Weights", a: "Architecture", entity: "Int[Tensor, 'seed sentence length']", count: int
) -> "Int[Tensor, 'seed sentence count']":
    """The likeliest `count` tokens after `entity →`, one by one."""
    import torch

    from oneway.models.transformer import residual_at_end, unembed

    text = torch.cat((entity, torch.full_like(entity[:, :, :1], STEP)), dim=2)
    for _ in range(count):
        scores = unembed(weights, residual_at_end(weights, text, a, 1).flatten(1, 2), a)
        text = torch.cat((text, scores.argmax(-1).unsqueeze(-1)), dim=2)
    return text[:, :, -count:]


def measured_in(curves: pl.DataFrame, world: str) -> Measured:
    """Every quantity of one world at the last epoch, over seeds."""
    final = curves.filter((pl.col("world") == world) & (pl.col("epoch") == pl.col("epoch").max()))
    measured = {}
    for quantity in QUANTITIES:
        values = final.filter(pl.col("quantity") == quantity).sort("seed")["value"].to_numpy()
        unit = "nats" if quantity.endswith(("nll", "excess")) else "probability"
        measured[quantity] = over_seeds(values, unit)
    return measured


def draw(axes: "Axes", curves: pl.DataFrame, world: str, lines: Sequence[tuple[str, str, str]]) -> None:
    """Quantities through training as (quantity, label, colour): every seed a thin line, the mean bold."""
    for quantity, label, tone in lines:
        wide = (
            curves.filter((pl.col("world") == world) & (pl.col("quantity") == quantity))
            .pivot("seed", index="epoch", values="value")
            .sort("epoch")
        )
        epochs, values = wide["epoch"].to_numpy(), wide.drop("epoch").to_numpy()
        axes.plot(epochs, values, color=tone, alpha=0.25, linewidth=0.8)
        axes.plot(epochs, values.mean(1), color=tone, linewidth=2.2, label=label)
    axes.set(xlabel="epoch", xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
