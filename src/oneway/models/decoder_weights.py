"""The weights of a decoder as the field reads them: names and shapes in one place, whatever the family.

Everything multiplies from the right: x W + b. Heads are the leading axis of W_Q, W_K, W_V and W_O. The tensors are
views of the model's own wherever its layout allows it; nobody writes to them.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BlockWeights:
    """One block. What a family does not have is None: biases, the gate, norms after, norms of queries and keys.

    `W_in` makes mlp_pre, which goes through the activation; `W_up`, of a gated MLP, what that is multiplied with.
    (Llama calls them gate_proj and up_proj.) `ln1_post` and `ln2_post` norm what attention and MLP write (Gemma).
    """

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "kv_head d_model d_head"]
    W_V: Float[Tensor, "kv_head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    W_in: Float[Tensor, "d_model d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    ln1_w: Float[Tensor, " d_model"]
    ln2_w: Float[Tensor, " d_model"]
    ln1_b: Float[Tensor, " d_model"] | None = None
    ln2_b: Float[Tensor, " d_model"] | None = None
    b_Q: Float[Tensor, "head d_head"] | None = None
    b_K: Float[Tensor, "kv_head d_head"] | None = None
    b_V: Float[Tensor, "kv_head d_head"] | None = None
    b_O: Float[Tensor, " d_model"] | None = None
    b_in: Float[Tensor, " d_mlp"] | None = None
    b_out: Float[Tensor, " d_model"] | None = None
    W_up: Float[Tensor, "d_model d_mlp"] | None = None
    b_up: Float[Tensor, " d_mlp"] | None = None
    ln1_post_w: Float[Tensor, " d_model"] | None = None
    ln2_post_w: Float[Tensor, " d_model"] | None = None
    q_norm_w: Float[Tensor, " d_head"] | None = None
    k_norm_w: Float[Tensor, " d_head"] | None = None

    def ov(self, head: int) -> Float[Tensor, "d_model d_model"]:
        """The OV circuit of a head: W_V W_O, what it writes for what it attends to.

        Source: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
        """
        return self.W_V[head // self._group] @ self.W_O[head]

    def qk(self, head: int) -> Float[Tensor, "d_model d_model"]:
        """The QK circuit of a head: W_Q W_Kᵀ, before rotary positions, norms of queries and keys, and the scale."""
        return self.W_Q[head] @ self.W_K[head // self._group].T

    @property
    def _group(self) -> int:
        return len(self.W_Q) // len(self.W_K)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DecoderWeights:
    """A whole decoder: embeddings, blocks, final norm `ln_f`, unembedding (W_Eᵀ where the two are tied)."""

    W_E: Float[Tensor, "vocab d_model"]
    blocks: tuple[BlockWeights, ...]
    ln_f_w: Float[Tensor, " d_model"]
    W_U: Float[Tensor, "d_model vocab"]
    W_pos: Float[Tensor, "context d_model"] | None = None
    ln_f_b: Float[Tensor, " d_model"] | None = None

    def to(self, dtype: torch.dtype) -> "DecoderWeights":
        """The same in another number format."""

        def cast(part: Any) -> dict[str, Any]:
            tensors = {f.name: getattr(part, f.name) for f in fields(part)}
            return {n: v.to(dtype) if isinstance(v, Tensor) else v for n, v in tensors.items()}

        blocks = tuple(BlockWeights(**cast(block)) for block in self.blocks)
        return DecoderWeights(**cast(self) | {"blocks": blocks})

    def named(self) -> dict[str, Tensor]:
        """Every tensor by its name: "W_E", "blocks.0.W_Q", …"""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "blocks"}
        for layer, block in enumerate(self.blocks):
            found |= {f"blocks.{layer}.{f.name}": getattr(block, f.name) for f in fields(block)}
        return {name: value for name, value in found.items() if value is not None}


def flat(weight: Float[Tensor, "head d_model d_head"]) -> Float[Tensor, "d_model head_d_head"]:
    """The heads side by side, as one matrix: [d_model, head · d_head], a transpose in memory as most families' own."""
    return weight.transpose(1, 2).flatten(0, 1).T


def folded(
    norm_w: Float[Tensor, " d_in"],
    norm_b: Float[Tensor, " d_in"] | None,
    weight: Float[Tensor, "d_in d_out"],
    bias: Float[Tensor, " d_out"] | None,
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, " d_out"] | None]:
    """The matrix and bias that take a norm's scale and shift into themselves: exact, since both are linear.

    (x̂ · w + b) W + c = x̂ (diag(w) W) + (b W + c), with x̂ the normed x before its scale and shift.
    """
    if norm_b is None:
        return norm_w[:, None] * weight, bias
    shifted = norm_b @ weight
    return norm_w[:, None] * weight, shifted if bias is None else shifted + bias


def folded_unembedding(weights: DecoderWeights) -> tuple[Tensor, Tensor | None]:
    """W_U with the final norm's scale and shift folded in: what reads the normed residual stream directly."""
    return folded(weights.ln_f_w, weights.ln_f_b, weights.W_U, None)
