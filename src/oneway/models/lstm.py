"""A stack of LSTM layers over named weights, many seeds at once: the other kind of model that reads in order.

Names of the weights (shapes without the seed axis; the four gates stand as input, forget, cell, output):

    W_E [vocab d_model]   W_U [d_model vocab] (untied only)   b_U [vocab]
    blocks.{layer}.W_x W_h [d_model 4·d_model]   b [4·d_model]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from oneway.models.architecture import Embeddings
from oneway.models.transformer import Drop, Weights, affine


@dataclass(frozen=True, slots=True, kw_only=True)
class LSTM:
    """`layers` LSTM layers as wide as the embeddings; `unembedding` and `embeddings` as in `Architecture`."""

    vocab: int
    layers: int
    width: int
    unembedding: Literal["tied", "untied"] = "tied"
    embeddings: Embeddings = "learned"

    def __post_init__(self) -> None:
        if self.unembedding == "tied" and self.embeddings == "frozen":
            raise ValueError("a tied unembedding cannot train while the embeddings are frozen: untie them")
        for name in ("vocab", "layers", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def initial_lstm(a: LSTM, seeds: Sequence[int]) -> Weights:
    """Fresh weights, one model per seed: everything uniform within ±1/√width, as PyTorch's LSTM starts."""
    singles = [_initial_single(a, seed) for seed in seeds]
    return {name: torch.stack([single[name] for single in singles]) for name in singles[0]}


def _initial_single(a: LSTM, seed: int) -> Weights:
    generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(a.width)

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator) - 1) * bound

    weights: Weights = {"W_E": uniform(a.vocab, a.width)}
    for layer in range(a.layers):
        weights |= {f"blocks.{layer}.{name}": uniform(a.width, 4 * a.width) for name in ("W_x", "W_h")}
        weights[f"blocks.{layer}.b"] = uniform(4 * a.width)
    if a.unembedding == "untied":
        weights["W_U"] = uniform(a.width, a.vocab)
    return weights | {"b_U": torch.zeros(a.vocab)}


def lstm_states_at_end(
    weights: Weights, tokens: Int[Tensor, "seed batch pos"], a: LSTM, read: int, drop: Drop | None = None
) -> Float[Tensor, "seed batch read d_model"]:
    """The last layer's hidden states at the last `read` positions.

    i, f, o = σ(·), g = tanh(·) of x W_x + h W_h + b;  c ← f·c + i·g;  h ← o·tanh(c).
    `drop` silences part of the embeddings and of what every layer puts out.
    """
    seeds, batch, pos = tokens.shape
    offsets = torch.arange(seeds, device=tokens.device).view(-1, 1, 1) * a.vocab
    x = functional.embedding(tokens + offsets, weights["W_E"].reshape(-1, a.width))
    x = x if drop is None else drop(x)
    for layer in range(a.layers):
        w_x, w_h, b = (weights[f"blocks.{layer}.{name}"] for name in ("W_x", "W_h", "b"))
        driven = affine(x.reshape(seeds, -1, a.width), w_x, b).view(seeds, batch, pos, -1)
        hidden = cell = torch.zeros(seeds, batch, a.width, dtype=x.dtype, device=x.device)
        states = []
        for at in range(pos):
            gates = driven[:, :, at] if at == 0 else torch.baddbmm(driven[:, :, at], hidden, w_h)
            i, f, g, o = gates.chunk(4, dim=-1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            states.append(hidden)
        x = torch.stack(states, dim=2)
        x = x if drop is None else drop(x)
    return x[:, :, pos - read :]


def lstm_unembed(
    weights: Weights, states: Float[Tensor, "seed n d_model"], a: LSTM
) -> Float[Tensor, "seed n vocab"]:
    """Logits: states W_U + b_U, with the embedding's transpose where it is tied."""
    unembedding = weights["W_U"] if a.unembedding == "untied" else weights["W_E"].transpose(1, 2)
    return affine(states, unembedding, weights["b_U"])
