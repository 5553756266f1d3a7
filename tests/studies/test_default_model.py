"""The study on a tiny model; its measures against plain computations; its gate and its verdicts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from oneway.anatomy.asked import probabilities
from oneway.anatomy.extraction import direct
from oneway.anatomy.probes import mechanistic_probe
from oneway.engine import open_model
from oneway.evidence import Estimate, Study, Verdict
from oneway.facts import athletes
from oneway.runs.execute import run_study
from oneway.studies.default_model import (
    CLAIMS,
    GATE,
    RELATION,
    STUDY,
    Config,
    moved,
    one_shot,
    quick,
    standard,
    strangers,
    world,
)
from oneway.training.default_model import WORLDS, default_model
from oneway.training.teach import teach

TABLE = athletes(40, seed=0, others=10, parents=10)


def small() -> Config:
    return Config(athletes=40, others=10, parents=10, steps=4, layers=2, width=16)


SMALL: Study[Config] = replace(STUDY, recipes={"quick": small})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    recipe = default_model(0)
    recipe = replace(
        recipe,
        size=replace(recipe.size, layers=3, width=32),
        optimisation=replace(recipe.optimisation, steps=40),
    )
    return teach(TABLE, tmp_path_factory.mktemp("default") / "model", recipe).checkpoint


@pytest.fixture(scope="module")
def engine(checkpoint):
    return open_model(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def prompts(engine):
    return one_shot(engine, TABLE)


def test_prompts_are_those_of_the_posts(engine, prompts):
    facts = TABLE.select(relation=RELATION).facts
    words = engine.tokenizer.convert_ids_to_tokens(prompts.tokens[0].tolist())
    asked = f"<bos> Fact : Tiger Woods plays the sport of golf Fact : {facts[0].subject} plays the sport of"
    assert words == asked.split()
    assert words[prompts.final] == facts[0].subject.split()[1]
    labels = engine.tokenizer.convert_ids_to_tokens(prompts.answers[prompts.right].tolist())
    assert labels == [fact.object for fact in facts]
    assert (prompts.right != prompts.right[prompts.others()]).all()


@pytest.fixture(scope="module")
def plain(checkpoint):
    return AutoModelForCausalLM.from_pretrained(checkpoint)


def test_recall_is_the_plain_models(engine, prompts, plain):
    with torch.no_grad():
        scores = plain(prompts.tokens).logits[:, -1].softmax(-1)
    right = prompts.answers[prompts.right]
    expected = scores[torch.arange(len(right)), right].numpy()
    found = probabilities(engine, prompts)[torch.arange(len(right)), prompts.right]
    assert np.allclose(found, expected, atol=1e-5)


def test_the_probe_is_the_direct_path_of_a_head_that_attends_to_the_name(engine, prompts, plain):
    """By the plain model's own modules: what a head writes when all its attention is on the end of the name."""
    layer, head = 1, 2
    block = plain.gpt_neox.layers[layer]
    with torch.no_grad():
        resid = plain(prompts.tokens, output_hidden_states=True).hidden_states[layer][:, prompts.final]
        wide = block.attention.query_key_value(block.input_layernorm(resid))
        value = wide.view(len(resid), 4, 3, -1)[:, head, 2]
        width = value.shape[1]
        written = value @ block.attention.dense.weight[:, head * width : (head + 1) * width].T
        centred = (written - written.mean(1, keepdim=True)) * plain.gpt_neox.final_layer_norm.weight
        scores = centred @ plain.get_output_embeddings().weight[prompts.answers].T
    expected = (scores - scores.mean(0)).argmax(1) == prompts.right
    found = mechanistic_probe(engine, prompts, (layer, head))
    assert ((found.scores.argmax(1) == prompts.right) == expected).all()


def test_what_moves_by_hooks_on_the_plain_model(engine, prompts, plain):
    found = moved(engine, prompts, 0)
    for layer in range(3):

        def swap(module, inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden[:, prompts.final] = hidden[prompts.others(), prompts.final].clone()

        handle = plain.gpt_neox.layers[layer].register_forward_hook(swap)
        with torch.no_grad():
            said = plain(prompts.tokens).logits[:, -1, prompts.answers].argmax(1)
        handle.remove()
        follows = (said == prompts.right[prompts.others()]).double().mean()
        assert found[layer] == pytest.approx(float(follows))


def test_the_extracting_head_says_more_than_any_other(engine, prompts):
    """Each head alone resampled at the last position, the rest of its way closed, by hand."""
    found = direct(engine, prompts).direct
    assert 0 < found.share_of_top_head <= 1
    weights, last = engine.weights, prompts.last
    from oneway.engine import Site

    sites = [Site("head_out", layer, head, last) for layer in range(3) for head in range(4)]
    end = Site("resid_post", 2, position=last)
    read = engine.run(prompts.tokens, [*sites, end])
    difference = (
        weights.W_U[:, prompts.answers[prompts.right]]
        - weights.W_U[:, prompts.answers[prompts.right[prompts.others()]]]
    )

    def odds(resid):
        normed = torch.nn.functional.layer_norm(resid, resid.shape[-1:], weights.ln_f_w, weights.ln_f_b)
        return (normed * difference.T).sum(1)

    lost = [odds(read[end]) - odds(read[end] - read[s] + read[s][prompts.others()]) for s in sites]
    mean = torch.stack(lost).mean(1)
    assert found.top_heads(1) == [divmod(int(mean.argmax()), 4)]
    assert found.share_of_top_head == pytest.approx(float(mean.max() / mean.clamp_min(0).sum()), rel=1e-3)


def test_the_study_teaches_what_the_command_teaches():
    table, recipe = WORLDS["athletes"]
    for config in (quick(), standard()):
        taught = recipe(3)
        assert world(config, 3) == table(3)
        assert (config.steps, config.layers, config.width) == (
            taught.optimisation.steps,
            taught.size.layers,
            taught.size.width,
        )


def test_names_of_different_lengths_are_refused(engine):
    odd = TABLE.with_facts(
        replace(fact, subject=fact.subject + " Red") if i == 0 else fact
        for i, fact in enumerate(TABLE.select(relation=RELATION))
    )
    with pytest.raises(ValueError, match=r"not all sports can be asked alike.*tokens"):
        one_shot(engine, odd)


def test_strangers_are_in_no_fact():
    people = {name for fact in TABLE for name in (fact.subject, fact.object)}
    new = strangers(TABLE, seed=0)
    assert len({fact.subject for fact in new}) == len(new) == 40
    assert not people & {fact.subject for fact in new}


def test_a_run_shows_every_seed(tmp_path):
    record, directory = run_study(SMALL, out=tmp_path / "run")
    seeds = directory.read_table(record.tables["seeds"])
    assert seeds["seed"].to_list() == [0, 1]
    assert seeds["passed"].to_list() == [False, False]
    assert {"recall", "probe", "moved", "parents_reverse", "strangers_in_context"} <= set(seeds.columns)
    assert record.seeds == [0, 1]
    assert {claim["id"] for claim in record.claims} == {claim.id for claim in CLAIMS}


def test_the_gate_needs_every_share():
    passing = dict(GATE.levels)
    assert GATE.passed(passing)
    for name in passing:
        assert not GATE.passed({**passing, name: passing[name] - 1e-6})


@pytest.mark.parametrize(
    ("claim", "measured", "verdict"),
    [
        ("F4.default-model-recall", {"recall": 1.0, "strangers": 0.3}, Verdict.REPRODUCED),
        ("F4.default-model-recall", {"recall": 0.9, "strangers": 0.3}, Verdict.CONTRADICTED),
        ("F4.default-model-recall", {"recall": 1.0, "strangers": 0.8}, Verdict.INCONCLUSIVE),
        ("F4.default-model-head", {"recall": 1.0, "probe": 0.95}, Verdict.REPRODUCED),
        ("F4.default-model-head", {"recall": 1.0, "probe": 0.6}, Verdict.CONTRADICTED),
        ("F4.default-model-head", {"recall": 0.5, "probe": 0.95}, Verdict.INCONCLUSIVE),
        ("F5.default-model-moved", {"recall": 1.0, "moved": 0.95}, Verdict.REPRODUCED),
        ("F5.default-model-moved", {"recall": 1.0, "moved": 0.2}, Verdict.CONTRADICTED),
    ],
)
def test_rules(claim: str, measured: dict[str, float], verdict: Verdict):
    (chosen,) = (one for one in CLAIMS if one.id == claim)
    estimates = {name: Estimate(mean, mean, mean, 5, "probability") for name, mean in measured.items()}
    assert chosen.judge(estimates).verdict is verdict
