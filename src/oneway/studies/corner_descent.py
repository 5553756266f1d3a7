"""Stacked gradient descent on a matrix of logits, free or a product of two factors.

A sentence is the bag of its tokens: logits = Σ W[token] over the prompt, and the loss is the mean cross-entropy of the
last tokens. With W = U Vᵀ gradient descent from a small start prefers few large directions (a small nuclear norm),
and weight decay λ on the factors is the penalty λ‖W‖_*; a free W has neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Parametrisation = Literal["factorised", "direct"]
RANK = 32  # of the factors: more than the matrix has, so that it is no constraint


@dataclass(frozen=True, slots=True)
class Start:
    """Where one model of the stack begins and how it decays: seed, standard deviation of its entries, λ."""

    seed: int
    scale: float
    decay: float


class Lessons(NamedTuple):
    """Prompts as counts of their tokens, the tokens to be predicted, and how much each model is taught of them."""

    prompts: Float[Tensor, "sentence token"]
    targets: Int[Tensor, " sentence"]
    weights: Float[Tensor, "model sentence"]  # a row sums to 1


def descend(
    parametrisation: Parametrisation,
    starts: Sequence[Start],
    lessons: Lessons,
    *,
    step: float,
    read_at: Sequence[int],
) -> Iterator[tuple[int, Float[Tensor, "model token vocab"]]]:
    """Plain gradient descent of the whole stack: W after every number of steps in `read_at`, which rises.

    θ ← (1 − ηλ) θ − η ∇L, η being `step`. The gradient of W is Xᵀ (P − T) with the prompts X, the probabilities P and
    the targets T; the factors' are ∇W V and ∇Wᵀ U.

    Source: sources of the three-corner experiment: step 0.5, start 0.01, 20,000 steps. Deviation: none known.
    """
    tokens = lessons.prompts.shape[1]
    shapes = [(tokens, RANK), (tokens, RANK)] if parametrisation == "factorised" else [(tokens, tokens)]
    drawn = [_drawn(start, shapes) for start in starts]
    parts = [torch.stack(of_all) for of_all in zip(*drawn, strict=True)]
    keep = 1 - step * torch.tensor([start.decay for start in starts])[:, None, None]
    wanted = torch.nn.functional.one_hot(lessons.targets, tokens).float()
    back, done = lessons.prompts.T, 0
    weight = lessons.weights[..., None]
    for reading in read_at:
        for _ in range(done, reading):
            error = ((lessons.prompts @ _matrix(parts)).softmax(-1) - wanted) * weight
            gradient = back @ error
            moves = [gradient] if len(parts) == 1 else [gradient @ parts[1], gradient.mT @ parts[0]]
            parts = [keep * part - step * move for part, move in zip(parts, moves, strict=True)]
        done = reading
        yield done, _matrix(parts)


def _drawn(start: Start, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(start.seed)
    return [start.scale * torch.randn(*shape, generator=generator) for shape in shapes]


def _matrix(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else parts[0] @ parts[1].mT
