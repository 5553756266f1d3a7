"""The block function over named weights. Every tensor has a leading seed axis: many models train at once.

Names of the weights (shapes without the seed axis):

    W_E [vocab d_model]   W_pos [context d_model]   ln_f.w ln_f.b [d_model]   W_U [d_model vocab]
    blocks.{layer}.ln1.{w,b}   blocks.{layer}.ln2.{w,b}   [d_model]
    blocks.{layer}.W_QKV [d_model 3·d_model] (queries, keys, values; heads inside each)   b_QKV
    blocks.{layer}.W_O [d_model d_model]   b_O
        (merged OV instead: W_QK, b_QK, W_OV [head d_model d_model], b_O)
    blocks.{layer}.W_in [d_model d_mlp]   b_in   W_out [d_mlp d_model]   b_out
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from oneway.models import onednn
from oneway.models.architecture import Architecture

Weights = dict[str, Tensor]
FEW_KEYS = 3  # up to here attention is computed key by key
Drop = Callable[[Tensor], Tensor]  # silences part of its input, whose first axis begins with the seeds


class KV(NamedTuple):
    """Keys and values of the positions before those that a block computes."""

    k: Float[Tensor, "row head pos d_head"]
    v: Float[Tensor, "row head pos d_head_or_d_model"]


def initial_weights(architecture: Architecture, seeds: Sequence[int]) -> Weights:
    """Fresh weights, one model per seed; a seed's model does not depend on the seeds beside it."""
    singles = [_initial_single(architecture, seed) for seed in seeds]
    return {name: torch.stack([single[name] for single in singles]) for name in singles[0]}


def _initial_single(a: Architecture, seed: int) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    residual_std = a.init_std / math.sqrt(2 * a.layers)

    def normal(*shape: int, std: float = a.init_std) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    weights: Weights = {"W_E": normal(a.vocab, a.width)}
    if a.positions == "learned":
        weights["W_pos"] = normal(a.context, a.width)
    for layer in range(a.layers):
        p = f"blocks.{layer}."
        if a.ov == "factorised":
            attention = {
                "W_QKV": normal(a.width, 3 * a.width),
                "b_QKV": torch.zeros(3 * a.width),
                "W_O": normal(a.width, a.width, std=residual_std),
            }
        else:
            # The product of the two factors that it replaces has this standard deviation.
            merged_std = a.init_std * residual_std * math.sqrt(a.head_width)
            attention = {
                "W_QK": normal(a.width, 2 * a.width),
                "b_QK": torch.zeros(2 * a.width),
                "W_OV": normal(a.heads, a.width, a.width, std=merged_std),
            }
        weights |= {p + name: value for name, value in attention.items()}
        weights |= {
            p + "b_O": torch.zeros(a.width),
            p + "ln1.w": torch.ones(a.width),
            p + "ln1.b": torch.zeros(a.width),
            p + "ln2.w": torch.ones(a.width),
            p + "ln2.b": torch.zeros(a.width),
            p + "W_in": normal(a.width, a.mlp),
            p + "b_in": torch.zeros(a.mlp),
            p + "W_out": normal(a.mlp, a.width, std=residual_std),
            p + "b_out": torch.zeros(a.width),
        }
    weights |= {"ln_f.w": torch.ones(a.width), "ln_f.b": torch.zeros(a.width)}
    if a.unembedding == "untied":
        weights["W_U"] = normal(a.width, a.vocab)
    return weights


def seed_of(weights: Mapping[str, Tensor], index: int) -> Weights:
    """The weights of one seed, its axis kept (length 1)."""
    return {name: value[index : index + 1] for name, value in weights.items()}


def block_weights(weights: Mapping[str, Tensor], layer: int) -> Weights:
    """The weights of one block under their short names."""
    prefix = f"blocks.{layer}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def affine(
    x: Float[Tensor, "seed n d_in"],
    weight: Float[Tensor, "seed d_in d_out"],
    bias: Float[Tensor, "seed d_out"],
) -> Float[Tensor, "seed n d_out"]:
    """x W + b for every seed. A single seed takes the plain matrix product, which the CPU runs faster."""
    if x.shape[0] > 1:
        return torch.baddbmm(bias.unsqueeze(1), x, weight)
    x, weight, bias = x.squeeze(0), weight.squeeze(0), bias.squeeze(0)
    product = onednn.product if onednn.usable(x) else _addmm
    return product(x, weight, bias).unsqueeze(0)


def _addmm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight)


def layer_norm(
    x: Float[Tensor, "seed n d_model"],
    weight: Float[Tensor, "seed d_model"],
    bias: Float[Tensor, "seed d_model"],
    epsilon: float,
) -> Float[Tensor, "seed n d_model"]:
    """LayerNorm over the last axis with each seed's own scale and shift."""
    if x.shape[0] == 1:
        return functional.layer_norm(x, x.shape[-1:], weight.squeeze(0), bias.squeeze(0), epsilon)
    normed = functional.layer_norm(x, x.shape[-1:], eps=epsilon)
    return torch.addcmul(bias.unsqueeze(1), normed, weight.unsqueeze(1))


def rotary(
    x: Float[Tensor, "row head pos d_head"], start: int, base: float
) -> Float[Tensor, "row head pos d_head"]:
    """Rotate halves of each head by angles pos · base^(−2i/d_head), the first position being `start`.

    Source: Su et al. 2021 (RoPE), in the half-split layout of GPT-NeoX.
    """
    pos, width = x.shape[-2:]
    frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float32, device=x.device) / width)
    angles = torch.arange(start, start + pos, dtype=torch.float32, device=x.device)[:, None] * frequencies
    cos, sin = (torch.cat((f(angles),) * 2, dim=-1).to(x.dtype) for f in (torch.cos, torch.sin))
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def block(
    w: Weights,
    resid: Float[Tensor, "seed batch pos d_model"],
    a: Architecture,
    kv: KV | None = None,
    start: int = 0,
    drop: Drop | None = None,
    read: int | None = None,
) -> tuple[Float[Tensor, "seed batch read d_model"], KV]:
    """One transformer block at the given positions.

    resid_post = resid + attn(ln1 resid) + mlp(ln2 resid)              (parallel)
    resid_post = resid_mid + mlp(ln2 resid_mid), resid_mid = resid + attn(ln1 resid)   (sequential)

    `kv` holds the keys and values of the `start` positions before, so only what is asked for is computed.
    Of these positions only the last `read` are computed to the end (None: all); the others give their keys and
    values. `drop` silences part of the attention's pattern and of both outputs, as GPT-2's dropout does in training.
    Returns the residual stream after the block and all keys and values, old and new.
    """
    q, new = _queries_keys_values(w, _normed(w, "ln1", resid, a), a, resid.shape, start)
    if kv is not None:
        new = KV(torch.cat((kv.k, new.k), dim=2), torch.cat((kv.v, new.v), dim=2))
    if read is not None:
        q, resid = q[:, :, -read:], resid[:, :, -read:]
    attn_out = _attention(w, q, new, a, resid.shape, drop)
    if drop is not None:
        attn_out = drop(attn_out)
    resid_mid = resid + attn_out
    mlp_out = _mlp(w, _normed(w, "ln2", resid if a.block == "parallel" else resid_mid, a), a)
    if drop is not None:
        mlp_out = drop(mlp_out)
    return resid_mid + mlp_out.view_as(resid), new


def _normed(
    w: Weights, name: str, resid: Float[Tensor, "seed batch pos d_model"], a: Architecture
) -> Float[Tensor, "seed n d_model"]:
    return layer_norm(
        resid.reshape(resid.shape[0], -1, a.width), w[f"{name}.w"], w[f"{name}.b"], a.norm_epsilon
    )


def _queries_keys_values(
    w: Weights,
    normed: Float[Tensor, "seed n d_model"],
    a: Architecture,
    shape: torch.Size,
    start: int,
) -> tuple[Tensor, KV]:
    seeds, batch, pos, _ = shape

    def by_head(x: Tensor, parts: int) -> Sequence[Tensor]:
        return x.view(seeds * batch, pos, parts, a.heads, a.head_width).permute(2, 0, 3, 1, 4).unbind(0)

    if a.ov == "factorised":
        q, k, v = by_head(affine(normed, w["W_QKV"], w["b_QKV"]), 3)
    else:
        q, k = by_head(affine(normed, w["W_QK"], w["b_QK"]), 2)
        # Every head's value is the whole normed residual stream; W_OV is applied after the mixing.
        v = normed.view(seeds * batch, 1, pos, a.width).expand(-1, a.heads, -1, -1)
    if a.positions == "rotary":
        q, k = rotary(q, start, a.rotary_base), rotary(k, start, a.rotary_base)
    return q, KV(k, v)


def _attention(
    w: Weights, q: Tensor, kv: KV, a: Architecture, shape: torch.Size, drop: Drop | None
) -> Float[Tensor, "seed batch pos d_model"]:
    seeds, batch, pos, _ = shape
    keys = kv.k.shape[2]
    unseen = None
    if pos > 1 and a.attention == "causal":
        unseen = torch.ones(pos, keys, dtype=torch.bool, device=q.device).triu(keys - pos + 1)
    if keys <= FEW_KEYS:
        mixed = _mixed_key_by_key(q, kv, unseen, drop)
    elif drop is None:
        mask = None if unseen is None or pos == keys else ~unseen
        mixed = functional.scaled_dot_product_attention(
            q, kv.k, kv.v, attn_mask=mask, is_causal=unseen is not None and pos == keys
        )
    else:
        scores = q @ kv.k.transpose(-2, -1) / math.sqrt(a.head_width)
        if unseen is not None:
            scores = scores.masked_fill(unseen, -math.inf)
        mixed = drop(scores.softmax(-1)) @ kv.v
    if a.ov == "factorised":
        flat = mixed.transpose(1, 2).reshape(seeds, batch * pos, a.width)
        out = affine(flat, w["W_O"], w["b_O"])
    else:
        by_head = mixed.view(seeds, batch, a.heads, pos, a.width)
        out = torch.einsum("sbhpd,shde->sbpe", by_head, w["W_OV"]) + w["b_O"][:, None, None]
    return out.view(shape)


def _mixed_key_by_key(
    q: Tensor, kv: KV, unseen: Tensor | None, drop: Drop | None
) -> Float[Tensor, "row head pos d_head_or_d_model"]:
    """The values mixed by the softmax of the scores, one key after the other.

    At two or three keys and narrow heads the work is thousands of matrix products of a few numbers each; as
    products of whole tensors it takes a half to a seventh of the time.
    """
    keys = range(kv.k.shape[2])
    scores = torch.stack([(q * kv.k[:, :, key : key + 1]).sum(-1) for key in keys])
    if unseen is not None:
        scores = scores.masked_fill(unseen.T[:, None, None], -math.inf)
    pattern = (scores / math.sqrt(q.shape[-1])).softmax(0).movedim(0, -1)
    if drop is not None:
        pattern = drop(pattern)
    parts = [pattern[..., key : key + 1] * kv.v[:, :, key : key + 1] for key in keys]
    return functools.reduce(torch.add, parts)


def _mlp(
    w: Weights, normed: Float[Tensor, "seed n d_model"], a: Architecture
) -> Float[Tensor, "seed n d_model"]:
    pre = affine(normed, w["W_in"], w["b_in"])
    post = functional.gelu(pre, approximate="tanh" if a.activation == "gelu_tanh" else "none")
    return affine(post, w["W_out"], w["b_out"])


def embed(
    weights: Weights, tokens: Int[Tensor, "seed batch pos"], a: Architecture, drop: Drop | None = None
) -> Tensor:
    """Token embeddings plus learned positions: [seed batch pos d_model]."""
    seeds = tokens.shape[0]
    # One lookup for all seeds: seed s owns rows s · vocab … of the stacked table.
    offsets = torch.arange(seeds, device=tokens.device).view(-1, 1, 1) * a.vocab
    resid = functional.embedding(tokens + offsets, weights["W_E"].reshape(-1, a.width))
    if a.positions == "learned":
        resid = resid + weights["W_pos"][:, None, : tokens.shape[2]]
    return resid if drop is None else drop(resid)


def unembed(
    weights: Weights, resid: Float[Tensor, "seed n d_model"], a: Architecture
) -> Float[Tensor, "seed n vocab"]:
    """Final norm and unembedding."""
    normed = layer_norm(resid, weights["ln_f.w"], weights["ln_f.b"], a.norm_epsilon)
    unembedding = weights["W_U"] if a.unembedding == "untied" else weights["W_E"].transpose(1, 2)
    if normed.shape[0] > 1:
        return torch.bmm(normed, unembedding)
    normed, unembedding = normed.squeeze(0), unembedding.squeeze(0)
    if onednn.usable(normed):
        return onednn.product(normed, unembedding, None).unsqueeze(0)
    return (normed @ unembedding).unsqueeze(0)


def residual(
    weights: Weights, tokens: Int[Tensor, "seed batch pos"], a: Architecture, drop: Drop | None = None
) -> Tensor:
    """The residual stream after the last block at every position: [seed batch pos d_model].

    Raises ValueError where the tokens are longer than the context.
    """
    _check_length(tokens, a)
    resid = embed(weights, tokens, a, drop)
    for layer in range(a.layers):
        resid, _ = block(block_weights(weights, layer), resid, a, drop=drop)
    return resid


def residual_at_end(
    weights: Weights,
    tokens: Int[Tensor, "seed batch pos"],
    a: Architecture,
    read: int,
    drop: Drop | None = None,
) -> Tensor:
    """The residual stream after the last block at the last `read` positions: [seed batch read d_model].

    The last block then needs only keys and values of the positions before, which at three tokens a sentence
    saves a third of the work.
    """
    _check_length(tokens, a)
    resid = embed(weights, tokens, a, drop)
    for layer in range(a.layers - 1):
        resid, _ = block(block_weights(weights, layer), resid, a, drop=drop)
    return block(block_weights(weights, a.layers - 1), resid, a, drop=drop, read=read)[0]


def logits(weights: Weights, tokens: Int[Tensor, "seed batch pos"], a: Architecture) -> Tensor:
    """Logits at every position: [seed batch pos vocab]."""
    resid = residual(weights, tokens, a)
    return unembed(weights, resid.reshape(resid.shape[0], -1, a.width), a).view(*tokens.shape, a.vocab)


def _check_length(tokens: Tensor, a: Architecture) -> None:
    if tokens.shape[2] > a.context:
        raise ValueError(f"{tokens.shape[2]} tokens do not fit in a context of {a.context}")
