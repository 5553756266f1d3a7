"""One attention layer learns x→y and nothing of y→x, and both steps of a chain and nothing of its conclusion.

The reparametrised transformer: with one-hot tokens X of a sentence x₁ r, attention b = softmax(X Zᵀ r) over both, and
p = softmax(Yᵀ LN(Xᵀ b)), LN(v) = v/‖v‖, where Z = U W_Q W_Kᵀ Uᵀ and Y = U W_Vᵀ Uᵀ are trained themselves by SGD on
single sentences, Y far faster than Z. Beside it ordinary layers with W_Q, W_K, W_V and a tied embedding U, trained by
Adam, to see where the simplification holds: narrow ones, whose embeddings overlap, and wide ones, where they less do.

Source: Zhu et al. 2024, section 4, Theorems 3 and 4 (arXiv 2405.04669). Deviation: Y and Z start at 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.chains import STEP, Chains, chains
from oneway.facts.worlds import Arrows, arrows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOURCE = "Zhu et al. 2024, section 4 (arXiv 2405.04669)"
TASKS = ("reversal", "chain")
MODELS = ("reparametrised", "narrow", "wide")
SCHEMA = {"seed": pl.Int64, "epoch": pl.Int64, "model": pl.String, "task": pl.String, "quantity": pl.String}
SCHEMA |= {"value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reparametrised:
    """Rates of Y and of Z; one sentence a step."""

    epochs: int = 30
    rate_y: float = 10.0
    rate_z: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinary:
    """Width, standard deviation of the start, and Adam."""

    width: int
    learning_rate: float
    epochs: int
    std: float = 0.1
    batch: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`entities` tokens of each kind: M is 2 · entities + 2 for reversal, 3 · entities + 2 for chains."""

    entities: int = 60
    reparametrised: Reparametrised = field(default_factory=Reparametrised)
    narrow: Ordinary = field(default_factory=lambda: Ordinary(width=64, learning_rate=0.01, epochs=60))
    wide: Ordinary = field(default_factory=lambda: Ordinary(width=256, learning_rate=0.003, epochs=60))
    evaluations: int = 20
    seeds: tuple[int, ...] = tuple(range(10))


def quick() -> Config:
    """M = 122 and 182: seconds."""
    return Config()


def standard() -> Config:
    """The vocabulary of the published experiments, 200 entities of each kind."""
    return Config(
        entities=200,
        reparametrised=Reparametrised(epochs=60),
        narrow=Ordinary(width=64, learning_rate=0.01, epochs=200),
        wide=Ordinary(width=512, learning_rate=0.002, epochs=100),
    )


def paper() -> Config:
    """Thirty seeds and a width beyond M (the theorems have no published size)."""
    return Config(
        entities=200,
        reparametrised=Reparametrised(epochs=200),
        narrow=Ordinary(width=64, learning_rate=0.01, epochs=1000),
        wide=Ordinary(width=2048, learning_rate=0.001, epochs=200),
        seeds=tuple(range(30)),
    )


def _claim(id: str, model: str, task: str, text: str, source: str) -> Claim:
    """The rule of Theorems 3 and 4, the same for both models and both tasks."""
    trained, shown, held_out = (f"{model}_{task}_{name}" for name in ("train", "shown", "held_out_times_m"))
    return Claim(
        id=id,
        text=text,
        source=source,
        rule="Control: mean probability of the same kind of sentence where it is trained has its lower bound at or "
        "above 0.95, and so have all trained sentences. Supports: upper bound of (mean probability of the held-out "
        "sentences times M) at or below 1, so p ≤ 1/M. Refutes: its lower bound is above 1.",
        control=lambda m: m[trained].low >= 0.95 and m[shown].low >= 0.95,
        supports=lambda m: m[held_out].high <= 1,
        refutes=lambda m: m[held_out].low > 1,
        reads=(trained, shown, held_out, f"{model}_{task}_largest_times_m"),
    )


_REVERSE = "Trained sentences reach p → 1 while the reverse of a pair seen in one direction stays at p ≤ 1/M"
_CHAIN = "Trained on x→y and y→z, the model gives the conclusion x⇝z no more than 1/M"
_OURS = f"{SOURCE}; the theorem asked of an ordinary layer"
CLAIMS = (
    _claim("Z2", "reparametrised", "reversal", f"{_REVERSE}.", f"{SOURCE}, Theorem 3"),
    _claim("Z2.chain", "reparametrised", "chain", f"{_CHAIN}.", f"{SOURCE}, Theorem 4"),
    _claim("Z2.narrow", "narrow", "reversal", f"{_REVERSE}, in a narrow ordinary layer.", _OURS),
    _claim("Z2.narrow-chain", "narrow", "chain", f"{_CHAIN}, in a narrow ordinary layer.", _OURS),
    _claim("Z2.wide", "wide", "reversal", f"{_REVERSE}, in a wide ordinary layer.", _OURS),
    _claim("Z2.wide-chain", "wide", "chain", f"{_CHAIN}, in a wide ordinary layer.", _OURS),
    Claim(
        id="Z2.rollout",
        text="Written out, the chain works: x→y and then y→z gives z for the triples whose conclusion fails.",
        source=f"{SOURCE}, after Theorem 4",
        rule="Control: as Z2.chain. Supports: lower bound of the share of held-out triples whose two steps give z at "
        "or above 0.95. Refutes: its upper bound is below 0.95.",
        control=lambda m: m["reparametrised_chain_train"].low >= 0.95,
        supports=lambda m: m["reparametrised_chain_rollout"].low >= 0.95,
        refutes=lambda m: m["reparametrised_chain_rollout"].high < 0.95,
        reads=("reparametrised_chain_train", "reparametrised_chain_rollout"),
    ),
)

World = Arrows | Chains


def worlds_of(task: str, entities: int, seeds: Sequence[int]) -> list[World]:
    """Each seed's own world; the tokens in use are 0 … M − 1."""
    if task == "chain":
        return [chains(4 * entities, seed=seed) for seed in seeds]
    return [arrows(4 * entities, seed=seed) for seed in seeds]


def vocabulary_of(world: World) -> int:
    """M: how many tokens are in use."""
    return int(max(world.train.max(), world.validation.max())) + 1


@runtime_checkable
class Layer(Protocol):
    """A stack of models, one per seed."""

    def epoch(self) -> None: ...

    def probabilities(self, sentences: np.ndarray) -> np.ndarray:
        """p of every token after the first two of each sentence: [seed sentence 3] → [seed sentence vocab]."""
        ...


class ReparametrisedLayer:
    """Y and Z of every seed, [seed vocab vocab], trained by SGD on one sentence a step; gradients by hand.

    For a sentence (x, r, t): b = softmax(Z[r, x], Z[r, r]), u = b/‖b‖, logits u₁ Y[x] + u₂ Y[r], g = e_t − p. The
    steps are ΔY[x] = η_Y u₁ g, ΔY[r] = η_Y u₂ g, and ΔZ[r] along ∂u/∂b · ∂b/∂z of (g·Y[x], g·Y[r]).
    """

    def __init__(
        self, config: Reparametrised, sentences: np.ndarray, vocabulary: int, seeds: Sequence[int]
    ) -> None:
        self.config, self.sentences = config, sentences
        self.y, self.z = (np.zeros((len(seeds), vocabulary, vocabulary)) for _ in range(2))
        self.order = [np.random.default_rng((seed, 7)) for seed in seeds]

    def epoch(self) -> None:
        seeds, y, z = np.arange(len(self.sentences)), self.y, self.z
        order = np.stack([rng.permutation(self.sentences.shape[1]) for rng in self.order])
        for at in order.T:
            x, r, t = self.sentences[seeds, at].T
            b, u, norm = _attended(z[seeds, r, x], z[seeds, r, r])
            row_x, row_r = y[seeds, x], y[seeds, r]
            g = -_softmax(u[:, :1] * row_x + u[:, 1:] * row_r)
            g[seeds, t] += 1
            du = np.stack([(g * row_x).sum(1), (g * row_r).sum(1)], 1)
            db = (du - u * (u * du).sum(1, keepdims=True)) / norm
            dz = b * (db - (b * db).sum(1, keepdims=True))
            y[seeds, x] += self.config.rate_y * u[:, :1] * g
            y[seeds, r] += self.config.rate_y * u[:, 1:] * g
            z[seeds, r, x] += self.config.rate_z * dz[:, 0]
            z[seeds, r, r] += self.config.rate_z * dz[:, 1]

    def probabilities(self, sentences: np.ndarray) -> np.ndarray:
        """See `Layer.probabilities`."""
        seed = np.arange(len(sentences))[:, None]
        x, r = sentences[:, :, 0], sentences[:, :, 1]
        _, u, _ = _attended(self.z[seed, r, x], self.z[seed, r, r])
        return _softmax(u[..., :1] * self.y[seed, x] + u[..., 1:] * self.y[seed, r])


def _attended(to_x: np.ndarray, to_r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attention b over (x, r), its direction u = b/‖b‖, and ‖b‖."""
    b = _softmax(np.stack([to_x, to_r], axis=-1))
    norm = np.sqrt((b**2).sum(-1, keepdims=True))
    return b, b / norm, norm


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


class OrdinaryLayer:
    """U [seed vocab d], W_Q, W_K, W_V [seed d d]: logits = LN(Σ_t b_t U[x_t]) W_V Uᵀ.

    b = softmax_t(U[x_t] W_K W_Qᵀ U[r]ᵀ / √d); LN divides by the root mean square. Trained by Adam on batches.
    """

    def __init__(
        self, config: Ordinary, sentences: np.ndarray, vocabulary: int, seeds: Sequence[int]
    ) -> None:
        import torch

        self.config = config
        self.sentences = torch.from_numpy(sentences)
        self.order = [np.random.default_rng((seed, 7)) for seed in seeds]
        shapes = {"U": (vocabulary, config.width)} | {
            f"W_{name}": (config.width, config.width) for name in "QKV"
        }
        singles = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            singles.append(
                {n: torch.randn(shape, generator=generator) * config.std for n, shape in shapes.items()}
            )
        self.weights = {n: torch.stack([single[n] for single in singles]).requires_grad_() for n in shapes}
        self.adam = torch.optim.Adam(self.weights.values(), lr=config.learning_rate)

    def _logits(self, sentences: Any) -> Any:
        """[seed sentence 3] → logits after the second token, [seed sentence vocab]."""
        import torch

        u, seed = self.weights["U"], torch.arange(len(sentences))[:, None, None]
        tokens = u[seed, sentences[:, :, :2]]  # [seed sentence 2 d]
        query = tokens[:, :, 1] @ self.weights["W_Q"]
        # Keys are compared through W_K's transpose on the one query: one product less per token.
        asked = query @ self.weights["W_K"].transpose(1, 2)
        scores = (tokens * asked.unsqueeze(2)).sum(-1) / self.config.width**0.5
        mixed = (scores.softmax(-1).unsqueeze(-1) * tokens).sum(2)
        normed = mixed * (mixed.square().mean(-1, keepdim=True) + 1e-8).rsqrt()
        return normed @ self.weights["W_V"] @ u.transpose(1, 2)

    def epoch(self) -> None:
        import torch

        count = self.sentences.shape[1]
        order = torch.from_numpy(np.stack([rng.permutation(count) for rng in self.order]))
        for rows in order.split(self.config.batch, dim=1):
            batch = self.sentences.gather(1, rows.unsqueeze(-1).expand(-1, -1, 3))
            targets = batch[:, :, 2:]
            loss = -self._logits(batch).log_softmax(-1).gather(-1, targets).mean((1, 2)).sum()
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()

    def probabilities(self, sentences: np.ndarray) -> np.ndarray:
        """See `Layer.probabilities`."""
        import torch

        with torch.no_grad():
            found: np.ndarray = self._logits(torch.from_numpy(sentences)).double().softmax(-1).numpy()
        return found


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train both models on both tasks; a row per seed, epoch, model, task and quantity.

    What is finished of a model and task is kept in the workspace.
    """
    from oneway.evidence.atomic import write_with
    from oneway.report.progress import progress

    tables = []
    with progress(f"one-layer models of {len(seeds)} seeds") as advance:
        for number, (model, task) in enumerate((model, task) for model in MODELS for task in TASKS):
            kept = None if workspace is None else workspace / f"{model}-{task}.parquet"
            if kept is not None and kept.exists():
                tables.append(pl.read_parquet(kept))
            else:
                tables.append(pl.DataFrame(_trained(config, model, task, seeds), schema=SCHEMA, orient="row"))
                if kept is not None:
                    write_with(kept, tables[-1].write_parquet)
            advance(number + 1, len(MODELS) * len(TASKS))
    return pl.concat(tables)


def _trained(config: Config, model: str, task: str, seeds: Sequence[int]) -> list[tuple[Any, ...]]:
    worlds = worlds_of(task, config.entities, seeds)
    sentences, vocabulary = np.stack([world.train for world in worlds]), vocabulary_of(worlds[0])
    asked: Reparametrised | Ordinary = getattr(config, model)
    layer: Layer
    if isinstance(asked, Reparametrised):
        layer = ReparametrisedLayer(asked, sentences, vocabulary, seeds)
    else:
        layer = OrdinaryLayer(asked, sentences, vocabulary, seeds)
    epochs = asked.epochs
    every = max(1, epochs // config.evaluations)
    rows = []
    for epoch in range(epochs + 1):
        if epoch % every == 0 or epoch == epochs:
            for quantity, values in read(layer, worlds).items():
                rows += [
                    (s, epoch, model, task, quantity, float(v)) for s, v in zip(seeds, values, strict=True)
                ]
        if epoch < epochs:
            layer.epoch()
    return rows


def read(layer: Layer, worlds: Sequence[World]) -> dict[str, np.ndarray]:
    """What the curves hold, per seed: mean probabilities, and those of held-out sentences times M.

    `shown` are trained sentences of the kind that is held out: of the reverse, or of conclusions.
    """
    train, held_out = (np.stack([getattr(w, name) for w in worlds]) for name in ("train", "validation"))
    vocabulary = vocabulary_of(worlds[0])

    def answers(sentences: np.ndarray) -> np.ndarray:
        return np.take_along_axis(layer.probabilities(sentences), sentences[:, :, 2:], -1)[..., 0]

    p_train, p_held_out = answers(train), answers(held_out)
    first = worlds[0]
    shown = first.train_both_ways if isinstance(first, Arrows) else first.concluded
    found = {
        "train": p_train.mean(1),
        "least_train": p_train.min(1),
        "shown": p_train[:, shown].mean(1),
        "held_out_times_m": vocabulary * p_held_out.mean(1),
        "largest_times_m": vocabulary * p_held_out.max(1),
    }
    if isinstance(first, Chains):
        triples = np.stack([w.held_out for w in worlds if isinstance(w, Chains)])
        found["rollout"] = _rollout(layer, triples)
    return found


def _rollout(layer: Layer, triples: np.ndarray) -> np.ndarray:
    """Share of triples [seed triple 3] for which the likeliest token after x→ is y, and after that y→ it is z."""
    relation = np.full_like(triples[:, :, :1], STEP)
    middle = layer.probabilities(np.concatenate([triples[:, :, :1], relation, relation], 2)).argmax(-1)[
        ..., None
    ]
    end = layer.probabilities(np.concatenate([middle, relation, relation], 2)).argmax(-1)
    share: np.ndarray = (end == triples[:, :, 2]).mean(1)
    return share


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity of every model and task at the last epoch, over seeds."""
    last = curves.filter(pl.col("epoch") == pl.col("epoch").max().over("model"))
    measured = {}
    for (model, task, quantity), rows in last.group_by("model", "task", "quantity", maintain_order=True):
        unit = "times 1/M" if str(quantity).endswith("times_m") else "probability"
        measured[f"{model}_{task}_{quantity}"] = over_seeds(rows.sort("seed")["value"].to_numpy(), unit)
    return measured


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Per model and task: probability of trained and of held-out sentences through training, against 1/M."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 8), layout="constrained")
    grid = drawn.subplots(len(MODELS), len(TASKS), sharey="row")
    for across, model in zip(grid, MODELS, strict=True):
        for axes, task in zip(across, TASKS, strict=True):
            chosen = curves.filter((pl.col("model") == model) & (pl.col("task") == task))
            _draw(axes, chosen)
            axes.set_title(f"{model}, {task}", loc="left")
    grid[0][0].legend(frameon=False)
    return drawn


def _draw(axes: "Axes", curves: pl.DataFrame) -> None:
    """Every seed a thin line, their geometric mean bold; the dashed line is a uniform guess."""
    from oneway.report.palette import DIRECTIONS

    tones = {"shown": DIRECTIONS["forward"].light, "held_out_times_m": DIRECTIONS["reverse"].light}
    for quantity, label in (("shown", "p(trained)"), ("held_out_times_m", "p(held out) · M")):
        wide = (
            curves.filter(pl.col("quantity") == quantity)
            .pivot("seed", index="epoch", values="value")
            .sort("epoch")
        )
        epochs, values = wide["epoch"].to_numpy(), np.maximum(wide.drop("epoch").to_numpy(), 1e-300)
        axes.plot(epochs, values, color=tones[quantity], alpha=0.25, linewidth=0.8)
        axes.plot(epochs, np.exp(np.log(values).mean(1)), color=tones[quantity], linewidth=2.2, label=label)
    axes.axhline(1, color="0.35", linestyle="--", linewidth=1.2, label="1 (a uniform guess has p · M = 1)")
    axes.set(yscale="log", xlabel="epoch")
    axes.spines[["top", "right"]].set_visible(False)


STUDY = Study(
    name="one-layer",
    title="Does one attention layer learn the reverse of a pair, or the conclusion of a chain?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
