"""Where an edit rightly changes nothing: the weights that would carry it on are exactly zero.

Compiled models have heads and neurons that do nothing, and so have pruned ones.
"""

import torch
from torch import Tensor

from oneway.engine.site import Site
from oneway.models.decoder_weights import BlockWeights

# What of a head, or of a neuron, carries an edit of this kind on; where one of these is zero, nothing is carried.
CARRIED_BY: dict[str, tuple[tuple[str, ...], ...]] = {
    "q": (("W_K", "b_K"), ("W_V",), ("W_O",)),
    "k": (("W_Q", "b_Q"), ("W_V",), ("W_O",)),
    "v": (("W_O",),),
    "pattern": (("W_V", "b_V"), ("W_O",)),
    "z": (("W_O",),),
    "mlp_in": (("W_in", "W_up"), ("W_up", "b_up"), ("W_out",)),
    "mlp_pre": (("W_up", "b_up"), ("W_out",)),
    "mlp_post": (("W_out",),),
}
OF_ATTENTION = ("q", "k", "v", "pattern", "z", "head_out")


def reason(site: Site, weights: BlockWeights) -> str:
    """Which weights of the block are zero, so that an edit of this whole site changes nothing; "" if none explain it.

    Every head, or every neuron, must have a matrix of zeros on the way; a norm after whose scale is zero ends all.
    """
    norm = "ln1_post_w" if site.kind in OF_ATTENTION else "ln2_post_w"
    after = getattr(weights, norm)
    if site.kind in (*CARRIED_BY, "head_out") and after is not None and not bool(after.any()):
        return f"{norm} is zero"
    found, units = [], None
    for names in CARRIED_BY.get(site.kind, ()):
        zero = _zero(weights, names)
        if zero is not None and bool(zero.any()):
            found.append(" and ".join(name for name in names if getattr(weights, name) is not None))
            units = zero if units is None else units | zero
    if units is None or not bool(units.all()):
        return ""
    return f"{' or '.join(found)} of every {'head' if site.kind in OF_ATTENTION else 'neuron'} is zero"


def _zero(weights: BlockWeights, names: tuple[str, ...]) -> Tensor | None:
    """For each head or neuron, whether its part of all of these is zero; None where the model has none of them."""
    parts = [_unused(weights, name, value) for name in names if (value := getattr(weights, name)) is not None]
    return torch.stack(parts).all(0) if parts else None


def _unused(weights: BlockWeights, name: str, value: Tensor) -> Tensor:
    """For each head or neuron, whether its part of a matrix or bias is zero."""
    if name in ("W_in", "W_up"):
        value = value.T
    unused = (value == 0).reshape(len(value), -1).all(1)
    return unused.repeat_interleave(len(weights.W_Q) // len(unused)) if name[2] in "QKVO" else unused
