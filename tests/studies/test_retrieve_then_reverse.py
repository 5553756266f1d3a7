"""Questions by hand, what is asked of made-up models, and every branch of the verdicts."""

import numpy as np
import polars as pl
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.facts.recollections import LEFT, RIGHT, SAME, recollections
from oneway.models.architecture import gpt2
from oneway.studies import retrieve_then_reverse
from oneway.studies.retrieve_then_reverse import (
    CLAIMS,
    STUDY,
    Config,
    Model,
    Training,
    measure,
    questions,
    read,
)

SMALL = Config(
    pairs=8,
    model=Model(width=8, mlp=8),
    training=Training(steps=4, batch=8, evaluations=2, seeds_at_once=2),
    seeds=(0, 1, 2),
)
WORLDS = [recollections(8, seed=s) for s in (0, 1)]


def test_every_fact_is_asked_with_every_other_one_in_either_order() -> None:
    rows, places = questions([4, 5, 6], 2)
    asked = [(row[place], tuple(row)) for row, place in zip(rows.tolist(), places.tolist(), strict=True)]
    wanted = [(a, pair) for a in (4, 5, 6) for b in (4, 5, 6) if a != b for pair in ((a, b), (b, a))]
    assert sorted(asked) == sorted(wanted)


def test_of_three_candidates_each_is_another_and_the_right_one_stands_everywhere() -> None:
    rows, places = questions(list(range(5)), 3)
    assert all(len(set(row)) == 3 for row in rows.tolist())
    assert np.bincount(places).tolist() == [len(rows) // 3] * 3
    assert np.bincount(rows[np.arange(len(rows)), places]).tolist() == [len(rows) // 5] * 5


def ask(monkeypatch, forgets: bool, matches: bool) -> dict[str, list[float]]:
    """A made-up model: it knows every fact forward (or none: then it writes the first y), the first half in reverse,
    and finds the statement of an asked y (or takes the first statement)."""

    def answer(world, prompt: list[int]) -> int:
        x, y = world.x.tolist(), world.y.tolist()
        if len(prompt) == 2 and prompt[1] == RIGHT:
            return y[0] if forgets else y[x.index(prompt[0])]
        if len(prompt) == 2:
            pair = y.index(prompt[1])
            return x[pair] if pair < world.both_ways else 0
        assert prompt[6:8] == [SAME, LEFT]
        stated = {prompt[5]: prompt[3], prompt[2]: prompt[0]}
        return stated.get(prompt[8], 1) if matches else prompt[0]

    def scores(weights, a, prompts):
        found = np.zeros((2, prompts.shape[1], WORLDS[0].vocabulary_size))
        for s, world in enumerate(WORLDS):
            for n, prompt in enumerate(prompts[s].tolist()):
                found[s, n, answer(world, prompt)] = 1
        return found

    monkeypatch.setattr(retrieve_then_reverse, "scores_of", scores)
    a = gpt2(vocab=WORLDS[0].vocabulary_size, context=9, layers=1, width=8, heads=1)
    found = read({}, a, WORLDS, 2)
    assert all(values[0] == values[1] for values in found.values())
    return {name: float(values[0]) for name, values in found.items()}


def test_a_model_that_knows_and_matches_is_right_after_its_own_statements(monkeypatch) -> None:
    found = ask(monkeypatch, forgets=False, matches=True)
    # Directly it says a token that is no candidate: the tie goes to the first, which is right in half the orders.
    wanted = {
        "forward": 1,
        "both_ways_direct": 1,
        "direct": 0.5,
        "direct_of_all": 0,
        "stated": 1,
        "retrieved": 1,
    }
    wanted |= {"retrieved_of_candidates": 1, "swapped": 0, "direct_over_chance": 0, "gain": 0.5}
    assert found == wanted | {"short_of_forward": 0}


def test_a_model_that_does_not_match_is_at_chance_even_after_true_statements(monkeypatch) -> None:
    found = ask(monkeypatch, forgets=False, matches=False)
    assert (found["stated"], found["retrieved"], found["swapped"]) == (0.5, 0.5, 0.5)


def test_a_model_that_forgot_is_no_better_for_its_wrong_statements(monkeypatch) -> None:
    found = ask(monkeypatch, forgets=True, matches=True)
    assert (found["forward"], found["stated"], found["retrieved"]) == (0, 1, 0)


def test_a_killed_run_goes_on_and_ends_with_the_same_curves(tmp_path) -> None:
    whole = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    kept = sorted(tmp_path.rglob("*.safetensors"))
    assert len(kept) == 2
    kept[0].unlink()
    assert STUDY.experiment(SMALL, SMALL.seeds, tmp_path).equals(whole)
    measured = measure(whole)
    assert {name for claim in CLAIMS for name in claim.reads} <= set(measured)
    assert len(STUDY.figure(measured, whole).axes) == 2
    one = measure(whole.filter(pl.col("seed") == 0))
    assert {judged.verdict for judged in STUDY.judge(one)} == {Verdict.INCONCLUSIVE}


def test_claims_are_judged_on_the_seeds_that_can_read() -> None:
    rows = [
        {"seed": seed, "step": 1, "quantity": quantity, "value": value}
        for seed, stated in enumerate((0.5, 0.96, 1.0))
        for quantity, value in (("stated", stated), ("direct", 0.1 * seed))
    ]
    measured = measure(pl.DataFrame(rows))
    assert measured["seeds_that_read"] == Estimate(2.0, 2.0, 2.0, 3, "seeds")
    assert measured["direct"].mean == pytest.approx(0.15)
    assert measured["direct"].n == 2


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


BASE = {
    "forward": 0.99, "both_ways_direct": 0.99, "seeds_that_read": 7.0, "direct": 0.5, "direct_over_chance": 0.0,
    "retrieved": 0.98, "gain": 0.48, "short_of_forward": 0.01, "swapped": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "change", "verdict"),
    [
        (0, {}, "reproduced"),
        (0, {"gain": 0.05, "short_of_forward": 0.4}, "contradicted"),
        (0, {"short_of_forward": 0.2}, "inconclusive"),
        (0, {"direct_over_chance": 0.2}, "inconclusive"),
        (0, {"seeds_that_read": 4.0}, "inconclusive"),
        (0, {"both_ways_direct": 0.8}, "inconclusive"),
        (0, {"forward": 0.8}, "inconclusive"),
        (1, {}, "reproduced"),
        (1, {"swapped": 0.4}, "contradicted"),
        (1, {"swapped": 0.1}, "inconclusive"),
        (1, {"seeds_that_read": 4.0}, "inconclusive"),
    ],
    ids=str,
)
def test_every_branch_of_the_rules(claim: int, change: dict[str, float], verdict: str) -> None:
    measured = {name: around(mean) for name, mean in (BASE | change).items()}
    assert CLAIMS[claim].judge(measured).verdict is Verdict(verdict)
