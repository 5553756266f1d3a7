"""What is made small in training: a loss of the answer's logits, for any kind of model that the fit loop trains."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from oneway.models.architecture import Architecture
from oneway.models.lstm import LSTM, lstm_states_at_end, lstm_unembed
from oneway.models.transformer import Drop, Weights, residual_at_end, unembed
from oneway.training.cross_entropy import cross_entropy
from oneway.training.fit import Batch, Objective

Loss = Literal["cross_entropy", "label_smoothing", "squared_error", "focal"]
SMOOTHING = 0.1  # the share of the target that label smoothing spreads evenly over the vocabulary


def logits_at_end(
    weights: Weights,
    tokens: Int[Tensor, "seed batch pos"],
    a: Architecture | LSTM,
    read: int,
    drop: Drop | None = None,
) -> Float[Tensor, "seed n vocab"]:
    """Logits at the last `read` positions of every sentence, n = batch · read."""
    if isinstance(a, LSTM):
        return lstm_unembed(weights, lstm_states_at_end(weights, tokens, a, read, drop).flatten(1, 2), a)
    return unembed(weights, residual_at_end(weights, tokens, a, read, drop).flatten(1, 2), a)


def label_smoothing(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cross-entropy with a target that spreads a tenth of its mass over the vocabulary.

    −Σ q ln p with q = 0.9 on the target plus 0.1/vocab everywhere. Source: Szegedy et al. 2016.
    """
    return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=SMOOTHING)


def squared_error(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Σ (p − q)² over the vocabulary, q being 1 on the target: Brier's score."""
    p = logits.softmax(-1)
    right = p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return p.square().sum(-1) - 2 * right + 1


def focal(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """−(1 − p)^γ ln p of the target with γ = 2: what is known well counts little. Source: Lin et al. 2017."""
    nll = cross_entropy(logits, targets)
    return (-torch.expm1(-nll)).square() * nll


LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "label_smoothing": label_smoothing,
    "squared_error": squared_error,
    "focal": focal,
}


def best_probability(loss: Loss, vocab: int) -> float:
    """The probability of the target at which the loss is smallest: 1, or what label smoothing leaves."""
    return 1 - SMOOTHING + SMOOTHING / vocab if loss == "label_smoothing" else 1.0


def last_tokens_objective(loss: Loss) -> Objective:
    """The weighted mean of the loss where every sentence's targets are its last tokens (`last_tokens_loss`).

    The tokens stop before the last target; with as many targets as tokens the whole sequence is predicted.
    """

    def objective(weights: Weights, a: Architecture | LSTM, batch: Batch) -> Float[Tensor, " seed"]:
        read = batch.targets.shape[1] // batch.tokens.shape[1]
        logits = logits_at_end(weights, batch.tokens, a, read, batch.drop)
        each = LOSSES[loss](logits.flatten(0, 1), batch.targets.flatten()).view_as(batch.weights)
        return (each * batch.weights).sum(1) / batch.weights.sum(1).clamp_min(1e-12)

    return objective
