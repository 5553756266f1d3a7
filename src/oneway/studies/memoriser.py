"""MLPs that learn pairs of integers by heart: many seeds stacked, every unit a table over the finite input.

A pair (a, b) of 0 … n−1 comes in as [E(a), E'(b)], each integer by its own row. The first layer's input is then a sum
of two tables, L(a) + R(b) with L = E W and R = E' W', whatever E is: frozen at random, trained, or one-hot (E = 1, so
that W itself is the tables). ReLU, one or two layers, biases; a binary answer has one logit, an answer of k has k.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from torch import Tensor

Inputs = Literal["frozen", "trained", "one_hot"]
LEARNT = 0.99  # the share of pairs that is called memorised
LOOKS = 25  # how often training looks whether every seed has got there


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A memoriser of pairs of `integers`: how they come in, its width and layers, and what it answers.

    `embedding` counts the dimensions of both integers together; of every pair it keeps `facts` facts, each with one
    of `answers` answers.
    """

    width: int
    layers: Literal[1, 2] = 1
    inputs: Inputs = "frozen"
    answers: int = 2
    facts: int = 1
    integers: int = 200
    embedding: int = 64

    @property
    def logits(self) -> int:
        """Outputs: one for a binary answer, k for an answer of k."""
        return self.facts * (1 if self.answers == 2 else self.answers)

    @property
    def parameters(self) -> int:
        """How many numbers are trained; frozen embeddings are none."""
        d_in = 2 * self.integers if self.inputs == "one_hot" else self.embedding
        embeddings = self.integers * self.embedding if self.inputs == "trained" else 0
        hidden = (self.layers - 1) * (self.width + 1) * self.width
        return embeddings + (d_in + 1) * self.width + hidden + (self.width + 1) * self.logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """Muon on the hidden matrices, Adam on the rest, rates falling linearly to 0; batches of about `batch` pairs.

    It ends early where every seed knows the share `enough` of its pairs.
    """

    steps: int = 1200
    batch: int = 2048
    learning_rate: float = 0.02
    muon_learning_rate: float = 0.1
    enough: float = LEARNT


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Different pairs of every seed, numbered a · integers + b, and the answers to their facts."""

    numbers: Int[np.ndarray, "seed pair"]
    answers: Int[np.ndarray, "seed pair fact"]


@dataclass(frozen=True, eq=False)
class Memorised:
    """Trained weights of all seeds, and the share of pairs all of whose facts each seed knows."""

    network: Network
    weights: "dict[str, Tensor]" = field(repr=False)
    accuracy: Float[np.ndarray, " seed"]
    steps: int


def draw_pairs(network: Network, count: int, seeds: Sequence[int]) -> Int[np.ndarray, "seed pair"]:
    """Pairs drawn without replacement. Raises ValueError for more than there are."""
    everything = network.integers**2
    if not 1 <= count <= everything:
        raise ValueError(f"{count:,} pairs cannot be drawn from the {everything:,} that there are")
    return np.stack([np.random.default_rng((seed, 1)).permutation(everything)[:count] for seed in seeds])


def random_answers(network: Network, count: int, seeds: Sequence[int]) -> Int[np.ndarray, "seed pair fact"]:
    """Answers drawn uniformly: nothing can be generalised."""
    size = (count, network.facts)
    return np.stack([np.random.default_rng((seed, 2)).integers(network.answers, size=size) for seed in seeds])


def entropy(probability: float) -> float:
    """Of a coin that falls so, in bits."""
    return -sum(p * math.log2(p) for p in (probability, 1 - probability) if p > 0)


def bits_known(answers: int, accuracy: float) -> float:
    """Bits of an answer of k that are kept where a share of the answers is right: log₂k − H(a) − (1 − a) log₂(k − 1).

    Fano's inequality read as an equation: wrong answers are taken to be spread evenly over the others. Never below 0.
    """
    if accuracy <= 1 / answers:
        return 0.0
    return math.log2(answers) - entropy(accuracy) - (1 - accuracy) * math.log2(answers - 1)


def threshold(sizes: Sequence[float], accuracies: Sequence[float]) -> float:
    """Where the share known falls through 99%: of the falling curve nearest to the points, linear between them.

    NaN where the curve does not cross 99% on the grid.
    """
    from sklearn.isotonic import IsotonicRegression

    falling = IsotonicRegression(increasing=False).fit_transform(sizes, accuracies)
    below = int(np.argmax(falling < LEARNT))
    if below == 0:  # none below, or the first already
        return math.nan
    (x, y), (x2, y2) = ((sizes[place], falling[place]) for place in (below - 1, below))
    return float(x + (x2 - x) * (y - LEARNT) / (y - y2))


def initial_weights(network: Network, seeds: Sequence[int]) -> "dict[str, Tensor]":
    """Fresh weights of every seed, which do not depend on the seeds beside it."""
    import torch

    singles = [_initial_single(network, seed) for seed in seeds]
    return {name: torch.stack([single[name] for single in singles]) for name in singles[0]}


def _initial_single(n: Network, seed: int) -> "dict[str, Tensor]":
    import torch

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float = 1.0) -> "Tensor":
        return torch.randn(shape, generator=generator) * std

    half, weights = n.embedding // 2, dict[str, "Tensor"]()
    if n.inputs != "one_hot":
        weights["E"] = normal(2, n.integers, half)
    rows = n.integers if n.inputs == "one_hot" else half
    # At the start the input of a unit has variance 1: two entries of a one-hot table, or 64 of an embedding.
    std = 0.5**0.5 if n.inputs == "one_hot" else n.embedding**-0.5
    weights |= {"blocks.0.W_in": normal(2 * rows, n.width, std=std), "blocks.0.b": normal(n.width, std=0.1)}
    if n.layers == 2:
        std = (2 / n.width) ** 0.5
        weights |= {
            "blocks.1.W_in": normal(n.width, n.width, std=std),
            "blocks.1.b": normal(n.width, std=0.1),
        }
    return weights | {"W_out": normal(n.width, n.logits, std=n.width**-0.5), "b_out": torch.zeros(n.logits)}


def input_tables(network: Network, weights: "dict[str, Tensor]") -> "Float[Tensor, 'seed side integer unit']":
    """What either integer adds to the input of every unit of the first layer."""
    split = weights["blocks.0.W_in"].unflatten(1, (2, -1))
    return split if network.inputs == "one_hot" else weights["E"] @ split


def units(
    network: Network, weights: "dict[str, Tensor]", numbers: "Int[Tensor, 'seed pair']"
) -> "Float[Tensor, 'seed pair unit']":
    """Activations of the last layer's units at pairs."""
    import torch

    tables = input_tables(network, weights).flatten(0, 2)
    first = torch.arange(len(numbers), device=numbers.device)[:, None] * 2 * network.integers
    left, right = (
        first + numbers // network.integers,
        first + network.integers + numbers % network.integers,
    )
    embedding = torch.nn.functional.embedding
    pre = embedding(left, tables) + embedding(right, tables) + weights["blocks.0.b"].unsqueeze(1)
    post = pre.relu()
    if network.layers == 2:
        post = torch.baddbmm(weights["blocks.1.b"].unsqueeze(1), post, weights["blocks.1.W_in"]).relu()
    return post


def scores(
    network: Network, weights: "dict[str, Tensor]", post: "Float[Tensor, 'seed pair unit']"
) -> "Float[Tensor, 'seed pair fact answer']":
    """Logits of the answers to every fact; of a binary one the first has 0."""
    import torch

    logits = torch.baddbmm(weights["b_out"].unsqueeze(1), post, weights["W_out"])
    by_fact = logits.unflatten(2, (network.facts, -1))
    return torch.cat((torch.zeros_like(by_fact), by_fact), -1) if network.answers == 2 else by_fact


def known(network: Network, weights: "dict[str, Tensor]", pairs: Pairs) -> Bool[np.ndarray, "seed pair"]:
    """Whether all facts of a pair are answered right."""
    import torch

    with torch.no_grad():
        said = scores(network, weights, units(network, weights, torch.from_numpy(pairs.numbers))).argmax(-1)
    right: np.ndarray = (said.numpy() == pairs.answers).all(-1)
    return right


def knows(network: Network, weights: "dict[str, Tensor]", pairs: Pairs) -> Float[np.ndarray, " seed"]:
    """The share of pairs all of whose facts are answered right, per seed."""
    share: np.ndarray = known(network, weights, pairs).mean(-1)
    return share


def memorise(
    network: Network,
    pairs: Pairs,
    seeds: Sequence[int],
    practice: Practice,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Memorised:
    """Train every seed on its own pairs until all know enough of them, or the steps are over."""

    from oneway.training.cross_entropy import cross_entropy
    from oneway.training.hardware import flushed_denormals, kept_memory
    from oneway.training.optimisers import Optimisation, optimisers_for

    weights = initial_weights(network, seeds)
    for name, weight in weights.items():
        weight.requires_grad_(name != "E" or network.inputs == "trained")
    plan = Optimisation(
        steps=practice.steps,
        learning_rate=practice.learning_rate,
        weight_decay=0.0,
        matrices="muon",
        muon_learning_rate=practice.muon_learning_rate,
        muon_weight_decay=0.0,
        schedule="linear",
    )
    optimisers = optimisers_for(weights, plan)
    batches = _Batches(pairs, seeds, practice.batch)
    accuracy, done = np.zeros(len(seeds)), 0
    with flushed_denormals(), kept_memory():
        for done in range(1, practice.steps + 1):
            numbers, answers = batches(done - 1)
            found = scores(network, weights, units(network, weights, numbers))
            losses = cross_entropy(found.flatten(0, 2), answers.flatten()).view(len(seeds), -1)
            losses.mean(1).sum().backward()
            for optimiser, rate in zip(
                optimisers, (plan.learning_rate, plan.muon_learning_rate), strict=True
            ):
                for group in optimiser.param_groups:
                    group["lr"] = rate * plan.factor(done - 1)
                optimiser.step()
                optimiser.zero_grad()
            if done % (practice.steps // LOOKS or 1) == 0 or done == practice.steps:
                progress(done, practice.steps)
                accuracy = knows(network, weights, pairs)
                if (accuracy >= practice.enough).all():
                    break
    return Memorised(network, {n: w.detach() for n, w in weights.items()}, accuracy, done)


class _Batches:
    """Each seed's pairs in its own new order every epoch, in batches of equal size."""

    def __init__(self, pairs: Pairs, seeds: Sequence[int], batch: int) -> None:
        import torch

        self.numbers, self.answers = torch.from_numpy(pairs.numbers), torch.from_numpy(pairs.answers)
        self.seeds, count = tuple(seeds), pairs.numbers.shape[1]
        self.each = max(1, round(count / batch))
        self.size, self.epoch = math.ceil(count / self.each), -1

    def __call__(self, step: int) -> "tuple[Tensor, Tensor]":
        import torch

        epoch, at = divmod(step, self.each)
        if self.each == 1:
            return self.numbers, self.answers
        if epoch != self.epoch:
            count = self.numbers.shape[1]
            orders = [np.random.default_rng((seed, 3, epoch)).permutation(count) for seed in self.seeds]
            self.order, self.epoch = torch.from_numpy(np.stack(orders)), epoch
        rows = self.order[:, at * self.size : (at + 1) * self.size]
        return self.numbers.gather(1, rows), self.answers.gather(
            1, rows.unsqueeze(-1).expand(-1, -1, self.answers.shape[2])
        )
