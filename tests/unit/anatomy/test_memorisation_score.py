"""The score against chance tables, planted rules, scikit-learn's ridge, and the shipped athletes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from oneway.anatomy.memorisation_score import held_out_accuracies, memorisation_score
from oneway.facts.fact import Fact, FactTable
from oneway.facts.people import athletes
from oneway.facts.shipped import load_table

SPORT = "plays_sport"
SPORTS = ("baseball", "basketball", "football")


def people(count: int) -> FactTable:
    world = athletes(count, seed=1, others=0, parents=0, first_names=30, surnames=40)
    return world.select(relation=SPORT)


def ruled(table: FactTable, strength: float, seed: int) -> FactTable:
    """The surname decides for a share of the people, a die for the others."""
    rng = np.random.default_rng(seed)
    surnames = sorted({fact.subject.split()[1] for fact in table})
    rule = {surname: SPORTS[rng.integers(3)] for surname in surnames}
    return table.with_facts(
        replace(
            fact,
            object=rule[fact.subject.split()[1]] if rng.random() < strength else SPORTS[rng.integers(3)],
        )
        for fact in table
    )


def test_of_100_random_tables_about_five_percent_exclude_zero() -> None:
    """At 5% ten or more of 100 come with probability 0.03; half of the tables have uneven base rates."""
    table, excluded = people(120), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shares = (0.6, 0.3, 0.1) if seed % 2 else (1 / 3, 1 / 3, 1 / 3)
        drawn = table.with_facts(replace(fact, object=SPORTS[rng.choice(3, p=shares)]) for fact in table)
        found = memorisation_score(drawn, SPORT, permutations=40, seed=seed).above_chance
        excluded += not found.low <= 0 <= found.high
    assert excluded <= 9


def test_planted_rules_are_found_and_stronger_ones_score_higher() -> None:
    table = people(600)
    scores = [memorisation_score(ruled(table, s, seed=7), SPORT) for s in (0.2, 0.4, 0.6, 0.8, 1.0)]
    means = [score.above_chance.mean for score in scores]
    assert all(score.above_chance.low > 0 and score.p <= 0.01 for score in scores)
    assert means == sorted(means)
    assert scores[-1].accuracy > 0.98
    assert scores[-1].memorised.mean < 0.05


def test_the_names_of_real_athletes_carry_some_signal() -> None:
    score = memorisation_score(load_table("athletes"), SPORT)
    assert score.above_chance.low > 0.02
    assert score.above_chance.high < 0.15
    assert score.memorised.low > 0.75


def test_accuracies_are_those_of_scikit_learns_ridge() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    y = (x[:, 0] + 0.5 * rng.normal(size=60) > 0).astype(np.int64) + (x[:, 1] > 1)
    hits = 0.0
    for train, test in KFold(10, shuffle=True, random_state=0).split(x):
        targets = np.eye(3)[y[train]]
        plain = Ridge(alpha=1.0, fit_intercept=False).fit(x[train], targets - targets.mean(0))
        hits += ((plain.predict(x[test]) + targets.mean(0)).argmax(1) == y[test]).sum()
    found = held_out_accuracies(x @ x.T, y, np.eye(3, dtype=bool)[y], np.arange(60)[None])
    assert found[0] == pytest.approx(hits / 60)


def test_several_objects_are_all_right() -> None:
    facts = [Fact(f"Ann {n}", "knows", "Latin") for n in range(30)]
    facts += [Fact(f"Ann {n}", "knows", "Greek") for n in range(30)] + [Fact("Bob 1", "knows", "Norse")]
    score = memorisation_score(FactTable(tuple(facts)), "knows", permutations=20)
    assert score.subjects == 31
    assert score.accuracy == pytest.approx(30 / 31)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ([Fact(f"p{n}", "r", str(n % 2)) for n in range(19)], "19 subjects: at least 20"),
        ([Fact(f"p{n}", "r", "x") for n in range(25)], "one object only"),
        ([Fact(f"p{n}", "other", "x") for n in range(25)], "0 subjects"),
    ],
    ids=["few", "one object", "no such relation"],
)
def test_tables_that_cannot_be_scored_are_refused(facts, message) -> None:
    with pytest.raises(ValueError, match=message):
        memorisation_score(FactTable(tuple(facts)), "r")
