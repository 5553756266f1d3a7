"""Objectives of the remedies: words foretold left to right, restored from both sides, or names told as vectors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.models.architecture import Architecture
from oneway.models.transformer import Drop, Weights, layer_norm, residual
from oneway.training.cross_entropy import cross_entropy
from oneway.training.fit import Batch, next_token_loss
from oneway.training.remedies.rows import PAD, Dealt, masked_words, next_words

Objective = Literal["next word", "both sides", "uniform masks", "diffusion", "concepts"]
Symmetry = Literal["none", "penalty", "shared factor"]
SMALLEST_RATE = 0.05  # of masked words: 1/t of diffusion would be boundless


class Both(NamedTuple):
    """The same rows to be read left to right and to be restored from both sides."""

    forward: Batch
    masked: Batch


class Names(NamedTuple):
    """Rows read up to their last name, and the names to be told apart there, one a row.

    `ends` are the positions before the names, `last` the names' last positions.
    """

    tokens: Int[Tensor, "seed batch pos"]
    ends: Int[Tensor, "seed batch"]
    names: Int[Tensor, "seed batch name_pos"]
    last: Int[Tensor, "seed batch"]
    weights: Float[Tensor, "seed batch"]
    drop: Drop | None = None


def batches(objective: Objective, dealt: Dealt, seed: int) -> Callable[[int], Batch | Both | Names]:
    """Batches of an objective as a function of the step."""

    def masked(step: int) -> tuple[Batch, Tensor]:
        return masked_words(*dealt(step), np.random.default_rng((seed, 7, step)))

    def diffused(step: int) -> Batch:
        batch, rate = masked(step)
        by_row = 1 / rate.clamp_min(SMALLEST_RATE)[..., None]
        return batch._replace(weights=(batch.weights.view(batch.tokens.shape) * by_row).flatten(1))

    made: dict[Objective, Callable[[int], Batch | Both | Names]] = {
        "next word": lambda step: next_words(*dealt(step)),
        "both sides": lambda step: Both(next_words(*dealt(step)), masked(step)[0]),
        "uniform masks": lambda step: masked(step)[0],
        "diffusion": diffused,
        "concepts": lambda step: names_asked(*dealt(step)),
    }
    return made[objective]


def names_asked(tokens: Int[Tensor, "seed batch pos"], weights: Float[Tensor, "seed batch pos"]) -> Names:
    """The last name of every row as what is asked there."""
    target = weights > 0
    length = target.shape[-1]
    last = length - 1 - target.flip(-1).int().argmax(-1)
    before = (~target).flip(-1) & (torch.arange(length).flip(0) < last[..., None])
    first = length - before.int().argmax(-1)  # the first word of the run of targets that ends at `last`
    longest = int((last - first).max()) + 1
    index = (first[..., None] + torch.arange(longest)).clamp_max(length - 1)
    names = tokens.gather(-1, index)
    beyond = torch.arange(longest) > (last - first)[..., None]
    return Names(tokens, first - 1, names.masked_fill(beyond, PAD), last - first, weights.amax(-1))


def with_dropout(batch: Batch | Both | Names, drop: Drop) -> Batch | Both | Names:
    """The same batch, read with a part of the units silenced."""
    if isinstance(batch, Both):
        return Both(batch.forward._replace(drop=drop), batch.masked._replace(drop=drop))
    return batch._replace(drop=drop)


def loss_of(
    objective: Objective, symmetry: Symmetry, penalty: float
) -> Callable[[Weights, Architecture, Any], Tensor]:
    """The loss of an objective per seed, in nats, with the symmetry of weights that a remedy asks for."""
    reads: dict[Objective, Callable[[Weights, Architecture, Any], Tensor]] = {
        "next word": next_token_loss,
        "both sides": _mixed,
        "uniform masks": _restored,
        "diffusion": _restored,
        "concepts": name_loss,
    }
    read = reads[objective]

    def loss(weights: Weights, a: Architecture, batch: Any) -> Float[Tensor, " seed"]:
        weights = with_symmetry(weights, a, symmetry)
        found = read(weights, a, batch)
        return found + penalty * asymmetry(weights, a) if symmetry == "penalty" else found

    return loss


def _restored(weights: Weights, a: Architecture, batch: Batch) -> Tensor:
    return next_token_loss(weights, replace(a, attention="full"), batch)


def _mixed(weights: Weights, a: Architecture, batch: Both) -> Tensor:
    """Source: Lv et al. 2023, BICO (arXiv 2311.07468): next-word loss and denoising without the causal mask."""
    return next_token_loss(weights, a, batch.forward) + _restored(weights, a, batch.masked)


def name_loss(weights: Weights, a: Architecture, batch: Names) -> Float[Tensor, " seed"]:
    """−ln softmax over the names of the batch of state · name, where the state stands before the name.

    A name's vector is the same model's last state behind the name alone: one concept wherever it stands. Rows whose
    names are equal do not compete.

    Source: arXiv 2504.01928, concept-level prediction (JEPA). Deviation: vectors come from the model itself, without a
    second encoder or a moving average.
    """
    states, vectors = (
        states_at(weights, a, batch.tokens, batch.ends, batch.drop),
        states_at(weights, a, batch.names, batch.last, batch.drop),
    )
    scores = states @ vectors.mT
    same = (batch.names[:, :, None] == batch.names[:, None]).all(-1)
    scores = scores.masked_fill(same & ~torch.eye(same.shape[-1], dtype=torch.bool), -torch.inf)
    target = torch.arange(scores.shape[-1]).expand(scores.shape[:2])
    each = cross_entropy(scores.flatten(0, 1), target.flatten()).view(batch.weights.shape)
    return (each * batch.weights).sum(1) / batch.weights.sum(1).clamp_min(1e-12)


def states_at(
    weights: Weights,
    a: Architecture,
    tokens: Int[Tensor, "seed batch pos"],
    at: Int[Tensor, "seed batch"],
    drop: Drop | None = None,
) -> Float[Tensor, "seed batch d_model"]:
    """The normed residual stream at one position of every row."""
    resid = residual(weights, tokens, a, drop)
    read = resid.gather(2, at[..., None, None].expand(-1, -1, 1, a.width)).squeeze(2)
    return layer_norm(read, weights["ln_f.w"], weights["ln_f.b"], a.norm_epsilon)


def with_symmetry(weights: Weights, a: Architecture, symmetry: Symmetry) -> Weights:
    """The weights as they are used: with a shared factor every head writes as it reads, W_O = W_Vᵀ.

    The logits that a head gives every token for every token are then E W_V W_Vᵀ Eᵀ where embeddings are tied, which is
    symmetric. Source: ours, on Zhu et al. 2024, open questions (arXiv 2405.04669).
    """
    if symmetry != "shared factor":
        return weights
    tied = dict(weights)
    for layer in range(a.layers):
        values = weights[f"blocks.{layer}.W_QKV"][..., 2 * a.width :]
        tied[f"blocks.{layer}.W_O"] = values.mT
    return tied


def asymmetry(weights: Weights, a: Architecture) -> Float[Tensor, " seed"]:
    """Σ over layers of ‖M − Mᵀ‖² / ‖M‖², M = W_V W_O: 0 where E M Eᵀ is symmetric, at most 4."""
    found = []
    for layer in range(a.layers):
        m = weights[f"blocks.{layer}.W_QKV"][..., 2 * a.width :] @ weights[f"blocks.{layer}.W_O"]
        found.append((m - m.mT).square().sum((1, 2)) / m.square().sum((1, 2)).clamp_min(1e-12))
    return torch.stack(found).sum(0)
