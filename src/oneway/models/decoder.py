"""What a decoder of a known family computes, as data: enough to run its weights without its own code."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """Rotary positions: the angle of pair i at position t is t · frequencies[i].

    `frequencies` has half as many entries as a head has rotated dimensions, the first ones of each head. Cosine and
    sine are multiplied by `scaling` (1 for all but YaRN-like scalings). Scalings of the context (linear, llama3)
    are in the frequencies.
    """

    frequencies: Float[Tensor, " half"]
    scaling: float = 1.0

    @property
    def width(self) -> int:
        """How many dimensions of each head are rotated."""
        return 2 * len(self.frequencies)

    def table(
        self, positions: Int[Tensor, " pos"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "pos width"], Float[Tensor, "pos width"]]:
        """Cosine and sine at these positions, computed in float32 as in the checkpoint's own code, or in float64."""
        precision = torch.float64 if dtype == torch.float64 else torch.float32
        angles = positions.to(precision)[:, None] * self.frequencies.to(precision)
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * self.scaling).to(dtype), (angles.sin() * self.scaling).to(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class AttentionForm:
    """What differs between the attention of layers: softmax(`scale` · q·k), the `window` of keys that a query sees
    (itself and those before, None: all), and the positions."""

    scale: float
    window: int | None
    rotary: Rotary | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Decoder:
    """The form of a decoder-only transformer.

        resid_mid  = resid_pre + attn_out        attn_out = post₁(z W_O + b_O)
        resid_post = resid_mid + mlp_out         mlp_out = post₂(mlp_post W_out + b_out)
        mlp_in = ln2(resid_mid), or ln2(resid_pre) where `block` is "parallel"
        mlp_post = act(mlp_pre), or act(mlp_pre) · (mlp_in W_up) where `gated`

    post₁ and post₂ are norms where `post_norms`, else nothing. `qk_norm`: queries and keys are normed per head before
    they are rotated. Embeddings are multiplied by `embedding_scale`; logits pass through `softcap` · tanh(x / softcap).
    """

    family: str
    vocab: int
    context: int
    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_head: int
    d_mlp: int
    block: Literal["sequential", "parallel"]
    norm: Literal["layer", "rms"]
    epsilon: float
    activation: Activation
    attention: tuple[AttentionForm, ...]
    gated: bool = False
    post_norms: bool = False
    qk_norm: bool = False
    embedding_scale: float = 1.0
    softcap: float | None = None

    @property
    def group(self) -> int:
        """How many query heads share a key-value head."""
        return self.heads // self.kv_heads
