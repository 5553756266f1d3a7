"""Answers of the two tasks against their shares, a tiny run, and every branch of the verdicts."""

import numpy as np
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.studies.memoriser import Network, Practice
from oneway.studies.rules_of_thumb import CLAIMS, STUDY, Config, bits_of, parameters_of, two_facts


@pytest.mark.parametrize("agreement", [0.5, 0.9, 1.0])
def test_two_facts_are_coins_that_agree_as_often_as_said(agreement: float) -> None:
    answers = two_facts(Network(width=4, facts=2), 20_000, agreement, (1, 2))
    assert np.abs(answers.mean((0, 1)) - 0.5).max() < 0.02
    assert (answers[..., 0] == answers[..., 1]).mean() == pytest.approx(agreement, abs=0.01)
    assert not np.array_equal(answers[0], answers[1])


def test_entropies_and_parameters_by_hand() -> None:
    assert bits_of("exceptions", 0.5) == 1
    assert bits_of("together", 0.5) == 2
    assert bits_of("together", 1.0) == 1
    assert bits_of("exceptions", 0.25) == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))
    assert parameters_of("exceptions", 32) == 65 * 32 + 33
    assert parameters_of("together", 32) == 65 * 32 + 66
    assert parameters_of("apart", 32) == 2 * (65 * 16 + 17)


def test_a_tiny_run_has_estimates_a_figure_and_the_same_numbers_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("oneway.runs.workers.cores", lambda: 1)
    config = Config(width=4, offered=(0.3, 1.4), practice=Practice(steps=40), seeds=(0, 1))
    curves = STUDY.experiment(config, config.seeds, tmp_path)
    monkeypatch.setattr("oneway.studies.rules_of_thumb.memorise", None)
    assert STUDY.experiment(config, config.seeds, tmp_path).equals(curves)
    measured = STUDY.measure(curves)
    assert 0 <= measured["held_out_by_rule_0.1"].mean <= 1
    assert len(STUDY.figure(measured, curves).axes) == 2
    assert len(STUDY.judge(measured)) == len(CLAIMS)


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


GOOD = {
    "pairs_exceptions_0.1": 4.0,
    "pairs_exceptions_0.5": 2.0,
    "pairs_apart_0.5": 1.0,
    "rule_gain": 2.0,
    "rule_bits_ratio": 1.0,
    "known_exceptions_0.1": 0.99,
    "held_out_by_rule_0.1": 0.7,
    "held_out_by_rule_0.5": 0.5,
    "together_gain_0.5": 1.0,
    "together_gain_0.9": 1.4,
    "together_gain_1": 2.0,
}


@pytest.mark.parametrize(
    ("change", "claim", "verdict"),
    [
        ({"rule_gain": 1.1}, "F17.rule", "contradicted"),
        ({"rule_gain": 1.25}, "F17.rule", "inconclusive"),
        ({"rule_bits_ratio": 0.7}, "F17.exceptions", "contradicted"),
        ({"rule_bits_ratio": 0.8}, "F17.exceptions", "inconclusive"),
        ({"held_out_by_rule_0.1": 0.55}, "F17.rule-survives", "contradicted"),
        ({"known_exceptions_0.1": 0.95}, "F17.rule-survives", "inconclusive"),
        ({"together_gain_0.9": 1.0}, "F17.correlated", "contradicted"),
        ({"together_gain_0.9": 1.15}, "F17.correlated", "inconclusive"),
        ({"together_gain_0.5": 1.3}, "F17.independent", "contradicted"),
        ({"together_gain_0.5": 0.7}, "F17.independent", "contradicted"),
    ],
    ids=str,
)
def test_branches_of_the_verdicts(change, claim, verdict) -> None:
    judged = {
        one.claim.id: one.verdict for one in STUDY.judge({n: around(m) for n, m in (GOOD | change).items()})
    }
    assert judged.pop(claim) == Verdict(verdict)
    assert set(judged.values()) == {Verdict.REPRODUCED}


def test_without_their_controls_nothing_is_decided() -> None:
    changed = {"pairs_exceptions_0.5": 1.0, "together_gain_1": 1.2, "known_exceptions_0.1": 0.9}
    judged = STUDY.judge({n: around(m) for n, m in (GOOD | changed).items()})
    assert {one.verdict for one in judged} == {Verdict.INCONCLUSIVE}
