"""Where each head looks, and models without one head."""

from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from oneway.models.architecture import Architecture

if TYPE_CHECKING:
    from oneway.models.transformer import Weights


class Heads(NamedTuple):
    """What every head of every layer does on some sentences."""

    pattern: Float[Tensor, "seed layer head batch pos key"]
    mean_out: Float[Tensor, "seed layer head d_model"]  # over sentences and positions, without b_O


def heads_of(weights: "Weights", tokens: Int[Tensor, "seed batch pos"], a: Architecture) -> Heads:
    """Attention patterns and mean outputs of all heads.

    Raises ValueError for rotary positions or merged OV, which it does not take apart.
    """
    import torch

    from oneway.models.transformer import affine, block, block_weights, embed, layer_norm

    if a.positions == "rotary" or a.ov != "factorised":
        raise ValueError("heads are taken apart for learned or no positions and factorised OV only")
    seeds, batch, pos = tokens.shape
    resid = embed(weights, tokens, a)
    later = torch.ones(pos, pos, dtype=torch.bool).triu(1)
    patterns, means = [], []
    for layer in range(a.layers):
        w = block_weights(weights, layer)
        normed = layer_norm(resid.reshape(seeds, -1, a.width), w["ln1.w"], w["ln1.b"], a.norm_epsilon)
        parts = affine(normed, w["W_QKV"], w["b_QKV"]).view(seeds, batch, pos, 3, a.heads, a.head_width)
        q, k, v = parts.permute(3, 0, 4, 1, 2, 5)  # each [seed head batch pos d_head]
        scores = (q @ k.transpose(-1, -2) / a.head_width**0.5).masked_fill(later, -torch.inf)
        patterns.append(scores.softmax(-1))
        mean = (patterns[-1] @ v).mean((2, 3))
        means.append(torch.einsum("shd,shde->she", mean, w["W_O"].view(seeds, a.heads, a.head_width, -1)))
        resid, _ = block(w, resid, a)
    return Heads(torch.stack(patterns, 1), torch.stack(means, 1))


def without_head(weights: "Weights", a: Architecture, found: Heads, layer: int, head: int) -> "Weights":
    """The same models with one head's output held at its mean at every position (mean ablation)."""
    p = f"blocks.{layer}."
    w_o = weights[f"{p}W_O"].clone()
    w_o[:, head * a.head_width : (head + 1) * a.head_width] = 0
    return {**weights, f"{p}W_O": w_o, f"{p}b_O": weights[f"{p}b_O"] + found.mean_out[:, layer, head]}
