"""One transformer block, at the positions that changed, for the positions that are needed.

The trainer's block (`oneway.models.transformer`) has a seed axis on every weight, runs under autograd and drops out;
this one shares what did not change between many runs of one model. A single function for both would be a switch in
every line, so they share the form of the weights and are held together by tests: a grown model, exported, gives
equal logits here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from oneway.engine.attention import mixed, normed_heads, rotate
from oneway.engine.layer import Layer
from oneway.engine.site import Kind
from oneway.engine.tap import NOTHING, KeysValues, Past, Tap

OF_MLP: tuple[Kind, ...] = ("mlp_in", "mlp_pre", "mlp_post", "mlp_out", "resid_post")
AFTER_IN: tuple[Kind, ...] = ("mlp_pre", "mlp_post", "mlp_out", "resid_post")
AFTER_PRE: tuple[Kind, ...] = ("mlp_post", "mlp_out", "resid_post")
AFTER_Z: tuple[Kind, ...] = ("head_out", "attn_out", "resid_mid", "resid_post")
OF_MIXING: tuple[Kind, ...] = ("pattern", "z", *AFTER_Z)
OF_ATTENTION: tuple[Kind, ...] = ("q", "k", "v", *OF_MIXING)


@dataclass(frozen=True, slots=True)
class Span:
    """The positions whose residual stream is given (`fresh`: it may have changed) and those asked for (`needed`)."""

    fresh: range
    needed: range

    @property
    def overlap(self) -> range:
        """The needed positions that are given."""
        start = max(self.fresh.start, self.needed.start)
        return range(start, max(start, min(self.fresh.stop, self.needed.stop)))

    @property
    def after(self) -> range:
        """The needed positions behind those given: there only attention can have changed."""
        return range(max(self.fresh.stop, self.needed.start), self.needed.stop)


def block(
    layer: Layer,
    x: Float[Tensor, "run batch fresh d_model"],
    span: Span,
    past: KeysValues | None = None,
    tap: Tap = NOTHING,
) -> Float[Tensor, "run batch needed d_model"]:
    """resid_post at the needed positions, from resid_pre at the fresh ones.

    `past` is what the layer computed in a run without interventions: keys and values of the positions that are not
    fresh and, where some needed positions lie behind the fresh ones, their queries and `base`. Keys before the
    first needed position may be anything that `past` holds: prompts' common beginning, another run's.
    Where the tap has a goal the block stops as soon as that is reached, and returns what it then has.
    """
    x = tap("resid_pre", x, span.fresh)
    inside = slice(span.overlap.start - span.fresh.start, span.overlap.stop - span.fresh.start)
    base = given = x[:, :, inside]
    if not layer.sequential and tap.needs(OF_MLP):
        base = with_mlp(layer, given, given, span.overlap, tap)
    # The MLP of a sequential block reads what attention wrote.
    mlp_after = layer.sequential and tap.needs(OF_MLP)
    if not tap.needs(OF_ATTENTION) and not mlp_after:
        return base
    if len(span.after):
        assert isinstance(past, Past)
        kept = _part(past.base, span.after, past.start, dim=2)
        base = torch.cat((base, kept.expand(*x.shape[:2], -1, -1)), dim=2)
    normed = layer.attention_input(x)
    k, v = _keys_values(layer, normed, span, past, tap)
    q = _queries(layer, normed[:, :, inside], span, past, tap)
    if tap.keeps:
        tap.past = Past(k, v, span.needed.start, q, base)
    if not tap.needs(OF_MIXING) and not mlp_after:
        return base
    z = mixed(layer, q, k, v, span.needed, tap)
    if not tap.needs(AFTER_Z) and not mlp_after:
        return base
    if layer.sequential:
        mid = tap("resid_mid", _with_attention(layer, z, base, span.needed, tap), span.needed)
        if not tap.needs(OF_MLP):
            return mid
        out = with_mlp(layer, mid, mid, span.needed, tap)
    elif tap.wants("resid_mid"):
        mid = tap("resid_mid", _with_attention(layer, z, given, span.needed, tap), span.needed)
        out = mid + (base - given)
    else:
        out = _with_attention(layer, z, base, span.needed, tap)
    return tap("resid_post", out, span.needed)


def _part(x: Tensor, positions: range, start: int, dim: int) -> Tensor:
    """These positions of a tensor whose axis `dim` begins with the position `start`."""
    return x.narrow(dim, positions.start - start, len(positions))


def _queries(
    layer: Layer, normed: Tensor, span: Span, past: KeysValues | None, tap: Tap
) -> Float[Tensor, "run batch head needed d_head"]:
    """Queries of the needed positions: computed where the residual stream is given, else as they were."""
    form = layer.form
    q = layer.q(normed.reshape(-1, form.d_model)).view(*normed.shape[:3], form.heads, form.d_head)
    q = tap("q", q, span.overlap)
    q = rotate(layer, normed_heads(q, layer.weights.q_norm_w, layer), span.overlap).transpose(2, 3)
    if not len(span.after):
        return q
    assert isinstance(past, Past)
    kept = _part(past.q, span.after, past.start, dim=3)
    return torch.cat((q, kept.expand(*q.shape[:3], -1, -1)), dim=3)


def _keys_values(
    layer: Layer, normed: Tensor, span: Span, past: KeysValues | None, tap: Tap
) -> tuple[Float[Tensor, "run batch kv_head pos d_head"], Float[Tensor, "run batch kv_head pos d_head"]]:
    """Keys and values of all positions up to the last needed one."""
    form = layer.form
    kv = layer.kv(normed.reshape(-1, form.d_model))
    k, v = kv.view(*normed.shape[:3], 2 * form.kv_heads, form.d_head).split(form.kv_heads, dim=3)
    k, v = tap("k", k, span.fresh), tap("v", v, span.fresh)
    k = rotate(layer, normed_heads(k, layer.weights.k_norm_w, layer), span.fresh).transpose(2, 3)
    v = v.transpose(2, 3)
    if past is None:
        return k, v
    shape = (*normed.shape[:2], form.kv_heads, -1, -1)

    def whole(new: Tensor, old: Tensor) -> Tensor:
        before, behind = range(span.fresh.start), range(span.fresh.stop, span.needed.stop)
        pieces = [_part(old, part, 0, dim=3).expand(shape) for part in (before, behind) if len(part)]
        pieces.insert(1 if len(before) else 0, new)
        return torch.cat(pieces, dim=3)

    return whole(k, past.k), whole(v, past.v)


def _with_attention(
    layer: Layer, z: Float[Tensor, "run batch pos head d_head"], base: Tensor, positions: range, tap: Tap
) -> Float[Tensor, "run batch pos d_model"]:
    """base + attn_out."""
    flat, shape = z.reshape(-1, layer.form.heads * layer.form.d_head), (*z.shape[:3], layer.form.d_model)
    if layer.form.post_norms or tap.wants("head_out", "attn_out"):
        out = layer.attn_out(flat).view(shape)
        for run, own in tap.one_by_one("head_out", len(z)):
            by_head = torch.einsum("rbphe,hed->rbphd", z[run : run + 1], layer.weights.W_O)
            out[run] += (own("head_out", by_head, positions) - by_head).sum(3)[0]
        return base + tap("attn_out", layer.after_attention(out), positions)
    return layer.attn_out.onto(flat, base.reshape(-1, layer.form.d_model)).view(shape)


def with_mlp(
    layer: Layer,
    read: Float[Tensor, "run batch pos d_model"],
    base: Float[Tensor, "run batch pos d_model"],
    positions: range,
    tap: Tap = NOTHING,
) -> Float[Tensor, "run batch pos d_model"]:
    """base + mlp_out, the MLP reading `read`; or base alone where the tap's goal is reached before."""
    post = _mlp_post(layer, tap("mlp_in", layer.mlp_input(read), positions), positions, tap)
    if post is None:
        return base
    flat = post.reshape(-1, layer.form.d_mlp)
    if layer.form.post_norms or tap.wants("mlp_out"):
        return base + tap("mlp_out", layer.after_mlp(layer.mlp_out(flat)).view(base.shape), positions)
    return layer.mlp_out.onto(flat, base.reshape(-1, layer.form.d_model)).view(base.shape)


def _mlp_post(
    layer: Layer, mlp_in: Float[Tensor, "run batch pos d_model"], positions: range, tap: Tap
) -> Float[Tensor, "run batch pos d_mlp"] | None:
    """What W_out multiplies; None where the tap's goal is reached before."""
    if not tap.needs(AFTER_IN):
        return None
    flat, shape = mlp_in.reshape(-1, layer.form.d_model), (*mlp_in.shape[:3], layer.form.d_mlp)
    if tap.wants("mlp_pre"):
        pre = tap("mlp_pre", layer.mlp_in(flat).view(shape), positions)
        if not tap.needs(AFTER_PRE):
            return None
        post = layer.activate(pre)
    else:
        post = layer.mlp_in.activated(flat, layer.form.activation).view(shape)
    if layer.mlp_up is not None:
        post.mul_(layer.mlp_up(flat).view(shape))
    return tap("mlp_post", post, positions)
