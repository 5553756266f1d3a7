"""The shape of a small decoder, as data."""

from dataclasses import dataclass
from typing import Literal

Block = Literal["sequential", "parallel"]
Positions = Literal["learned", "rotary", "none"]
Embeddings = Literal["learned", "frozen", "both_ends_frozen"]
Attention = Literal["causal", "full"]

# The weights that stay at their start.
FROZEN: dict[Embeddings, frozenset[str]] = {
    "learned": frozenset(),
    "frozen": frozenset({"W_E", "W_pos"}),
    "both_ends_frozen": frozenset({"W_E", "W_pos", "W_U"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A decoder-only transformer.

    `block`: attention then MLP (GPT-2) or both from the same residual stream (NeoX). `positions`: added
    learned vectors, rotary over the whole head, or none. `unembedding`: its own matrix or the embedding's
    transpose. `embeddings` of tokens and positions: trained; frozen at their start, while an untied
    unembedding still trains; or "both_ends_frozen", the unembedding too. `ov`:
    values and outputs as two factors per head, or merged into one d_model × d_model matrix per head, which
    has no Hugging Face form. `attention`: every position sees those before it and itself, or all (no Hugging
    Face form either). `init_std`: standard deviation of the initial matrices; those that write to
    the residual stream are divided by √(2 · layers).
    """

    vocab: int
    context: int
    layers: int
    width: int
    heads: int
    mlp: int
    block: Block = "sequential"
    positions: Positions = "learned"
    unembedding: Literal["tied", "untied"] = "tied"
    embeddings: Embeddings = "learned"
    ov: Literal["factorised", "merged"] = "factorised"
    attention: Attention = "causal"
    activation: Literal["gelu", "gelu_tanh"] = "gelu_tanh"
    init_std: float = 0.02
    norm_epsilon: float = 1e-5
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.head_width}")
        if self.unembedding == "tied" and self.embeddings == "frozen":
            raise ValueError("a tied unembedding cannot train while the embeddings are frozen: untie them")
        for name in ("vocab", "context", "layers", "width", "heads", "mlp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def gpt2(*, vocab: int, context: int, layers: int, width: int, heads: int) -> Architecture:
    """GPT-2's style: sequential blocks, learned positions, tied unembedding, MLP four times the width."""
    return Architecture(
        vocab=vocab, context=context, layers=layers, width=width, heads=heads, mlp=4 * width
    )  # fmt: skip


def neox(*, vocab: int, context: int, layers: int, width: int, heads: int) -> Architecture:
    """GPT-NeoX's style: parallel blocks, rotary positions, untied unembedding, exact GELU."""
    return Architecture(
        vocab=vocab,
        context=context,
        layers=layers,
        width=width,
        heads=heads,
        mlp=4 * width,
        block="parallel",
        positions="rotary",
        unembedding="untied",
        activation="gelu",
    )
