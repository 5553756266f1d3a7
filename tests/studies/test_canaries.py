"""The text as it is said to be, ranks and silenced neurons against plain loops, a tiny run, and the verdicts."""

from itertools import product

import numpy as np
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.models.architecture import gpt2
from oneway.models.transformer import initial_weights, logits
from oneway.studies.canaries import (
    STUDY,
    Config,
    Reader,
    greedy,
    secret_ranks,
    specific_neurons,
    without_neurons,
)
from oneway.studies.canary_text import SYMBOLS, TextOf, write_text

SMALL = TextOf(exposures=(1, 8), each=2, objects=2, prefixes=6, ordinary=60)


def test_the_text_holds_everything_as_often_as_planted() -> None:
    text = write_text(SMALL, 3)
    counts: dict[tuple[int, ...], int] = {}
    for sentence in map(tuple, text.stream.tolist()):
        counts[sentence] = counts.get(sentence, 0) + 1
    for kind in (text.canaries, text.facts):
        assert [counts[tuple(one)] for one in kind.tolist()] == text.exposures.tolist() == [1, 1, 8, 8]
    prefixes = np.concatenate([text.canaries, text.facts])[:, :2].tolist()
    assert len({tuple(prefix) for prefix in prefixes}) == 8
    assert len(text.stream) == SMALL.sentences == 96
    assert len({tuple(fact) for fact in text.facts[:, 2:].tolist()}) <= 2
    assert text.stream[:, 2:].max() < SYMBOLS <= text.stream[:, :2].min()
    assert text.stream.max() < SMALL.vocabulary
    ordinary = [s for s in text.stream.tolist() if s[:2] not in prefixes]
    said = {(s[0], s[2]) for s in ordinary} | {(s[1], s[3]) for s in ordinary}
    assert len(said) == len({token for token, _ in said})  # each token of a prefix says one thing


def test_too_few_prefixes_are_refused() -> None:
    with pytest.raises(ValueError, match="leave too few of 9 prefixes"):
        write_text(TextOf(exposures=(1, 8), each=2, prefixes=3), 0)


def model(seed: int = 5) -> tuple:
    a = gpt2(vocab=SMALL.vocabulary, context=4, layers=1, width=8, heads=2)
    return {name: 8 * weight for name, weight in initial_weights(a, (seed,)).items()}, a


def test_ranks_and_extraction_are_those_of_a_plain_loop() -> None:
    weights, a = model()
    sentences = write_text(SMALL, 3).canaries[:2]
    ranks, extracted = secret_ranks(weights, a, sentences), greedy(weights, a, sentences)[0]
    for sentence, rank, got in zip(sentences, ranks, extracted, strict=True):
        secrets = torch.tensor(list(product(range(SYMBOLS), repeat=3)))
        prefix = torch.from_numpy(sentence[:2]).expand(len(secrets), -1)
        whole = torch.cat([prefix, secrets], 1)
        logprobs = logits(weights, whole[None, :, :-1], a)[0, :, 1:].log_softmax(-1)
        total = logprobs.gather(-1, whole[:, 2:, None]).sum((1, 2))
        own = int((secrets == torch.from_numpy(sentence[2:])).all(1).nonzero())
        assert abs(rank - 1 - int((total > total[own]).sum())) <= 1
        said = list(sentence[:2])
        for _ in range(3):
            said.append(int(logits(weights, torch.tensor(said)[None, None], a)[0, 0, -1].argmax()))
        assert got == (said == sentence.tolist())


def test_silenced_neurons_are_models_without_them() -> None:
    weights, a = model()
    tokens = torch.from_numpy(write_text(SMALL, 3).facts[:, :4])
    parts = without_neurons(weights, at_once=5)
    assert sum(len(part["W_E"]) for part in parts) == a.mlp == 32
    plain = {name: value.clone() for name, value in weights.items()}
    plain["blocks.0.W_out"][0, 7] = 0
    found = logits(parts[1], tokens.expand(5, -1, -1), a)[2]
    assert torch.allclose(found, logits(plain, tokens[None], a)[0], atol=1e-4)


def test_specific_neurons_by_hand() -> None:
    extracted = np.array([True] * 21 + [False])
    left = np.ones((3, 22), dtype=bool)
    left[0, 0] = False  # loses the first alone
    left[1, 1:4] = False  # loses three: two of twenty others are too many
    left[2, 21] = False  # was not extracted before
    found = specific_neurons(extracted, left)
    assert found.tolist() == [True] + [False] * 21


def test_a_tiny_run_has_estimates_a_figure_and_the_same_numbers_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("oneway.runs.workers.cores", lambda: 1)
    config = Config(text=SMALL, reader=Reader(width=8, heads=2, batch=4, learning_rate=0.05), seeds=(0, 1))
    curves = STUDY.experiment(config, config.seeds, tmp_path)
    monkeypatch.setattr("oneway.studies.canaries.read", None)
    assert STUDY.experiment(config, config.seeds, tmp_path).equals(curves)
    measured = STUDY.measure(curves)
    assert measured["canary_exposure_8"].mean >= 0
    assert len(STUDY.figure(measured, curves).axes) == 2


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


GOOD = {
    "ordinary_extracted": 0.99,
    "canary_extracted_most": 0.99,
    "canary_extracted_1": 0.01,
    "canary_extracted_8": 0.5,
    "canary_exposure_most": 12.0,
    "canary_exposure_1": 2.0,
    "canary_exposure_gain": 4.0,
    "fact_extracted_most": 0.99,
    "fact_lead": 0.1,
    "canary_left_without_mlp": 0.02,
    "canary_specific": 0.02,
    "fact_specific": 0.02,
}


@pytest.mark.parametrize(
    ("change", "claim", "verdict"),
    [
        ({"ordinary_extracted": 0.8}, "F19.canaries", "inconclusive"),
        ({"canary_extracted_most": 0.7}, "F19.canaries", "contradicted"),
        ({"canary_extracted_1": 0.2}, "F19.canaries", "contradicted"),
        ({"canary_exposure_gain": 0.1}, "F19.exposure", "contradicted"),
        ({"canary_exposure_most": 5.0}, "F19.exposure", "inconclusive"),
        ({"fact_lead": 0.0}, "F19.canaries-facts", "contradicted"),
        ({"fact_lead": 0.05}, "F19.canaries-facts", "inconclusive"),
        ({"canary_specific": 0.3}, "F19.canary-neurons", "contradicted"),
        ({"canary_left_without_mlp": 0.3}, "F19.canary-neurons", "inconclusive"),
    ],
    ids=str,
)
def test_branches_of_the_verdicts(change, claim, verdict) -> None:
    judged = {
        one.claim.id: one.verdict for one in STUDY.judge({n: around(m) for n, m in (GOOD | change).items()})
    }
    assert judged.pop(claim) == Verdict(verdict)
    assert set(judged.values()) == {Verdict.REPRODUCED}
