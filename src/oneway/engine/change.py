"""How an edit inside a block changes what the block adds to the residual stream, at the edited positions."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from oneway.engine.layer import Layer
from oneway.engine.prepared import Prepared
from oneway.engine.site import Kind, Site
from oneway.engine.tap import Edit, write

# Kinds whose edit changes the residual stream at the edited position only, by an amount that is soon computed.
OF_ATTENTION: tuple[Kind, ...] = ("z", "head_out", "attn_out", "resid_mid")
OF_MLP: tuple[Kind, ...] = ("mlp_post", "mlp_out", "resid_post")


def source(kind: Kind) -> Kind:
    """The kind to read, so that an edit of this kind can be made: heads' outputs follow from z."""
    return "z" if kind == "head_out" else kind


def sites(kind: Kind, layer: int | None, positions: range) -> list[Site]:
    """A site for each position."""
    return [Site(kind, layer, position=position) for position in positions]


def held(
    found: Mapping[Site, Tensor], kind: Kind, layer: int | None, positions: range
) -> Float[Tensor, "one batch pos *feature"]:
    """What was read at `sites(kind, layer, positions)`."""
    return torch.stack([found[site] for site in sites(kind, layer, positions)], dim=1)[None]


def edited(
    clean: Float[Tensor, "one batch pos *feature"], edits: Sequence[Edit], runs: int, positions: range
) -> Float[Tensor, "run batch pos *feature"]:
    """A copy for each run, with its edits."""
    new = clean.repeat(runs, *(1 for _ in clean.shape[1:]))
    for edit in edits:
        write(new, edit, positions)
    return new


def change(
    model: Prepared, found: Mapping[Site, Tensor], edits: Sequence[Edit], runs: int, positions: range
) -> Float[Tensor, "run batch pos d_model"]:
    """What the edits, all of one kind in one layer, add to the residual stream where they write to it."""
    kind, index = edits[0].site.kind, edits[0].site.layer
    old = held(found, source(kind), index, positions)
    if kind == "embedding" or index is None:
        return edited(old, edits, runs, positions) - old
    layer = model.layer(index)
    if kind == "head_out":
        old = torch.einsum("rbphe,hed->rbphd", old, layer.weights.W_O)
    new = edited(old, edits, runs, positions)
    return _added(layer, kind, new) - _added(layer, kind, old)


def _added(layer: Layer, kind: Kind, value: Tensor) -> Float[Tensor, "run batch pos d_model"]:
    """What attention or MLP adds to the residual stream, given the value at a site of theirs."""
    shape = (*value.shape[:3], layer.form.d_model)
    if kind == "z":
        return layer.after_attention(layer.attn_out(value.flatten(0, 2).flatten(1)).view(shape))
    if kind == "head_out":
        total = value.sum(3)
        return layer.after_attention(total if layer.weights.b_O is None else total + layer.weights.b_O)
    if kind == "mlp_post":
        return layer.after_mlp(layer.mlp_out(value.flatten(0, 2)).view(shape))
    return value
