"""Trained on A→B, a transformer does not recall B→A.

Source: Zhu et al. 2024, section 5 and Fig. 1 (arXiv 2405.04669).

Where the published code differs from its text (it ties nothing, drops out 10%, parses weight decay and leaves it
at AdamW's 0.01, and its frozen embeddings leave the unembedding to train), both are options: the recipe `paper` has
the text's settings, `published_code` the code's. Deviation from the code in all of them: it logs the training
probability under dropout and before the step, here every quantity is measured after the step, without dropout, over
all sentences.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.worlds import Arrows, arrows
from oneway.studies.sentence_training import Epochs, answers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.models.architecture import Architecture, Embeddings, Positions
    from oneway.models.lstm import LSTM
    from oneway.models.transformer import Weights
    from oneway.training.hardware import Matmul
    from oneway.training.objectives import Loss

SOURCE = "Zhu et al. 2024, section 5, Fig. 1 (arXiv 2405.04669)"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The arrows world: tokens besides the two arrows, tokens per entity, and each alphabet's share of the tokens.

    With a share of a quarter, as published, half of the vocabulary never occurs; with a half all of it does.
    """

    vocabulary: int = 800
    length: int = 1
    alphabet_share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A GPT-2 style decoder of this size, or a stack of LSTM layers (which has neither heads nor positions).

    `embeddings` of tokens and positions train, or stay at their start while an untied unembedding trains
    ("frozen", the published code's), or stay with the unembedding ("both_ends_frozen", the paper's).
    """

    architecture: Literal["transformer", "lstm"] = "transformer"
    layers: int = 1
    width: int = 32
    heads: int = 4
    positions: "Positions" = "learned"
    embeddings: "Embeddings" = "learned"
    unembedding: Literal["tied", "untied"] = "tied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """AdamW at a constant rate; `seeds_at_once` are stacked in one process.

    `predicted`: the answer's tokens alone, or every token of the sentence but the first. `matmul`: the precision
    to which a CPU rounds the factors of matrix products in training (faster from width 256 on); what is
    measured is measured in float32.
    """

    epochs: int = 90
    batch: int = 64
    learning_rate: float = 0.015
    weight_decay: float = 0.01
    dropout: float = 0.0
    loss: "Loss" = "cross_entropy"
    predicted: Literal["answer", "sequence"] = "answer"
    seeds_at_once: int = 10
    evaluate_every: int = 5
    matmul: "Matmul" = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    world: World = field(default_factory=World)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    seeds: tuple[int, ...] = tuple(range(10))
    device: str = "cpu"


def quick() -> Config:
    """All of the data at the published vocabulary, in a model as small as it can be: seconds."""
    return Config()


def standard() -> Config:
    """Four layers of width 256, some minutes on two cores."""
    return Config(
        model=Model(layers=4, width=256, heads=8),
        training=Training(epochs=300, learning_rate=0.001, seeds_at_once=1),
    )


def paper() -> Config:
    """The published default as its text has it: 24 layers of width 768, 3,000 epochs, weight decay 0.9; a GPU.

    The text names no dropout, so there is none.
    """
    return Config(
        model=Model(layers=24, width=768, heads=12),
        training=Training(
            epochs=3000, learning_rate=0.01, weight_decay=0.9, seeds_at_once=1, evaluate_every=25
        ),
    )


def published_code() -> Config:
    """What the published code does at its default: nothing tied, weight decay 0.01, dropout 0.1; a GPU."""
    text = paper()
    return replace(
        text,
        model=replace(text.model, unembedding="untied"),
        training=replace(text.training, weight_decay=0.01, dropout=0.1),
    )


# What the curves hold: −ln p of the whole answer in nats (mean over sentences), and probabilities.
QUANTITIES = {
    "train_nll": "trained sentences, nats",
    "train_probability": "probability of the answer, trained sentences",
    "both_ways_probability": "probability of the answer, pairs trained in both directions",
    "seen_direction_probability": "probability of the answer, held-out pairs in their trained direction",
    "validation_nll": "held-out direction, nats",
    "validation_excess": "held-out direction, nats above uniform guessing over the vocabulary",
    "validation_accuracy_over_chance": "held-out direction, share right among the right type, minus chance",
}

CURVES = {"seed": pl.Int64, "epoch": pl.Int64, "quantity": pl.String, "value": pl.Float64}

CLAIMS = (
    Claim(
        id="Z3",
        text="Pairs trained in one direction are recalled in it with probability near 1, while the other "
        "direction is predicted no better than by uniform guessing over the vocabulary.",
        source=SOURCE,
        rule="Control: lower bound of the answer's probability above 0.99 for pairs trained both ways. "
        "Supports: lower bound of the probability in the trained direction of the held-out pairs above 0.99, "
        "and lower bound of the held-out NLL at or above ln(vocabulary). Refutes: upper bound of that NLL "
        "below ln(vocabulary).",
        control=lambda m: m["both_ways_probability"].low > 0.99,
        supports=lambda m: m["seen_direction_probability"].low > 0.99 and m["validation_excess"].low >= 0,
        refutes=lambda m: m["validation_excess"].high < 0,
        reads=("both_ways_probability", "seen_direction_probability", "validation_nll", "validation_excess"),
    ),
    Claim(
        id="Z3.right-type",
        text="Even told that the answer is an entity of the right type, the model picks the right one in the "
        "held-out direction no more often than chance.",
        source=f"{SOURCE}; our stricter reading",
        rule="Control: as Z3. Supports: interval of (share right − chance) reaches down to 0 or below and "
        "stays under 0.05. Refutes: its lower bound is above 0.05.",
        control=lambda m: m["both_ways_probability"].low > 0.99,
        supports=lambda m: (
            m["validation_accuracy_over_chance"].low <= 0 and m["validation_accuracy_over_chance"].high < 0.05
        ),
        refutes=lambda m: m["validation_accuracy_over_chance"].low > 0.05,
        reads=("both_ways_probability", "validation_accuracy_over_chance"),
    ),
)


def check(config: Config) -> None:
    """Raises ValueError for a model or a world that cannot be."""
    shape_of(config, *_sizes(config.world))
    if not 0 <= config.training.dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {config.training.dropout}")
    from oneway.training.hardware import check_matmul

    check_matmul(config.training.matmul, config.device)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed on its own world; a row per seed, epoch and quantity."""
    from oneway.report.progress import progress

    with progress(f"training {len(seeds)} seeds") as advance:
        return trained(config, seeds, workspace, advance)


def trained(
    config: Config,
    seeds: Sequence[int],
    workspace: Path | None,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> pl.DataFrame:
    """The curves of all seeds, `seeds_at_once` of them trained together; `told` hears of the steps done."""
    at_once = config.training.seeds_at_once
    groups = [tuple(seeds[i : i + at_once]) for i in range(0, len(seeds), at_once)]
    rows: list[dict[str, Any]] = []
    for number, group in enumerate(groups):

        def told_of_all(done: int, total: int, before: int = number) -> None:
            told(before * total + done, len(groups) * total)

        folder = None if workspace is None else workspace / f"seeds-{group[0]}-{group[-1]}"
        rows += _trained(config, group, folder, told_of_all)
    return pl.DataFrame(rows, schema=CURVES)


def shape_of(config: Config, vocab: int, context: int) -> "Architecture | LSTM":
    """The model of a config. Raises ValueError for one that cannot be."""
    from oneway.models.architecture import gpt2
    from oneway.models.lstm import LSTM

    model = config.model
    ends: dict[str, Any] = {"embeddings": model.embeddings, "unembedding": model.unembedding}
    if model.architecture == "lstm":
        return LSTM(vocab=vocab, layers=model.layers, width=model.width, **ends)
    a = gpt2(vocab=vocab, context=context, layers=model.layers, width=model.width, heads=model.heads)
    return replace(a, positions=model.positions, **ends)


def _trained(config: Config, seeds: Sequence[int], workspace: Path | None, told: Any) -> list[dict[str, Any]]:
    import torch

    from oneway.models.lstm import LSTM, initial_lstm
    from oneway.models.transformer import initial_weights
    from oneway.training.fit import fit
    from oneway.training.objectives import last_tokens_objective
    from oneway.training.optimisers import Optimisation

    worlds = [_world(config.world, seed) for seed in seeds]
    architecture = shape_of(config, worlds[0].vocabulary_size, worlds[0].train.shape[1] - 1)
    sentences = np.stack([world.train for world in worlds])
    read = sentences.shape[2] - 1 if config.training.predicted == "sequence" else config.world.length
    epochs = Epochs(
        sentences, seeds, config.training.batch, read, config.device, dropout=config.training.dropout
    )
    optimisation = Optimisation(
        steps=config.training.epochs * epochs.steps,
        learning_rate=config.training.learning_rate,
        weight_decay=config.training.weight_decay,
        matmul=config.training.matmul,
    )
    initial = (
        initial_lstm(architecture, seeds)
        if isinstance(architecture, LSTM)
        else initial_weights(architecture, seeds)
    )
    weights = {n: w.to(config.device) for n, w in initial.items()}
    probe = _Probe(worlds, config.device)

    def evaluate(weights: "Weights", step: int) -> list[dict[str, Any]]:
        measured = probe(weights, architecture)
        return [
            {"seed": seed, "epoch": step // epochs.steps, "quantity": quantity, "value": float(values[i])}
            for quantity, values in measured.items()
            for i, seed in enumerate(seeds)
        ]

    with torch.device(config.device):
        fitted = fit(
            weights,
            architecture,
            epochs,
            optimisation,
            objective=last_tokens_objective(config.training.loss),
            evaluate=evaluate,
            evaluate_every=config.training.evaluate_every * epochs.steps,
            workspace=workspace,
            fingerprint=str(
                {"world": asdict(config.world), "training": asdict(config.training), "seeds": list(seeds)}
            ),
            progress=told,
        )
    return fitted.curves


def _world(world: World, seed: int) -> Arrows:
    return arrows(world.vocabulary, world.length, seed=seed, alphabet_share=world.alphabet_share)


def _sizes(world: World) -> tuple[int, int]:
    """Vocabulary and context of a model of this world. Raises ValueError for a world that cannot be."""
    one = _world(world, 0)
    return one.vocabulary_size, one.train.shape[1] - 1


class _Probe:
    """What the curves hold, measured over every sentence of every seed."""

    def __init__(self, worlds: Sequence[Arrows], device: str):
        import torch

        self.length, self.vocabulary = worlds[0].length, worlds[0].vocabulary_size
        self.train = torch.from_numpy(np.stack([world.train for world in worlds])).to(device)
        self.validation = torch.from_numpy(np.stack([world.validation for world in worlds])).to(device)
        self.both = torch.from_numpy(np.stack([world.train_both_ways for world in worlds])).to(device)
        self.counterpart = torch.from_numpy(np.stack([world.counterpart for world in worlds])).to(device)
        self.entities = [torch.from_numpy(np.stack([getattr(w, n) for w in worlds])).to(device) for n in "xy"]
        self.x_tokens = worlds[0].x_tokens

    def __call__(self, weights: "Weights", architecture: Any) -> dict[str, Any]:
        train, _ = answers(weights, architecture, self.train, self.length)
        validation, logprobs = answers(weights, architecture, self.validation, self.length)
        probability, both = train.exp(), self.both.float()
        accuracy, chance = self._among_type(logprobs)
        return {
            "train_nll": -train.mean(1),
            "train_probability": probability.mean(1),
            "both_ways_probability": (probability * both).sum(1) / both.sum(1),
            "seen_direction_probability": probability.gather(1, self.counterpart).mean(1),
            "validation_nll": -validation.mean(1),
            "validation_excess": -validation.mean(1) - self.length * math.log(self.vocabulary),
            "validation_accuracy_over_chance": accuracy - chance,
        }

    def _among_type(self, logprobs: Any) -> tuple[Any, float]:
        """Share of held-out answers whose first token is the likeliest of the right alphabet, and chance."""
        import torch

        answers = self.validation[:, :, -self.length]
        width = self.x_tokens.stop - self.x_tokens.start
        start = torch.where(answers < self.x_tokens.stop, self.x_tokens.start, self.x_tokens.stop)
        columns = start.unsqueeze(-1) + torch.arange(width, device=answers.device)
        best = logprobs[:, :, 0].gather(-1, columns).argmax(-1)
        return (best + start == answers).float().mean(1), 1 / width


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity at the last epoch, over seeds."""
    final = curves.filter(pl.col("epoch") == pl.col("epoch").max().over("seed"))
    measured = {}
    for quantity in QUANTITIES:
        values = final.filter(pl.col("quantity") == quantity).sort("seed")["value"].to_numpy()
        unit = "nats" if quantity.endswith(("nll", "excess")) else "probability"
        measured[quantity] = over_seeds(values, unit)
    return measured


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Loss in the trained and the held-out direction through training, every seed a line, the mean bold."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    drawn = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = drawn.add_subplot()
    guess = measured["validation_nll"].mean - measured["validation_excess"].mean
    for quantity, label, tone in (
        ("validation_nll", "held-out direction", DIRECTIONS["reverse"].light),
        ("train_nll", "trained sentences", DIRECTIONS["forward"].light),
    ):
        wide = (
            curves.filter(pl.col("quantity") == quantity)
            .pivot("seed", index="epoch", values="value")
            .sort("epoch")
        )
        epochs, values = wide["epoch"].to_numpy(), wide.drop("epoch").to_numpy()
        axes.plot(epochs, values, color=tone, alpha=0.25, linewidth=0.8)
        axes.plot(
            epochs, values.mean(1), color=tone, linewidth=2.2, label=f"{label} ({values.shape[1]} seeds)"
        )
    axes.axhline(
        guess, color="0.35", linestyle="--", linewidth=1.2, label=f"uniform guess, ln V = {guess:.2f}"
    )
    axes.set(xlabel="epoch", ylabel="−ln p(answer), nats", ylim=(0, None), xlim=(0, None))
    axes.set_title("Loss in the trained and in the held-out direction", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return drawn


STUDY = Study(
    name="reversal",
    title="Does a transformer trained on A→B recall B→A?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper, "published_code": published_code},
    check=check,
)
