"""The memoriser against plain formulas, what is read of its units by hand, resume, and the verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.studies import memorised_units, memoriser
from oneway.studies.fact_capacity import Shape, Telling, facts_of, keeps
from oneway.studies.memorisation import STUDY, Arm, Config, series_of
from oneway.studies.memoriser import Network, Pairs, Practice

SMALL = Network(width=6, integers=12, embedding=8)
NETWORKS = {
    "frozen": SMALL,
    "trained": replace(SMALL, inputs="trained"),
    "one-hot": replace(SMALL, inputs="one_hot"),
    "two layers": replace(SMALL, layers=2),
    "four answers": replace(SMALL, answers=4),
    "two facts": replace(SMALL, facts=2),
}


def lists(network: Network, count: int, seeds: tuple[int, ...]) -> Pairs:
    return Pairs(memoriser.draw_pairs(network, count, seeds), memoriser.random_answers(network, count, seeds))


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_the_formula_and_parameters_are_counted(name: str) -> None:
    network = NETWORKS[name]
    weights = memoriser.initial_weights(network, (3, 4))
    numbers = torch.from_numpy(memoriser.draw_pairs(network, 9, (3, 4)))
    found = memoriser.scores(network, weights, memoriser.units(network, weights, numbers))
    for place in range(2):
        w = {name: weight[place].double() for name, weight in weights.items()}
        embeddings = w.get("E", torch.eye(12).double().expand(2, -1, -1))
        for row, number in enumerate(numbers[place].tolist()):
            x = torch.cat([embeddings[0][number // 12], embeddings[1][number % 12]])
            x = (x @ w["blocks.0.W_in"] + w["blocks.0.b"]).relu()
            if network.layers == 2:
                x = (x @ w["blocks.1.W_in"] + w["blocks.1.b"]).relu()
            out = (x @ w["W_out"] + w["b_out"]).view(network.facts, -1)
            logits = torch.stack([torch.zeros_like(out[:, 0]), out[:, 0]], 1) if network.answers == 2 else out
            assert torch.allclose(found[place, row].double(), logits, atol=1e-5)
    trained = sum(w[0].numel() for n, w in weights.items() if n != "E" or network.inputs == "trained")
    assert network.parameters == trained


def test_training_learns_by_heart_and_seeds_do_not_touch() -> None:
    practice = Practice(steps=200, batch=16)
    together = memoriser.memorise(SMALL, lists(SMALL, 40, (1, 2)), (1, 2), practice)
    alone = memoriser.memorise(SMALL, lists(SMALL, 40, (2,)), (2,), replace(practice, steps=together.steps))
    assert together.accuracy.min() > 0.9
    frozen = memoriser.initial_weights(SMALL, (1, 2))["E"]
    assert torch.equal(together.weights["E"], frozen)
    short = [
        memoriser.memorise(SMALL, lists(SMALL, 40, s), s, Practice(steps=3, batch=16)).weights["W_out"][-1]
        for s in ((1, 2), (2,))
    ]
    assert torch.allclose(*short, atol=1e-5)
    assert alone.accuracy.shape == (1,)


def test_bits_by_hand() -> None:
    assert memoriser.bits_known(2, 0.99) == pytest.approx(1 + 0.99 * math.log2(0.99) + 0.01 * math.log2(0.01))
    assert memoriser.bits_known(16, 1.0) == 4
    assert memoriser.bits_known(4, 0.25) == 0


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((1.0, 0.995, 0.985), 2.5),
        ((1.0, 0.98, 1.0), math.nan),  # pooled to (1, .99, .99): never below
        ((0.98, 0.97, 0.9), math.nan),
        ((1.0, 1.0, 0.0), 2.01),
    ],
    ids=["between", "not below", "below at once", "steep"],
)
def test_thresholds_by_hand(accuracies, expected) -> None:
    assert memoriser.threshold((1.0, 2.0, 3.0), accuracies) == pytest.approx(expected, nan_ok=True)


def test_what_is_read_of_units_by_hand() -> None:
    answers = np.array([0, 0, 1, 1])
    votes = np.array([[0.0, 1], [0, 2], [1, 0], [0, 3]])
    # The second unit ranks (1, 2 | 0, 3): of four comparisons two are won. The first: two won, two tied.
    assert memorised_units.best_auc(votes, answers) == pytest.approx(0.75)
    rng = np.random.default_rng(0)
    answers = rng.integers(2, size=4000)
    noise = rng.normal(size=4000)
    votes = np.stack([noise, -noise], 1) + 0.3 * (2 * answers - 1)[:, None]
    assert ((votes.sum(1) > 0) == answers).all()
    assert memorised_units.vote_correlation(votes, answers) == pytest.approx(-1)
    # Independent, they are a sum of deviation √2 around ±0.6.
    expected = 0.5 * (1 + math.erf(0.6 / math.sqrt(2) / math.sqrt(2)))
    assert memorised_units.bagged_accuracy(votes, 0.0, answers, 1) == pytest.approx(expected, abs=0.03)


def test_a_rule_is_found_by_a_unit_and_holds_on_pairs_never_seen() -> None:
    network = replace(SMALL, integers=40)
    numbers = memoriser.draw_pairs(network, 1600, (1, 2))
    answers = memorised_units.ruled_answers(network, numbers, (1, 2))
    assert 0.3 < answers.mean() < 0.7
    learnt = Pairs(numbers[:, :400], answers[:, :400])
    found = memoriser.memorise(network, learnt, (1, 2), Practice(steps=300))
    unseen = Pairs(numbers[:, 400:], answers[:, 400:])
    assert memoriser.knows(network, found.weights, unseen).min() > 0.85
    for one in memorised_units.anatomy_of_units(found, learnt, (1, 2)):
        assert one["tables"] == 1
        assert one["best_auc"] > 0.7


def test_more_pairs_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="145 pairs cannot be drawn from the 144"):
        memoriser.draw_pairs(SMALL, 145, (0,))
    with pytest.raises(ValueError, match="5,185 facts need as many names"):
        facts_of(5185, 0)


def test_a_transformer_told_often_keeps_all_bits_and_an_untold_one_none() -> None:
    shape = Shape(width=8, neurons=8)
    often = keeps(shape, Telling(exposures=300, offered=0.05), (0, 1), None)
    once = keeps(shape, Telling(exposures=1, offered=0.5), (0, 1), None)
    for row in often:
        assert row["known"] >= 0.9 * row["facts"]
        assert 0.9 * 6 * row["facts"] < row["bits"] <= 6 * row["facts"]
    assert all(row["known"] < 0.1 * row["facts"] and row["bits"] < row["facts"] for row in once)
    assert len({tuple(name) for name in facts_of(5000, 0)[:, :2].tolist()}) == 5000


SHAPES = {"both": ((8, 32), (12, 48)), "neurons": ((12, 12), (12, 48)), "width": ((8, 48), (12, 48))}


def small(arm: Arm) -> Arm:
    return Arm(network=replace(arm.network, width=8, integers=60, embedding=8), offered=(1.9, 2.5))


TINY = Config(
    arms={name: small(arm) for name, arm in Config().arms.items()},
    practice=Practice(steps=4),
    dissected=replace(SMALL, integers=30),
    dissected_at=0.5,
    told=(100, 1000),
    growth=Telling(exposures=1, offered=0.5),
    sizes={series: tuple(Shape(width=w, neurons=n) for w, n in shapes) for series, shapes in SHAPES.items()},
    seeds=(0, 1),
)


def test_a_finished_piece_is_read_and_the_numbers_are_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "oneway.studies.memorisation.Telling", lambda exposures: Telling(exposures=1, offered=0.5)
    )
    monkeypatch.setattr("oneway.runs.workers.cores", lambda: 1)
    whole = STUDY.experiment(TINY, TINY.seeds, tmp_path)
    monkeypatch.setattr("oneway.studies.memoriser.memorise", None)
    assert STUDY.experiment(TINY, TINY.seeds, tmp_path).equals(whole)
    measured = STUDY.measure(whole)
    assert not measured["bits_trained"].defined  # four steps learn nothing: there is no threshold
    assert len(STUDY.figure(measured, whole).axes) == 3
    verdicts = {judgement.claim.id: judgement.verdict for judgement in STUDY.judge(measured)}
    assert verdicts["F17.capacity"] == verdicts["F17.bits"] == Verdict.INCONCLUSIVE


def test_series_are_told_by_their_shapes() -> None:
    found = series_of([shape for shapes in Config().sizes.values() for shape in shapes])
    assert {name: {(s.width, s.neurons) for s in shapes} for name, shapes in found.items()} == {
        name: {(s.width, s.neurons) for s in shapes} for name, shapes in Config().sizes.items()
    }


def around(mean: float, half: float = 1e-5) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 10, "")


GOOD = {
    **{f"threshold_width_{w}": 2.2 for w in (8, 16, 32, 64, 128)},
    **{f"known_width_{w}_at_1.9": 1.0 for w in (8, 16, 32, 64, 128)},
    **{f"known_width_{w}_at_2.5": 0.95 for w in (8, 16, 32, 64, 128)},
    **{f"bits_{name}": 2.0 for name in ("width_32", "two_layers", "trained", "one_hot", "16_answers")},
    "threshold_slope": 0.0,
    "random_tables": 1.0,
    "random_tables_without_one": 0.8,
    "random_active": 0.5,
    "random_best_auc": 0.53,
    "ruled_best_auc": 0.7,
    "random_accuracy": 0.99,
    "random_bagged": 0.6,
    "random_gain_over_bagging": 0.4,
    "random_vote_correlation": -0.01,
    "random_held_out": 0.5,
    "ruled_held_out": 0.95,
    "told_100": 1.0,
    "told_1000": 2.0,
    **{f"exponent_{series}": 1.5 for series in SHAPES},
}


@pytest.mark.parametrize(
    ("change", "claim", "verdict"),
    [
        ({"threshold_width_8": 1.8}, "F17.capacity", "contradicted"),
        ({"threshold_width_8": 1.9}, "F17.capacity", "inconclusive"),
        ({"known_width_128_at_1.9": 0.8}, "F17.capacity", "inconclusive"),
        ({"threshold_slope": -0.1}, "F17.capacity-linear", "contradicted"),
        ({"bits_trained": 1.2}, "F17.bits", "contradicted"),
        ({"bits_width_32": 1.2}, "F17.bits", "inconclusive"),
        ({"random_tables": 0.99}, "F17.tables", "contradicted"),
        ({"random_best_auc": 0.65}, "F17.macrofeature", "contradicted"),
        ({"ruled_best_auc": 0.55}, "F17.macrofeature", "inconclusive"),
        ({"random_gain_over_bagging": 0.01}, "F17.bagging", "contradicted"),
        ({"random_held_out": 0.55}, "F17.held-out", "contradicted"),
        ({"told_1000": 1.0}, "F17.exposures", "inconclusive"),
        ({"told_1000": 1.2}, "F17.exposures", "contradicted"),
        ({"exponent_neurons": 0.8}, "F17.growth-neurons", "contradicted"),
        ({"exponent_width": 1.0}, "F17.growth-width", "inconclusive"),
    ],
    ids=str,
)
def test_branches_of_the_verdicts(change, claim, verdict) -> None:
    judged = {
        one.claim.id: one.verdict for one in STUDY.judge({n: around(m) for n, m in (GOOD | change).items()})
    }
    assert judged.pop(claim) == Verdict(verdict)
    assert set(judged.values()) == {Verdict.REPRODUCED}
