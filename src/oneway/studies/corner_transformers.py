"""One-layer transformers on the sentences of the three-corner experiment, all models of one start trained together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.models.architecture import Architecture
from oneway.models.transformer import Weights, initial_weights, logits
from oneway.training.fit import Batch, fit, next_token_loss
from oneway.training.optimisers import Optimisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """One block, learned positions, its own unembedding; AdamW at a constant rate on all sentences in every step."""

    width: int = 32
    heads: int = 1
    steps: int = 400
    learning_rate: float = 0.003


def trained(
    decoder: Decoder,
    vocabulary: int,
    seeds: Sequence[int],
    sentences: Sequence[Int[np.ndarray, "pair _"]],
    taught: Sequence[Sequence[int]],
    *,
    scale: float,
    decay: float,
    read_at: Sequence[int],
) -> Iterator[tuple[int, Weights, Architecture]]:
    """Models of all `taught`, each a list of the numbers of its kinds of sentences, times all seeds, in that order.

    Yields the weights after every number of steps in `read_at`. `scale` is the standard deviation of the initial
    matrices, `decay` AdamW's weight decay.
    """
    shape = Architecture(
        vocab=vocabulary,
        context=3,
        layers=1,
        width=decoder.width,
        heads=decoder.heads,
        mlp=4 * decoder.width,
        unembedding="untied",
        init_std=scale,
    )
    batch = _batch([[sentences[kind] for kind in kinds] for kinds in taught], len(seeds))
    found: list[Weights] = []

    def keep(weights: Weights, step: int) -> list[dict[str, int]]:
        if step in read_at:
            found.append({name: weight.detach().clone() for name, weight in weights.items()})
        return []

    fit(
        initial_weights(shape, [seed for _ in taught for seed in seeds]),
        shape,
        lambda step: batch,
        Optimisation(steps=read_at[-1], learning_rate=decoder.learning_rate, weight_decay=decay),
        objective=next_token_loss,
        evaluate=keep,
        evaluate_every=1,
    )
    return ((step, weights, shape) for step, weights in zip(read_at, found, strict=True))


def _batch(lessons: Sequence[Sequence[Int[np.ndarray, "pair _"]]], seeds: int) -> Batch:
    """All sentences of every model at once, padded to equal length (no position sees a later one) and number."""
    longest = 3
    most = max(sum(len(kind) for kind in kinds) for kinds in lessons)
    tokens = torch.zeros(len(lessons), most, longest, dtype=torch.long)
    last = torch.zeros(len(lessons), most, dtype=torch.long)
    targets, weights = torch.zeros_like(last), torch.zeros(len(lessons), most)
    for model, kinds in enumerate(lessons):
        for row, sentence in enumerate(sentence for kind in kinds for sentence in kind.tolist()):
            tokens[model, row, : len(sentence) - 1] = torch.tensor(sentence[:-1])
            last[model, row], targets[model, row], weights[model, row] = len(sentence) - 2, sentence[-1], 1.0
    positions = last + longest * torch.arange(most)
    return Batch(
        tokens.repeat_interleave(seeds, 0),
        positions.repeat_interleave(seeds, 0),
        targets.repeat_interleave(seeds, 0),
        weights.repeat_interleave(seeds, 0),
    )


def answers(
    weights: Weights, shape: Architecture, prompts: Int[np.ndarray, "prompt pos"]
) -> Float[Tensor, "model prompt vocab"]:
    """Logits after every prompt."""
    models = len(weights["W_E"])
    with torch.no_grad():
        return logits(weights, torch.from_numpy(prompts).expand(models, -1, -1), shape)[:, :, -1]
