"""The study's data, its measures by hand, and every branch of its verdicts."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts.worlds import arrows
from oneway.models.architecture import gpt2
from oneway.models.transformer import initial_weights, logits
from oneway.studies.reversal import CLAIMS, STUDY, Config, Model, Training, World, _Probe, measure
from oneway.studies.sentence_training import Epochs
from oneway.training.objectives import last_tokens_objective

SMALL = Config(
    world=World(vocabulary=40),
    model=Model(layers=1, width=16, heads=2),
    training=Training(epochs=3, batch=8, evaluate_every=1, seeds_at_once=2),
    seeds=(0, 1, 2),
)


def test_the_probe_measures_what_a_plain_forward_gives():
    worlds = [arrows(40, length=2, seed=seed) for seed in (4, 5)]
    a = gpt2(vocab=42, context=4, layers=1, width=16, heads=2)
    weights = {n: w * 6 for n, w in initial_weights(a, (4, 5)).items()}
    got = _Probe(worlds, "cpu")(weights, a)
    for seed, world in enumerate(worlds):
        one = {n: w[seed : seed + 1] for n, w in weights.items()}

        def answers(sentences, one=one):
            tokens = torch.from_numpy(sentences)
            logprobs = logits(one, tokens[None, :, :-1], a)[0].log_softmax(-1)
            return logprobs[:, 2:].gather(-1, tokens[:, 3:, None]).sum((1, 2)), logprobs[:, 2]

        train, _ = answers(world.train)
        validation, first = answers(world.validation)
        assert float(got["train_nll"][seed]) == pytest.approx(-float(train.mean()), rel=1e-4)
        assert float(got["validation_nll"][seed]) == pytest.approx(-float(validation.mean()), rel=1e-4)
        excess = -float(validation.mean()) - 2 * math.log(42)
        assert float(got["validation_excess"][seed]) == pytest.approx(excess, abs=1e-3)
        both = train.exp()[torch.from_numpy(world.train_both_ways)].mean()
        assert float(got["both_ways_probability"][seed]) == pytest.approx(float(both), rel=1e-4)
        right = 0
        for sentence, scores in zip(world.validation, first.numpy(), strict=True):
            alphabet = world.x_tokens if sentence[3] < world.x_tokens.stop else world.y_tokens
            right += scores[alphabet].argmax() + alphabet.start == sentence[3]
        accuracy = right / len(world.validation) - 1 / 10
        assert float(got["validation_accuracy_over_chance"][seed]) == pytest.approx(accuracy, abs=1e-6)


def test_stacking_seeds_changes_no_number():
    together = STUDY.experiment(SMALL, SMALL.seeds, None)
    apart = STUDY.experiment(
        replace(SMALL, training=replace(SMALL.training, seeds_at_once=1)), SMALL.seeds, None
    )
    keys = ["seed", "epoch", "quantity"]
    joined = together.join(apart, on=keys, suffix="_apart")
    assert joined.height == together.height == apart.height > 0
    assert (joined["value"] - joined["value_apart"]).abs().max() < 1e-3


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("drop", [None, torch.neg], ids=["whole", "dropped"])
def test_every_tensor_follows_the_device(length, drop):
    """Torch's device without data stands for a GPU: a product with a tensor left on the CPU would raise."""
    worlds = [arrows(40, length, seed=seed) for seed in (0, 1)]
    a = gpt2(vocab=42, context=2 * length, layers=2, width=8, heads=2)
    weights = {n: w.to("meta").requires_grad_() for n, w in initial_weights(a, (0, 1)).items()}
    batch = Epochs(np.stack([world.train for world in worlds]), (0, 1), 8, length, "meta")(0)
    loss = last_tokens_objective("cross_entropy")(weights, a, batch._replace(drop=drop))
    loss.sum().backward()
    made = [
        *batch[:4],
        loss,
        *(w.grad for w in weights.values()),
        *_Probe(worlds, "meta")(weights, a).values(),
    ]
    assert {tensor.device.type for tensor in made} == {"meta"}


def test_products_in_bfloat16_are_refused_off_the_cpu():
    bfloat16 = replace(SMALL, training=replace(SMALL.training, matmul="bfloat16"))
    STUDY.check(bfloat16)
    with pytest.raises(ValueError, match="on cuda use float32"):
        STUDY.check(replace(bfloat16, device="cuda"))


def test_measures_are_taken_at_the_last_epoch_over_seeds():
    rows = [
        {"seed": s, "epoch": e, "quantity": "train_nll", "value": 10.0 * e + s}
        for s in range(3)
        for e in range(3)
    ]
    estimate = measure(pl.DataFrame(rows))["train_nll"]
    assert (estimate.mean, estimate.n, estimate.unit) == (21.0, 3, "nats")


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, ("reproduced", "reproduced")),
        ({"both_ways_probability": 0.9}, ("inconclusive", "inconclusive")),
        ({"seen_direction_probability": 0.5}, ("inconclusive", "reproduced")),
        ({"validation_excess": -1.0}, ("contradicted", "reproduced")),
        ({"validation_accuracy_over_chance": 0.5}, ("reproduced", "contradicted")),
        ({"validation_accuracy_over_chance": 0.02}, ("reproduced", "inconclusive")),
        ({"validation_excess": math.nan}, ("inconclusive", "reproduced")),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change, verdicts):
    means = {
        "both_ways_probability": 0.995,
        "seen_direction_probability": 0.995,
        "validation_nll": 10.7,
        "validation_excess": 4.0,
        "validation_accuracy_over_chance": 0.0,
    } | change
    measured = {name: around(mean) for name, mean in means.items()}
    assert tuple(claim.judge(measured).verdict for claim in CLAIMS) == tuple(map(Verdict, verdicts))


def test_one_seed_decides_nothing():
    curves = STUDY.experiment(SMALL, (0,), None)
    assert {j.verdict for j in STUDY.judge(STUDY.measure(curves))} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("recipe", ["quick", "standard", "paper", "published_code"])
def test_every_recipe_keeps_the_published_world(recipe):
    config = STUDY.config(recipe)
    assert config.world == World(vocabulary=800, length=1)
    assert config.seeds == tuple(range(10))
