"""In a bilinear model, learning x→y moves the loss of y→x no more than chance overlaps of embeddings do.

Embeddings v ~ N(0, I/d) are frozen; the logit of b after a is aᵀ Θ b, Θ starts at N(0, σ²). X and Y are disjoint
sets of n tokens, and the softmax runs over the other set. Pairs i ≥ 2 train in both directions, pair 1 in x→y
alone; its reverse is the question.

Source: Zhu et al. 2024, section 3, Theorems 1 and 2 (arXiv 2405.04669). Deviation: gradient flow is followed by
explicit steps of full-batch gradient descent on the mean loss; halving the step changes nothing that is reported.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_facts, over_seeds
from oneway.evidence.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

SOURCE = "Zhu et al. 2024, section 3 (arXiv 2405.04669)"
EPSILON = 0.05  # Theorem 1 is judged at this ε
ARMS = ("one way", "both ways")  # pair 1 trains in x→y alone, or in y→x too (the positive control)
SCHEMA = {
    "seed": pl.Int64,
    "step": pl.Float64,
    "arm": pl.String,
    "dimension": pl.Int64,
    "forward_loss": pl.Float64,
}
SCHEMA |= {"quantity": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """n pairs, the widths of the embeddings, the standard deviation of Θ at the start, and the flow.

    The flow ends where the forward loss of pair 1 reaches `stop` nats; `step` is its step in time.
    """

    pairs: int = 20
    dimensions: tuple[int, ...] = (16, 64, 256, 512)
    sigma: float = 1e-3
    stop: float = 0.05
    step: float = 5.0
    longest: int = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    flow: Flow = field(default_factory=Flow)
    seeds: tuple[int, ...] = tuple(range(60))


def quick() -> Config:
    """The sweep over d at n = 20: seconds."""
    return Config()


def standard() -> Config:
    """More pairs and wider embeddings, a smaller step."""
    return Config(flow=Flow(pairs=50, dimensions=(32, 64, 128, 256, 512, 1024, 2048), step=2.5))


def paper() -> Config:
    """The theorem's regime d ≫ n² as far as a machine goes (the paper has no such simulation)."""
    return Config(flow=Flow(pairs=100, dimensions=(128, 512, 2048, 8192), step=2.5))


CLAIMS = (
    Claim(
        id="Z1",
        text=f"At every time L_rev(t)/L_rev(0) ≥ (L(t)/L(0))^ε, at the widest embeddings with ε = {EPSILON:g}: "
        "learning x→y leaves the loss of y→x where it was.",
        source=f"{SOURCE}, Theorem 1",
        rule="Control: trained both ways, the reverse loss at the end is below 0.5 nats (upper bound over seeds). "
        f"Supports: lower bound of the share of seeds whose ε̂ stays at or below {EPSILON:g} is at or above 0.9. "
        "Refutes: its upper bound is below 0.9.",
        control=lambda m: m["both_ways_reverse_loss"].high < 0.5,
        supports=lambda m: m["share_within_epsilon"].low >= 0.9,
        refutes=lambda m: m["share_within_epsilon"].high < 0.9,
        reads=("both_ways_reverse_loss", "share_within_epsilon", "largest_epsilon"),
    ),
    Claim(
        id="Z1.reverse-loss",
        text="When the forward loss first reaches c, the reverse loss is still at least ln(n/2), at the widest "
        "embeddings.",
        source=f"{SOURCE}, Theorem 2",
        rule="Control: as Z1. Supports: lower bound of the share of seeds with L_rev ≥ ln(n/2) is at or above 0.9. "
        "Refutes: its upper bound is below 0.9.",
        control=lambda m: m["both_ways_reverse_loss"].high < 0.5,
        supports=lambda m: m["share_above_half_chance"].low >= 0.9,
        refutes=lambda m: m["share_above_half_chance"].high < 0.9,
        reads=("both_ways_reverse_loss", "share_above_half_chance", "reverse_loss_widest"),
    ),
    Claim(
        id="Z1.chance",
        text="With wide embeddings the reverse direction ends at chance, ln n; with narrow ones it ends above.",
        source=f"{SOURCE}; our reading of what d ≫ n leaves",
        rule="Control: as Z1. Supports: the interval of L_rev − ln n lies within 0.1 nats of 0 at the widest "
        "embeddings, and above 0 at the narrowest. Refutes: it lies outside 0.1 nats at the widest, or below 0 at the "
        "narrowest.",
        control=lambda m: m["both_ways_reverse_loss"].high < 0.5,
        supports=lambda m: (
            m["excess_widest"].low > -0.1 and m["excess_widest"].high < 0.1 and m["excess_narrowest"].low > 0
        ),
        refutes=lambda m: (
            m["excess_widest"].low > 0.1 or m["excess_widest"].high < -0.1 or m["excess_narrowest"].high < 0
        ),
        reads=("both_ways_reverse_loss", "excess_widest", "excess_narrowest"),
    ),
    Claim(
        id="Z1.gradients",
        text="The reason: the gradients of the two directions' losses overlap only by chance, |cos| falling with d.",
        source=f"{SOURCE}, proof of Theorem 1",
        rule="Control: lower bound of mean |cos| at the narrowest embeddings above 0.01, so overlap can be seen. "
        "Supports: upper bound over seeds of the slope of ln|cos(∇L, ∇L_rev)| over ln d is below −0.5. Refutes: its "
        "lower bound is above −0.5.",
        control=lambda m: m["overlap_narrowest"].low > 0.01,
        supports=lambda m: m["overlap_slope"].high < -0.5,
        refutes=lambda m: m["overlap_slope"].low > -0.5,
        reads=("overlap_slope", "overlap_widest", "overlap_narrowest"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Follow the flow for every width and arm; a row per seed, forward loss reached, and quantity.

    What is finished of a width is kept in the workspace.
    """
    from oneway.evidence.atomic import write_with
    from oneway.report.progress import progress

    parts = [(dimension, arm) for dimension in config.flow.dimensions for arm in ARMS]
    tables = []
    with progress(f"gradient flow of {len(seeds)} seeds") as advance:
        for number, (dimension, arm) in enumerate(parts):
            kept = None if workspace is None else workspace / f"{dimension}-{arm.replace(' ', '-')}.parquet"
            if kept is not None and kept.exists():
                tables.append(pl.read_parquet(kept))
            else:
                tables.append(_follow(config.flow, dimension, arm, seeds))
                if kept is not None:
                    write_with(kept, tables[-1].write_parquet)
            advance(number + 1, len(parts))
    return pl.concat(tables)


def levels(flow: Flow) -> np.ndarray:
    """The forward losses at which the flow is read, in nats: from 0.95 ln n down to `stop`, evenly in the logarithm."""
    return np.geomspace(0.95 * math.log(flow.pairs), flow.stop, 24)


def _follow(flow: Flow, dimension: int, arm: str, seeds: Sequence[int]) -> pl.DataFrame:
    """All seeds of one width and arm, in batches of bounded memory, each until every seed has reached the end."""
    at_once = max(1, min(len(seeds), (1 << 26) // (dimension * (dimension + 4 * flow.pairs))))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(seeds), at_once):
        rows += _Flow(flow, dimension, arm, seeds[start : start + at_once]).rows()
    return pl.DataFrame(rows, schema=SCHEMA)


class _Flow:
    """Gradient descent on Θ, in the coordinates in which it is small.

    With V = [X; Y] of shape [2n, d] the logits are M = V Θ Vᵀ, a gradient is Vᵀ A V with A [2n, 2n], and a step
    ΔΘ = η Vᵀ A V changes M by η K A K with K = V Vᵀ: the same flow, whose cost does not depend on d.
    """

    def __init__(self, flow: Flow, dimension: int, arm: str, seeds: Sequence[int]) -> None:
        import torch

        self.flow, self.n = flow, flow.pairs
        self.part, self.seeds = (arm, dimension), tuple(seeds)
        drawn = [_start(flow, dimension, seed) for seed in seeds]
        self.gram = torch.stack([gram for gram, _ in drawn])
        self.logits = torch.stack([logits for _, logits in drawn])
        trained = torch.ones(2 * self.n, dtype=torch.float64)  # 0 where no sentence begins with the token
        if arm == "one way":
            trained[self.n] = 0.0  # y₁ → x₁
        self.weight = trained / trained.sum()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Follow the flow; a row per seed, level and quantity, read at the first step at or below the level.

        Raises FloatingPointError where a seed does not reach the end in `longest` steps.
        """
        wanted = levels(self.flow)
        at = np.zeros(len(self.seeds), dtype=int)  # the next level of each seed
        live = np.arange(len(self.seeds))
        began = self._losses()
        for step in range(1, self.flow.longest + 1):
            self.logits = self.logits + self.flow.step * (self.gram @ self._pull() @ self.gram)
            forward, reverse = self._losses()
            for place in np.flatnonzero(forward <= wanted[at[live]]).tolist():
                seed = live[place]
                start = (float(began[0][seed]), float(began[1][seed]))
                found = self._found(place, (float(forward[place]), float(reverse[place])), start)
                reached = int(np.searchsorted(-wanted, -forward[place], side="right"))
                for level, (quantity, value) in product(wanted[at[seed] : reached], found.items()):
                    time = step * self.flow.step
                    yield dict(
                        zip(SCHEMA, (self.seeds[seed], time, *self.part, level, quantity, value), strict=True)
                    )
                at[seed] = reached
            going = at[live] < len(wanted)
            if not going.any():
                return
            if not going.all():
                live, self.gram, self.logits = live[going], self.gram[going], self.logits[going]
        raise FloatingPointError(
            f"{self.part}: {len(live)} seeds did not reach {self.flow.stop} nats in {self.flow.longest} steps: "
            "raise `longest`, or the step"
        )

    def _pull(self) -> "Tensor":
        """A, the negative gradient of the mean loss with respect to the logits: weight · (target − probability)."""
        import torch

        n = self.n
        eye = torch.eye(n, dtype=torch.float64)
        pull = torch.zeros_like(self.logits)
        pull[:, :n, n:] = eye - self.logits[:, :n, n:].softmax(-1)
        pull[:, n:, :n] = eye - self.logits[:, n:, :n].softmax(-1)
        return pull * self.weight[:, None]

    def _losses(self) -> tuple[np.ndarray, np.ndarray]:
        """−ln p(y₁|x₁) and −ln p(x₁|y₁) of every seed, in nats."""
        forward = -self.logits[:, 0, self.n :].log_softmax(-1)[:, 0]
        reverse = -self.logits[:, self.n, : self.n].log_softmax(-1)[:, 0]
        return forward.numpy(), reverse.numpy()

    def _overlap(self, place: int) -> float:
        """cos(∇L, ∇L_rev) with respect to Θ, for one seed: ⟨x₁ u ᵀ, y₁ vᵀ⟩ = (x₁·y₁)(u·v), all through K."""
        import torch

        n, gram, logits = self.n, self.gram[place], self.logits[place]
        u, v = torch.zeros(2 * n, dtype=torch.float64), torch.zeros(2 * n, dtype=torch.float64)
        u[n:], v[:n] = -logits[0, n:].softmax(-1), -logits[n, :n].softmax(-1)
        u[n] += 1
        v[0] += 1
        length = (gram[0, 0] * gram[n, n] * (u @ gram @ u) * (v @ gram @ v)).sqrt()
        return float(gram[0, n] * (u @ gram @ v) / length)

    def _found(self, place: int, now: tuple[float, float], start: tuple[float, float]) -> dict[str, float]:
        """What is read of one seed; `now` and `start` are its forward and reverse loss in nats."""
        return {
            "reverse_loss": now[1],
            "reverse_excess": now[1] - math.log(self.n),
            "epsilon": math.log(now[1] / start[1]) / math.log(now[0] / start[0]),
            "overlap": self._overlap(place),
        }


def _start(flow: Flow, dimension: int, seed: int) -> tuple["Tensor", "Tensor"]:
    """K and the first M of one seed, which do not depend on the seeds beside it."""
    import torch

    generator = torch.Generator().manual_seed(1_000_003 * dimension + seed)
    shape = (2 * flow.pairs, dimension)
    vectors = torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(dimension)
    theta = flow.sigma * torch.randn((dimension, dimension), generator=generator, dtype=torch.float64)
    return vectors @ vectors.T, vectors @ theta @ vectors.T


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity over seeds, at the end of the flow and, for ε̂, at its worst moment."""
    end = pl.col("forward_loss") == curves["forward_loss"].min()
    one_way = curves.filter(pl.col("arm") == ARMS[0])
    widths = sorted(one_way["dimension"].unique())
    narrow, wide = widths[0], widths[-1]

    def of(quantity: str, width: int, arm: str = ARMS[0]) -> np.ndarray:
        chosen = curves.filter(
            end & (pl.col("arm") == arm) & (pl.col("dimension") == width) & (pl.col("quantity") == quantity)
        )
        return chosen.sort("seed")["value"].to_numpy()

    worst = (
        one_way.filter((pl.col("quantity") == "epsilon") & (pl.col("dimension") == wide))
        .group_by("seed")
        .agg(pl.col("value").max())["value"]
        .to_numpy()
    )
    measured = {
        "share_within_epsilon": over_facts((worst <= EPSILON).astype(float), "probability"),
        "largest_epsilon": over_seeds(worst),
        "share_above_half_chance": over_facts(
            (of("reverse_excess", wide) >= -math.log(2)).astype(float), "probability"
        ),
        "reverse_loss_widest": over_seeds(of("reverse_loss", wide), "nats"),
        "excess_widest": over_seeds(of("reverse_excess", wide), "nats"),
        "excess_narrowest": over_seeds(of("reverse_excess", narrow), "nats"),
        "both_ways_reverse_loss": over_seeds(of("reverse_loss", wide, ARMS[1]), "nats"),
        "overlap_narrowest": over_seeds(np.abs(of("overlap", narrow)), "|cos|"),
        "overlap_widest": over_seeds(np.abs(of("overlap", wide)), "|cos|"),
        "overlap_slope": _slope(widths, [of("overlap", width) for width in widths]),
    }
    return measured | {
        f"reverse_loss_d{width}": over_seeds(of("reverse_loss", width), "nats") for width in widths
    }


def _slope(widths: Sequence[int], overlaps: Sequence[np.ndarray]) -> Estimate:
    """The slope of ln|cos| over ln d, fitted for every seed, over seeds."""
    x = np.log(widths) - np.mean(np.log(widths))
    y = np.log(np.abs(np.stack(overlaps)))
    return over_seeds(x @ y / (x @ x), "ln |cos| per ln d")


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """The phase picture, the reverse loss at the end over d, and the overlap of the two gradients over d."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 3.8), layout="constrained")
    phase, ends, overlaps = drawn.subplots(1, 3)
    chance = measured["reverse_loss_widest"].mean - measured["excess_widest"].mean
    one_way = curves.filter(pl.col("arm") == ARMS[0])
    _draw_phase(phase, one_way, chance)
    _draw_over_width(ends, one_way, "reverse_loss")
    ends.axhline(chance, color="0.35", linestyle="--", linewidth=1.2, label=f"chance, ln n = {chance:.2f}")
    ends.set(ylabel="reverse loss at the end, nats", ylim=(0, None))
    ends.set_title("Reverse loss, every seed a point", loc="left")
    ends.legend(frameon=False)
    _draw_over_width(overlaps, one_way, "overlap")
    widths = np.array(sorted(one_way["dimension"].unique()))
    middle = measured["overlap_narrowest"].mean * widths[0]
    overlaps.plot(widths, middle / widths, color="0.35", linestyle="--", linewidth=1.2, label="1/d")
    overlaps.set(ylabel="|cos(∇L, ∇L_rev)|", yscale="log")
    overlaps.set_title("Overlap of the two gradients", loc="left")
    overlaps.legend(frameon=False)
    for axes in (phase, ends, overlaps):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _draw_phase(axes: "Axes", one_way: pl.DataFrame, chance: float) -> None:
    """Forward loss (falling to the right) against the mean reverse loss, a line and a band of seeds per width."""
    from oneway.report.palette import CYCLE

    reverse = one_way.filter(pl.col("quantity") == "reverse_loss")
    for place, width in enumerate(sorted(reverse["dimension"].unique())):
        paths = reverse.filter(pl.col("dimension") == width).group_by("forward_loss").agg(
            pl.col("value").quantile(0.5).alias("middle"),
            pl.col("value").quantile(0.1).alias("low"),
            pl.col("value").quantile(0.9).alias("high"),
        ).sort("forward_loss")  # fmt: skip
        x, tone = paths["forward_loss"].to_numpy(), CYCLE[place % len(CYCLE)].light
        axes.fill_between(x, paths["low"], paths["high"], color=tone, alpha=0.15, linewidth=0)
        axes.plot(x, paths["middle"], color=tone, linewidth=2, label=f"d = {width}")
    axes.axhline(chance, color="0.35", linestyle="--", linewidth=1.2)
    axes.set(
        xlabel="forward loss, nats (training runs to the right)", ylabel="reverse loss, nats", xscale="log"
    )
    axes.invert_xaxis()
    axes.set_ylim(0, None)
    axes.set_title("Median of seeds; band: 80% of them", loc="left")
    axes.legend(frameon=False)


def _draw_over_width(axes: "Axes", one_way: pl.DataFrame, quantity: str) -> None:
    """Every seed's value at the end over d, and the median of each width."""
    from oneway.report.palette import DIRECTIONS

    end = one_way.filter(
        (pl.col("forward_loss") == pl.col("forward_loss").min()) & (pl.col("quantity") == quantity)
    )
    tone = DIRECTIONS["reverse"].light
    values = end["value"].abs()
    axes.plot(end["dimension"], values, ".", color=tone, alpha=0.35, markersize=5, markeredgewidth=0)
    middle = end.group_by("dimension").agg(pl.col("value").abs().median()).sort("dimension")
    axes.plot(
        middle["dimension"], middle["value"], "o-", color=tone, linewidth=1.6, markersize=5, label="median"
    )
    axes.set_xscale("log", base=2)
    widths = sorted(one_way["dimension"].unique())
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("d, width of the embeddings")


STUDY = Study(
    name="bilinear",
    title="In a bilinear model, does learning x→y teach y→x?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
