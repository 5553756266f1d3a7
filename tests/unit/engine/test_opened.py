"""Reading and editing, over every family: against the model's own code, and against the engine's plainest run."""

from typing import get_args

import pytest
import torch

from oneway.engine import (
    Frozen,
    Kind,
    LogProbability,
    Mean,
    Patch,
    PatchError,
    Path,
    Resample,
    Residual,
    Site,
    SiteError,
    Zero,
)
from oneway.engine.site import WHOLE_MODEL, shape_of

LAYERS = range(3)
BEFORE_THE_END = [kind for kind in get_args(Kind) if kind not in ("final_norm", "logits")]


def site(kind, layer, **part):
    return Site(kind, None if kind in WHOLE_MODEL else layer, **part)


def test_logits_and_residuals_are_those_of_the_model_itself(model, engine, tokens):
    with torch.inference_mode():
        plain = model(tokens, output_hidden_states=True)
    resids = [Site("resid_pre", layer) for layer in LAYERS]
    found = engine.run(tokens, [Site("logits"), *resids])
    torch.testing.assert_close(found[Site("logits")], plain.logits, rtol=0, atol=1e-4)
    for layer, resid in enumerate(resids):
        torch.testing.assert_close(found[resid], plain.hidden_states[layer], rtol=0, atol=1e-4)


def test_every_site_has_its_shape_and_value_however_little_is_asked(engine, tokens):
    """Alone and at one position, as with all others."""
    everything = engine.run(tokens, [site(kind, layer) for kind in get_args(Kind) for layer in LAYERS])
    for kind in get_args(Kind):
        whole, at = site(kind, 1), site(kind, 1, position=-3)
        expected = everything[whole]
        assert expected.shape == shape_of(whole, engine.form, 5, 9)
        torch.testing.assert_close(engine.run(tokens, [whole])[whole], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(engine.run(tokens, [at])[at], expected[:, 6], rtol=1e-4, atol=1e-5)


def test_writing_back_what_is_there_changes_nothing_and_writing_another_value_does(engine, tokens):
    read = [site(kind, 1) for kind in get_args(Kind)]
    clean = engine.run(tokens, [Site("logits"), *read])
    for place in read:
        same = engine.run(tokens, [Site("logits")], [Patch(place, clean[place])])[Site("logits")]
        torch.testing.assert_close(same, clean[Site("logits")], rtol=0, atol=1e-4)
        noise = torch.randn(clean[place].shape, generator=torch.Generator().manual_seed(0))
        other = engine.run(tokens, [Site("logits")], [Patch(place, clean[place] + noise)])[Site("logits")]
        assert (other - clean[Site("logits")]).abs().max() > 1e-3, place


def test_an_edit_is_read_back(engine, tokens):
    for kind in get_args(Kind):
        place = site(kind, 2, position=3)
        assert not engine.run(tokens, [place], [Patch(place, Zero())])[place].any(), kind


def test_forms_of_a_value(engine, tokens):
    place = Site("mlp_out", 0, position=4)
    clean = engine.run(tokens, [place])[place]
    for form, value in (
        (Mean(), clean.mean(0)),
        (Zero(), torch.zeros(())),
        (Resample((1, 2, 3, 4, 0)), clean.roll(-1, 0)),
        (Frozen(), clean),
    ):
        edits = [[Patch(Site("embedding", position=0), Zero()), Patch(place, v)] for v in (form, value)]
        one, other = (engine.run(tokens, [Site("logits")], edit)[Site("logits")] for edit in edits)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def interventions():
    for kind in BEFORE_THE_END:
        for layer in LAYERS:
            for position in (4, 8, None):
                yield Patch(site(kind, layer, position=position), Mean())
    yield Patch(Site("z", 1, head=2, position=3), Zero()), Patch(Site("mlp_out", 2, position=6), Mean())
    yield (
        Patch(Site("mlp_post", 0, position=6, neuron=5), Zero()),
        Patch(Site("z", 1, head=2, position=4), Mean()),
        Patch(Site("pattern", 2), Frozen()),
    )
    yield Path(Patch(Site("mlp_out", 0, position=4), Mean()), Site("mlp_out", 2))
    yield Path(Patch(Site("z", 0, head=1, position=4), Mean()), Site("v", 1, head=1))
    yield Path(Patch(Site("head_out", 0, head=1), Zero()), Site("attn_out", 2))
    yield Path(Patch(Site("mlp_post", 0, position=8), Mean()), Site("logits"))


def test_many_interventions_at_once_are_each_as_if_alone(engine, tokens):
    """The short cuts of `effects` against `run`, which computes every layer and position."""
    asked, answer = list(interventions()), torch.arange(5) + 7
    found = engine.effects(tokens, asked, LogProbability(answer=answer))
    last = Site("logits", position=8)
    for one, patched in zip(asked, found.patched, strict=True):
        alone = engine.run(tokens, [last], one if isinstance(one, tuple) else (one,))[last]
        expected = alone.log_softmax(-1).gather(1, answer[:, None])[:, 0]
        torch.testing.assert_close(patched, expected, rtol=0, atol=1e-4)


def test_effects_on_a_residual_stream_on_the_way(engine, tokens):
    asked, at = list(interventions()), Site("resid_post", 1, position=5)
    found = engine.effects(tokens, asked, Residual(after=1, position=5))
    for one, patched in zip(asked, found.patched, strict=True):
        alone = engine.run(tokens, [at], one if isinstance(one, tuple) else (one,))[at]
        torch.testing.assert_close(patched, alone, rtol=1e-4, atol=1e-4)


def test_prompts_a_few_at_a_time_give_the_same(engine, tokens):
    from oneway.engine import Budget, Engine

    few = Engine(engine.prepared, budget=Budget(activation=2**12, kept=2**12))
    asked, readout = list(interventions()), LogProbability(answer=torch.arange(5))
    expected = engine.effects(tokens, asked, readout).patched
    torch.testing.assert_close(few.effects(tokens, asked, readout).patched, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Patch(Site("z", 9), Zero()), "z(layer 9): the model has layers 0 to 2"),
        (
            Patch(Site("resid_pre", 1, position=2), torch.zeros(5, 3)),
            "a value of shape [5, 3] does not fit the site's shape [5, ",
        ),
        (Patch(Site("z", 1), Resample((0, 1))), "a source is needed for each of the 5 prompts"),
        (
            Path(Patch(Site("mlp_out", 1), Zero()), Site("q", 1)),
            "there is no path from mlp_out(layer 1) to q(layer 1): the sender writes after it reads",
        ),
        (
            Path(Patch(Site("pattern", 0), Zero()), Site("q", 1)),
            "pattern(layer 0) does not write to the residual stream",
        ),
        (
            Path(Patch(Site("z", 0), Zero()), Site("resid_pre", 1)),
            "resid_pre(layer 1) does not read the residual stream",
        ),
    ],
    ids=["layer", "shape", "source", "backwards", "sender", "receiver"],
)
def test_what_cannot_be_is_said(engine, tokens, edit, said):
    with pytest.raises((SiteError, PatchError)) as raised:
        engine.run(tokens, [Site("logits")], [edit])
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (torch.zeros(0, 4, dtype=torch.long), "tokens are [batch pos], at least one of each"),
        (torch.full((1, 4), 101), "token 101 is none of the 101 of this model"),
        (torch.full((1, 4), -1), "token -1 is none of the 101 of this model"),
        (torch.zeros(1, 65, dtype=torch.long), "65 tokens do not fit in a context of 64"),
    ],
    ids=["none", "above", "below", "long"],
)
def test_tokens_that_cannot_be_are_named(engine, ids, said):
    with pytest.raises(ValueError, match="token") as raised:
        engine.run(ids, [Site("logits")])
    assert said in str(raised.value)
