"""Chains of plain and of related tokens: measures by hand, resume, and every branch of the verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts.chains import STEP, chains
from oneway.facts.related_chains import related_chains
from oneway.models.architecture import gpt2
from oneway.models.transformer import initial_weights, logits
from oneway.studies import chain, related_tokens
from oneway.studies.implication import QUANTITIES, Probe
from oneway.studies.sentence_training import Decoder, Schedule

SMALL = {
    "vocabulary": 40,
    "decoder": Decoder(layers=1, width=16, heads=2),
    "schedule": Schedule(epochs=4, batch=16, evaluations=2, seeds_at_once=2),
    "seeds": (0, 1, 2),
}


@pytest.mark.parametrize("world_of", [chains, related_chains])
def test_the_probe_measures_what_a_plain_forward_gives(world_of) -> None:
    worlds = [world_of(40, seed=seed) for seed in (4, 5)]
    read = worlds[0].held_out[0].size // 3
    a = gpt2(vocab=42, context=2 * read, layers=1, width=16, heads=2)
    weights = {n: w * 6 for n, w in initial_weights(a, (4, 5)).items()}
    got = Probe(worlds)(weights, a)
    assert set(got) == set(QUANTITIES)
    for seed, world in enumerate(worlds):
        one = {n: w[seed : seed + 1] for n, w in weights.items()}

        def after(tokens: list[int], one=one) -> torch.Tensor:
            return logits(one, torch.tensor([[tokens]]), a)[0, 0, -1].log_softmax(-1)

        def answer(sentence, after=after) -> float:
            tokens = sentence.tolist()
            return sum(float(after(tokens[: i + 1])[tokens[i + 1]]) for i in range(read, 2 * read))

        train = np.array([answer(s) for s in world.train])
        held_out = np.array([answer(s) for s in world.validation])
        of_held_out = [t >= world.whole for t in world.train_triple]
        kinds = {
            "trained_conclusions": [s[read] != STEP for s in world.train],
            "premises": [s[read] == STEP and h for s, h in zip(world.train, of_held_out, strict=True)],
        }
        expected = {name: np.exp(train[np.array(chosen)]).mean() for name, chosen in kinds.items()}
        expected |= {
            "train_nll": -train.mean(),
            "validation_nll": -held_out.mean(),
            "validation_excess": -held_out.mean() - read * math.log(42),
            "validation_probability": np.exp(held_out).mean(),
        }
        right = [
            int(after(s[:-1].tolist())[world.candidates].argmax()) + world.candidates.start == s[-1]
            for s in world.validation
        ]
        expected["validation_accuracy_over_chance"] = np.mean(right) - 1 / 10
        ends = []
        for triple in world.held_out.reshape(-1, 3, read).tolist():
            said = triple[0]
            for _ in range(2):
                text = [*said, STEP]
                for _ in range(read):
                    text.append(int(after(text).argmax()))
                said = text[-read:]
            ends.append(said == triple[2])
        expected["rollout"] = np.mean(ends)
        for name, value in expected.items():
            assert float(got[name][seed]) == pytest.approx(float(value), rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("study", [chain.STUDY, related_tokens.STUDY])
def test_killed_and_started_again_it_ends_with_the_same_numbers(study, tmp_path, monkeypatch) -> None:
    config = replace(study.config("quick"), **SMALL)
    whole = study.experiment(config, config.seeds, None)
    from oneway.training import fit

    with monkeypatch.context() as patched:
        patched.setattr(fit, "SAVE_SECONDS", 0.0)
        taken = 0
        original = fit.last_tokens_loss

        def dies(*arguments):
            nonlocal taken
            taken += 1
            if taken == 14:
                raise KeyboardInterrupt
            return original(*arguments)

        patched.setattr(fit, "last_tokens_loss", dies)
        with pytest.raises(KeyboardInterrupt):
            study.experiment(config, config.seeds, tmp_path)
    assert study.experiment(config, config.seeds, tmp_path).equals(whole)


@pytest.mark.parametrize("study", [chain.STUDY, related_tokens.STUDY])
def test_one_seed_decides_nothing(study) -> None:
    config = replace(study.config("quick"), **SMALL)
    curves = study.experiment(config, (0,), None)
    measured = study.measure(curves)
    assert {j.verdict for j in study.judge(measured)} == {Verdict.INCONCLUSIVE}
    assert study.figure(measured, curves).axes


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, ("reproduced", "reproduced", "reproduced")),
        ({"trained_conclusions": 0.9}, ("inconclusive", "inconclusive", "reproduced")),
        ({"premises": 0.9}, ("inconclusive", "reproduced", "inconclusive")),
        ({"validation_excess": -1.0}, ("contradicted", "reproduced", "reproduced")),
        ({"validation_excess": 0.0}, ("inconclusive", "reproduced", "reproduced")),
        ({"validation_accuracy_over_chance": 0.5}, ("reproduced", "contradicted", "reproduced")),
        ({"validation_accuracy_over_chance": 0.02}, ("reproduced", "inconclusive", "reproduced")),
        ({"rollout": 0.5}, ("reproduced", "reproduced", "contradicted")),
        ({"rollout": 0.95}, ("reproduced", "reproduced", "inconclusive")),
        ({"rollout": math.nan}, ("reproduced", "reproduced", "inconclusive")),
    ],
    ids=str,
)
def test_every_branch_of_the_chains_verdicts(change, verdicts) -> None:
    means = {
        "trained_conclusions": 0.995,
        "premises": 0.995,
        "validation_nll": 10.7,
        "validation_excess": 4.0,
        "validation_accuracy_over_chance": 0.0,
        "rollout": 1.0,
    } | change
    judged = chain.STUDY.judge({name: around(mean) for name, mean in means.items()})
    assert tuple(j.verdict for j in judged) == tuple(map(Verdict, verdicts))


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, ("reproduced", "reproduced")),
        ({"related_trained_conclusions": 0.9}, ("inconclusive", "inconclusive")),
        ({"unrelated_trained_conclusions": 0.9}, ("reproduced", "inconclusive")),
        ({"related_validation_probability": 0.5}, ("contradicted", "reproduced")),
        ({"related_validation_probability": 0.95}, ("inconclusive", "reproduced")),
        ({"unrelated_validation_accuracy_over_chance": 0.5}, ("reproduced", "contradicted")),
        ({"unrelated_validation_accuracy_over_chance": 0.02}, ("reproduced", "inconclusive")),
    ],
    ids=str,
)
def test_every_branch_of_the_related_tokens_verdicts(change, verdicts) -> None:
    means = {
        "related_trained_conclusions": 0.995,
        "unrelated_trained_conclusions": 0.995,
        "related_validation_probability": 0.99,
        "related_validation_nll": 0.01,
        "unrelated_validation_accuracy_over_chance": 0.0,
        "unrelated_validation_probability": 0.0,
    } | change
    judged = related_tokens.STUDY.judge({name: around(mean) for name, mean in means.items()})
    assert tuple(j.verdict for j in judged) == tuple(map(Verdict, verdicts))
