"""The stacked block function: seeds do not touch, partial computation equals whole computation."""

from dataclasses import replace

import pytest
import torch

from oneway.models.architecture import Architecture, gpt2, neox
from oneway.models.transformer import (
    block,
    block_weights,
    initial_weights,
    logits,
    residual,
    residual_at_end,
    seed_of,
)

SIZES = {"vocab": 31, "context": 11, "layers": 2, "width": 12, "heads": 3}
SHAPES = {
    "gpt2": gpt2(**SIZES),
    "neox": neox(**SIZES),
    "none": replace(gpt2(**SIZES), positions="none"),
    "merged": replace(gpt2(**SIZES), ov="merged"),
}


@pytest.fixture(params=SHAPES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return SHAPES[request.param]


def some_tokens(*shape: int) -> torch.Tensor:
    return torch.randint(31, shape, generator=torch.Generator().manual_seed(1))


def test_a_seed_computes_the_same_alone_and_stacked(architecture):
    stacked = initial_weights(architecture, (7, 3, 5))
    alone = initial_weights(architecture, (3,))
    tokens = some_tokens(3, 2, 7)
    for name, value in seed_of(stacked, 1).items():
        assert torch.equal(value, alone[name])
    together = logits(stacked, tokens, architecture)
    torch.testing.assert_close(together[1:2], logits(alone, tokens[1:2], architecture), atol=1e-5, rtol=1e-5)


def test_gradients_of_one_seed_do_not_reach_another(architecture):
    weights = {n: w.requires_grad_() for n, w in initial_weights(architecture, (1, 2)).items()}
    logits(weights, some_tokens(2, 2, 5), architecture)[0].square().sum().backward()
    assert all(not w.grad[1].any() for w in weights.values())
    assert all(w.grad[0].any() for n, w in weights.items() if ".W_" in n)


def test_no_position_sees_a_later_one(architecture):
    weights = initial_weights(architecture, (4,))
    tokens = some_tokens(1, 1, 9)
    changed = tokens.clone()
    changed[..., 6] = (changed[..., 6] + 1) % 31
    a, b = residual(weights, tokens, architecture), residual(weights, changed, architecture)
    assert torch.equal(a[:, :, :6], b[:, :, :6])
    assert not torch.allclose(a[:, :, 6], b[:, :, 6])


@pytest.mark.parametrize("read", [1, 3, 9])
def test_reading_only_the_end_equals_reading_everything(architecture, read):
    weights = initial_weights(architecture, (4, 8))
    tokens = some_tokens(2, 3, 9)
    whole = residual(weights, tokens, architecture)[:, :, -read:]
    torch.testing.assert_close(
        residual_at_end(weights, tokens, architecture, read), whole, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("drop", [None, torch.neg], ids=["whole", "dropped"])
@pytest.mark.parametrize(("pos", "read"), [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3)])
def test_attention_key_by_key_equals_attention_as_matrix_products(architecture, pos, read, drop, monkeypatch):
    weights = {name: w * 5 for name, w in initial_weights(architecture, (4, 8)).items()}
    tokens = some_tokens(2, 3, pos)
    by_key = residual_at_end(weights, tokens, architecture, read, drop)
    monkeypatch.setattr("oneway.models.transformer.FEW_KEYS", 0)
    whole = residual_at_end(weights, tokens, architecture, read, drop)
    torch.testing.assert_close(by_key, whole, atol=1e-5, rtol=1e-4)


def test_a_block_continues_from_the_keys_and_values_of_its_prefix(architecture):
    w = block_weights(initial_weights(architecture, (2,)), 1)
    resid = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(5))
    whole, _ = block(w, resid, architecture)
    first, kv = block(w, resid[:, :, :5], architecture)
    rest, kv = block(w, resid[:, :, 5:], architecture, kv, start=5)
    torch.testing.assert_close(torch.cat((first, rest), 2), whole, atol=1e-5, rtol=1e-5)
    assert kv.k.shape[2] == 8


def test_merged_ov_equals_its_two_factors():
    factorised = replace(SHAPES["gpt2"], layers=1)
    merged = replace(factorised, ov="merged")
    two = initial_weights(factorised, (6,))
    one = dict(initial_weights(merged, (6,)))
    one |= {n: v for n, v in two.items() if n in one}
    w_qkv = two["blocks.0.W_QKV"]
    one["blocks.0.W_QK"], one["blocks.0.b_QK"] = w_qkv[..., :24], two["blocks.0.b_QKV"][..., :24]
    values = w_qkv[..., 24:].view(1, 12, 3, 4).permute(0, 2, 1, 3)
    one["blocks.0.W_OV"] = values @ two["blocks.0.W_O"].view(1, 3, 4, 12)
    tokens = some_tokens(1, 2, 7)
    torch.testing.assert_close(
        logits(one, tokens, merged), logits(two, tokens, factorised), atol=1e-5, rtol=1e-5
    )


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        gpt2(vocab=5, context=5, layers=1, width=10, heads=3)
    with pytest.raises(ValueError, match="even head width"):
        neox(vocab=5, context=5, layers=1, width=9, heads=3)
    with pytest.raises(ValueError, match="frozen"):
        replace(SHAPES["gpt2"], embeddings="frozen")
    with pytest.raises(ValueError, match="context of 11"):
        logits(initial_weights(SHAPES["gpt2"], (0,)), some_tokens(1, 1, 12), SHAPES["gpt2"])
