"""Cosines by hand and against random vectors, resume, and every branch of the verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from oneway.evidence import Estimate, Verdict
from oneway.facts.worlds import arrows
from oneway.studies.orthogonality import (
    CELLS,
    CLAIMS,
    STUDY,
    Cell,
    cosines,
    expected_mean,
    kinds_of,
    summary,
)
from oneway.studies.sentence_training import Decoder, Schedule

TINY = Cell(
    decoder=Decoder(layers=1, width=8, heads=2),
    schedule=Schedule(epochs=2, batch=16, evaluations=2, seeds_at_once=2),
)
SMALL = replace(STUDY.config("quick"), vocabulary=24, seeds=(0, 1), **dict.fromkeys(CELLS, TINY))


def test_the_expectation_is_that_of_the_distribution_of_cosines() -> None:
    for width in (8, 24, 768):
        # (1 + cos) / 2 of random vectors is Beta((d−1)/2, (d−1)/2).
        beta = stats.beta((width - 1) / 2, (width - 1) / 2)
        assert expected_mean(width) == pytest.approx(beta.expect(lambda x: abs(2 * x - 1)), rel=1e-6)
    assert expected_mean(768) == pytest.approx(math.sqrt(2 / (math.pi * 768)), rel=1e-3)


def test_cosines_by_hand() -> None:
    found = cosines(np.array([[1.0, 0], [2, 2], [0, -3]]))
    half = math.sqrt(0.5)
    assert found == pytest.approx(np.array([[1, half, 0], [half, 1, -half], [0, -half, 1]]))


def test_a_common_direction_shows_and_goes_with_the_mean() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 64))
    common = vectors + 2 * np.ones(64)
    assert summary(vectors, {})[""] == pytest.approx(1, abs=0.05)
    assert summary(common, {})[""] > 5
    assert summary(common - common.mean(0), {})[""] == pytest.approx(1, abs=0.05)


def test_kinds_are_every_pair_of_different_entities_once() -> None:
    world = arrows(24, seed=0)
    tokens, kinds = kinds_of(world)
    assert sorted(tokens) == sorted([*world.x[:, 0], *world.y[:, 0]])
    assert (sum(kind.astype(int) for kind in kinds.values()) == 1 - np.eye(len(tokens))).all()
    partners = {(int(tokens[i]), int(tokens[j])) for i, j in np.argwhere(kinds["partners"])}
    pairs = set(zip(world.x[:, 0].tolist(), world.y[:, 0].tolist(), strict=True))
    assert partners == pairs | {(y, x) for x, y in pairs}


def test_it_resumes_to_the_same_numbers_and_one_seed_decides_nothing(tmp_path, monkeypatch) -> None:
    whole = STUDY.experiment(SMALL, SMALL.seeds, None)
    from oneway.training import fit

    taken, original = 0, fit.last_tokens_loss

    def counted(*arguments):
        nonlocal taken
        taken += 1
        if taken == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(fit, "last_tokens_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    taken = -1000
    assert STUDY.experiment(SMALL, SMALL.seeds, tmp_path).equals(whole)
    measured = STUDY.measure(whole)
    for cell in CELLS:
        assert measured[f"{cell}_raw_peak"].mean >= measured[f"{cell}_raw"].mean
    assert STUDY.figure(measured, whole).axes
    alone = STUDY.measure(whole.filter(whole["seed"] == 0))
    assert {j.verdict for j in STUDY.judge(alone)} == {Verdict.INCONCLUSIVE}


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.01, mean + 0.01, 10, "")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "reproduced"),
        ({"_peak": 3.0}, "contradicted"),
        ({"_peak": 1.5}, "inconclusive"),
        ({"_start": 1.2}, "inconclusive"),
        ({"train_probability": 0.9}, "inconclusive"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change, verdict) -> None:
    means = {"_peak": 1.2, "_start": 1.0, "": 1.1, "_mean": 0.1, "_largest": 0.3, "train_probability": 0.99}
    means |= change
    measured = {
        f"{cell}_{name if name == 'train_probability' else kind + name}": around(mean)
        for cell in CELLS
        for kind in ("raw", "centred")
        for name, mean in means.items()
    }
    assert {claim.judge(measured).verdict for claim in CLAIMS} == {Verdict(verdict)}
