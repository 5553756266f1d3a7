"""Stacked seeds of a small decoder trained on short sentences, each seed on those of its own world.

Sentences are [seed sentence position] token ids; the last `read` tokens of each are its answer. What several studies
share: batches by epoch, the answers' probabilities, and training that resumes where it was killed.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from torch import Tensor

    from oneway.models.architecture import Architecture
    from oneway.models.lstm import LSTM
    from oneway.models.transformer import Weights
    from oneway.training.fit import Batch

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A GPT-2 style decoder of this size; the unembedding is the embedding's transpose or its own matrix."""

    layers: int = 1
    width: int = 32
    heads: int = 4
    unembedding: Literal["tied", "untied"] = "tied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """AdamW at a constant rate on the answers alone; `seeds_at_once` are stacked in one process.

    The curves have about `evaluations` points besides the first.
    """

    epochs: int = 100
    batch: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    seeds_at_once: int = 10
    evaluations: int = 20


@dataclass(frozen=True, slots=True)
class Told:
    """Sentences of every seed [seed sentence pos] with answers of `read` tokens, and the vocabulary's size."""

    sentences: Int[np.ndarray, "seed sentence pos"]
    read: int
    vocabulary: int


def trained(
    told: Told,
    seeds: Sequence[int],
    decoder: Decoder,
    schedule: Schedule,
    evaluate: "Callable[[Weights, Architecture, int], list[Row]]",
    *,
    workspace: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Train the seeds together; what `evaluate(weights, architecture, epoch)` returned along the way.

    A run that was killed goes on from what its workspace holds and ends with the same numbers.
    """
    import torch

    from oneway.models.architecture import gpt2
    from oneway.models.transformer import initial_weights
    from oneway.training.fit import fit, last_tokens_loss
    from oneway.training.optimisers import Optimisation

    sizes = {"layers": decoder.layers, "width": decoder.width, "heads": decoder.heads}
    a = gpt2(vocab=told.vocabulary, context=told.sentences.shape[2] - 1, **sizes)
    a = replace(a, unembedding=decoder.unembedding)
    epochs = Epochs(told.sentences, seeds, schedule.batch, told.read, device)
    weights = {n: w.to(device) for n, w in initial_weights(a, seeds).items()}
    with torch.device(device):
        return fit(
            weights,
            a,
            epochs,
            Optimisation(
                steps=schedule.epochs * epochs.steps,
                learning_rate=schedule.learning_rate,
                weight_decay=schedule.weight_decay,
            ),
            objective=last_tokens_loss,
            evaluate=lambda weights, step: evaluate(weights, a, step // epochs.steps),
            evaluate_every=max(1, schedule.epochs // schedule.evaluations) * epochs.steps,
            workspace=workspace,
            fingerprint=hashlib.sha256(
                told.sentences.tobytes() + str((tuple(seeds), asdict(schedule))).encode()
            ).hexdigest(),
            progress=progress,
        ).curves


def grouped(seeds: Sequence[int], at_once: int) -> list[tuple[int, ...]]:
    """The seeds in groups that train together."""
    return [tuple(seeds[i : i + at_once]) for i in range(0, len(seeds), at_once)]


class Epochs:
    """Batches as a function of the step: every epoch each seed's sentences in that seed's own new order.

    `dropout` is the share of the activations that is silenced in training.
    """

    def __init__(
        self,
        sentences: Int[np.ndarray, "seed sentence pos"],
        seeds: Sequence[int],
        batch: int,
        read: int,
        device: str = "cpu",
        dropout: float = 0.0,
    ) -> None:
        import torch

        self.sentences = torch.from_numpy(sentences).to(device)
        self.seeds, self.batch, self.read = tuple(seeds), batch, read
        self.device, self.dropout = device, dropout
        self.steps = math.ceil(self.sentences.shape[1] / batch)
        self.epoch, self.order = -1, np.zeros(0)

    def __call__(self, step: int) -> "Batch":
        import torch

        epoch, at = divmod(step, self.steps)
        if epoch != self.epoch:
            count = self.sentences.shape[1]
            orders = [np.random.default_rng((seed, 1 + epoch)).permutation(count) for seed in self.seeds]
            self.epoch, self.order = epoch, np.stack(orders)
        rows = torch.from_numpy(self.order[:, at * self.batch : (at + 1) * self.batch]).to(
            self.sentences.device
        )
        picked = self.sentences.gather(1, rows.unsqueeze(-1).expand(-1, -1, self.sentences.shape[2]))
        if not self.dropout:
            return asked(picked, self.read)
        from oneway.training.dropout import Dropout

        return asked(picked, self.read)._replace(drop=Dropout(self.dropout, self.seeds, step, self.device))


def asked(sentences: "Int[Tensor, 'seed batch pos']", read: int) -> "Batch":
    """The sentences as a batch whose targets are their last `read` tokens."""
    import torch

    from oneway.training.fit import Batch

    targets = sentences[:, :, -read:].flatten(1)
    return Batch(
        tokens=sentences[:, :, :-1],
        positions=torch.empty(0, dtype=torch.long, device=sentences.device),
        targets=targets,
        weights=torch.ones_like(targets, dtype=torch.float32),
    )


def answers(
    weights: "Weights", a: "Architecture | LSTM", sentences: "Int[Tensor, 'seed sentence pos']", read: int
) -> "tuple[Float[Tensor, 'seed sentence'], Float[Tensor, 'seed sentence read vocab']]":
    """ln p of every whole answer, and of every token at the answer's positions."""
    import torch

    from oneway.training.objectives import logits_at_end

    seeds, count, _ = sentences.shape
    scores = logits_at_end(weights, sentences[:, :, :-1], a, read)
    logprobs = torch.log_softmax(scores, -1).view(seeds, count, read, -1)
    targets = sentences[:, :, -read:].unsqueeze(-1)
    return logprobs.gather(-1, targets).squeeze(-1).sum(-1), logprobs
