"""Attention at some positions, with the keys and values of others given."""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from oneway.engine.layer import Layer, half, root_mean_square_normed
from oneway.engine.tap import Tap
from oneway.models.decoder import Rotary

# Below so many keys torch's softmax, which works along the last axis, is slower than its steps one by one.
SHORT = 64


def rotate(layer: Layer, x: Float[Tensor, "run batch pos head d_head"], positions: range) -> Tensor:
    """Rotate queries or keys in place, by the layer's rotary positions if it has any. Halves are (i, i + width/2).

    Source: Su et al. 2021 (RoPE), in the layout of GPT-NeoX.
    """
    rotary = layer.attention.rotary
    if rotary is None or not len(positions):
        return x
    cos, sin = _rotary_table(rotary, positions.start, positions.stop, x.dtype, x.device)
    half = rotary.width // 2
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = first * cos
    turned.addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(first, sin)
    first.copy_(turned)
    return x


@functools.lru_cache(maxsize=64)
def _rotary_table(
    rotary: Rotary, start: int, stop: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine [pos 1 width/2] of these positions."""
    cos, sin = rotary.table(torch.arange(start, stop, device=rotary.frequencies.device), dtype)
    half = rotary.width // 2
    return cos[:, None, :half].to(device), sin[:, None, :half].to(device)


@functools.lru_cache(maxsize=16)
def _mask(
    queries: range, keys: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "query key"] | None:
    """0 where a query sees a key, −∞ where not; None where it sees all of them."""
    query = torch.arange(queries.start, queries.stop, device=device)[:, None]
    key = torch.arange(keys, device=device)
    unseen = key > query
    if window is not None:
        unseen |= key <= query - window
    if not bool(unseen.any()):
        return None
    return torch.zeros(unseen.shape, dtype=dtype, device=device).masked_fill_(unseen, -math.inf)


def normed_heads(
    x: Float[Tensor, "run batch pos head d_head"], scale: Float[Tensor, " d_head"] | None, layer: Layer
) -> Tensor:
    """Queries or keys normed per head, where the family does that."""
    return x if scale is None else root_mean_square_normed(x, scale, layer.form.epsilon)


def mixed(
    layer: Layer,
    q: Float[Tensor, "run batch head query d_head"],
    k: Float[Tensor, "run batch kv_head key d_head"],
    v: Float[Tensor, "run batch kv_head key d_head"],
    queries: range,
    tap: Tap,
) -> Float[Tensor, "run batch query head d_head"]:
    """z: the values mixed by softmax(scale · q kᵀ) over the keys that each query sees."""
    run, batch, heads, n, d_head = q.shape
    kv_heads, keys = k.shape[2:4]
    # The queries that share a key-value head stand one after the other, as more queries of it.
    grouped = q.reshape(run * batch * kv_heads, -1, d_head)
    if half(q):  # scores could overflow before they are scaled
        grouped = grouped * layer.attention.scale
    scores = torch.bmm(grouped, k.reshape(-1, keys, d_head).transpose(1, 2))
    if not half(q):
        scores.mul_(layer.attention.scale)
    mask = _mask(queries, keys, layer.attention.window, q.dtype, q.device)
    if mask is not None:
        scores.view(-1, n, keys).add_(mask)
    pattern = softmax(scores)
    if tap.wants("pattern"):
        seen = pattern.view(run, batch, heads, n, keys).transpose(2, 3)
        pattern = tap("pattern", seen, queries).transpose(2, 3).reshape(pattern.shape)
    z = torch.bmm(pattern, v.reshape(-1, keys, d_head))
    return tap("z", z.view(run, batch, heads, n, d_head).transpose(2, 3), queries)


def softmax(scores: Float[Tensor, "n query key"]) -> Float[Tensor, "n query key"]:
    """Softmax over the last axis, in the memory of the scores where that is faster."""
    if scores.shape[-1] >= SHORT or scores.device.type != "cpu" or half(scores):
        return scores.softmax(-1)
    scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(-1, keepdim=True))
