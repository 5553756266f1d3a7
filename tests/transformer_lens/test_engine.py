"""The engine against TransformerLens (4.3 or later), in an environment of its own: `make transformer-lens`.

The same checkpoint from one directory: scores, residual streams, patterns, and what ablating a head does. Nothing here
is collected by `make test`, whose environment has no TransformerLens.
"""

from collections.abc import Callable

import pytest
import torch
from tiny import LAYERS, VOCAB, tiny_model
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from oneway.engine import Engine, Kind, LogitDifference, Mean, Site, Zero, open_model
from oneway.engine.workloads import attention_patterns, total_effects
from oneway.models.tokens import word_tokenizer

NAMES: dict[Kind, str] = {
    "resid_pre": "blocks.{}.hook_resid_pre",
    "q": "blocks.{}.attn.hook_q",
    "k": "blocks.{}.attn.hook_k",
    "v": "blocks.{}.attn.hook_v",
    "z": "blocks.{}.attn.hook_z",
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_pre": "blocks.{}.mlp.hook_pre",
    "mlp_post": "blocks.{}.mlp.hook_post",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "resid_post": "blocks.{}.hook_resid_post",
}
BATCH, LENGTH, AT = 5, 9, 4
RIGHT, WRONG = torch.arange(BATCH) + 3, torch.arange(BATCH) + 60


@pytest.fixture(scope="module", params=["gpt2", "neox", "llama3"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The engine and TransformerLens on one checkpoint."""
    directory = tmp_path_factory.mktemp(request.param)
    tiny_model(request.param).save_pretrained(directory)
    word_tokenizer(["a b"]).save_pretrained(directory)
    theirs = TransformerBridge.boot_transformers(str(directory), device="cpu", dtype=torch.float32)
    return open_model(directory, device="cpu"), theirs


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(0, VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


def equal(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5 * max(1.0, float(theirs.abs().max())))


def odds(logits: Tensor) -> Tensor:
    rows = torch.arange(BATCH)
    return logits[rows, -1, RIGHT] - logits[rows, -1, WRONG]


@torch.no_grad()
def test_scores_sites_and_patterns_are_the_same(both, tokens):
    engine, bridge = both
    assert isinstance(engine, Engine)
    logits, cache = bridge.run_with_cache(tokens)
    sites = [Site(kind, layer) for kind in NAMES for layer in range(LAYERS)]
    found = engine.run(tokens, [Site("logits"), *sites])
    equal(found[Site("logits")], logits)
    for site in sites:
        equal(found[site], cache[NAMES[site.kind].format(site.layer)])
    for layer in range(LAYERS):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        equal(attention_patterns(engine, tokens, layer), pattern[:, :, -1])


@pytest.mark.parametrize("value", [Zero(), Mean()], ids=["zero", "mean"])
@torch.no_grad()
def test_ablating_a_head_or_an_mlp_does_the_same(both, tokens, value):
    engine, bridge = both
    found = total_effects(engine, tokens, AT, LogitDifference(right=RIGHT, wrong=WRONG), value)
    equal(found.clean, odds(bridge(tokens)))

    def put(head: int | None) -> Callable[..., Tensor]:
        def hook(x: Tensor, hook: object) -> Tensor:
            place = x[:, AT] if head is None else x[:, AT, head]
            place[:] = 0 if isinstance(value, Zero) else place.mean(0)
            return x

        return hook

    for layer in range(LAYERS):
        hooks = [(NAMES["mlp_out"].format(layer), put(None))]
        equal(found.mlps[layer], odds(bridge.run_with_hooks(tokens, fwd_hooks=hooks)))
        for head in range(engine.form.heads):
            hooks = [(NAMES["z"].format(layer), put(head))]
            equal(found.heads[layer, head], odds(bridge.run_with_hooks(tokens, fwd_hooks=hooks)))
