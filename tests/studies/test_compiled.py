"""The circuit written into weights and taken apart: the tables that a run needs, and every branch of the rules."""

import polars as pl
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.studies import compiled

SMALL = compiled.Config(facts=12, words=24, neurons=3, seeds=(0,))


def claim(name: str):
    return next(c for c in compiled.CLAIMS if c.id == name)


def share(mean: float, width: float = 0.0) -> Estimate:
    return Estimate(mean, mean - width, mean + width, 5, "share")


def test_tables_state_some_parents_the_other_way_round():
    table, stated = compiled.random_people(SMALL, seed=3)
    again, _ = compiled.random_people(SMALL, seed=3)
    assert table == again
    children, parents = table.select(relation="child"), table.select(relation="parent")
    assert len(children) == len(table.select(relation="town")) == 12
    assert len(parents) == len(stated) == round(0.3 * 12)
    pairs = {(fact.object, fact.subject) for fact in children}
    assert {(fact.subject, fact.object) for fact in parents} <= pairs
    names = {fact.subject for fact in children}, {fact.object for fact in children}
    assert not names[0] & names[1]


@pytest.fixture(scope="module")
def curves() -> pl.DataFrame:
    return compiled.experiment(SMALL, SMALL.seeds, None)


def test_a_small_run_finds_what_was_written(curves: pl.DataFrame):
    found = {name: estimate.mean for name, estimate in compiled.measure(curves).items()}
    assert found == {
        "forward": 1,
        "reverse_stated": 1,
        "reverse_unstated_answered": 0,
        "no_previous_one_word": 1,
        "no_previous_several_words": 0,
        "no_relation_own": 0,
        "no_relation_others": 1,
        "no_next_first_token": 1,
        "no_next_several_tokens": 0,
        "neurons_exact": 1,
    }


def test_the_picture_has_the_units_of_one_fact(curves: pl.DataFrame):
    drawn = curves.filter(pl.col("label").is_not_null())
    kinds = set(drawn["quantity"])
    assert {"token", "head previous-name", "neuron fact", "head relation", "head next-output"} <= kinds
    units = drawn.filter(pl.col("quantity") != "token")
    assert int(units["target"].max()) < drawn.filter(pl.col("quantity") == "token").height
    assert compiled.figure(compiled.measure(curves), curves).axes


def test_rules_support_refute_and_stay_open():
    perfect = {"forward": share(1.0), "reverse_stated": share(1.0), "reverse_unstated_answered": share(0.0)}
    assert claim("N2").judge(perfect).verdict is Verdict.REPRODUCED
    leaking = perfect | {"reverse_unstated_answered": share(0.2, 0.1)}
    assert claim("N2").judge(leaking).verdict is Verdict.CONTRADICTED
    unsure = perfect | {"reverse_unstated_answered": share(0.05, 0.05)}
    assert claim("N2").judge(unsure).verdict is Verdict.INCONCLUSIVE
    assert claim("N2").judge(perfect | {"reverse_stated": share(0.5)}).verdict is Verdict.INCONCLUSIVE
    neuron = {"forward": share(1.0), "neurons_exact": share(1.0)}
    assert claim("N1.neuron").judge(neuron).verdict is Verdict.REPRODUCED
    assert (
        claim("N1.neuron").judge(neuron | {"neurons_exact": share(0.9, 0.01)}).verdict is Verdict.CONTRADICTED
    )
    for part, kept, lost in (
        ("previous-token", "no_previous_one_word", "no_previous_several_words"),
        ("relation", "no_relation_others", "no_relation_own"),
        ("next-output", "no_next_first_token", "no_next_several_tokens"),
    ):
        rule = claim(f"N1.{part}")
        clear = {"forward": share(1.0), kept: share(1.0), lost: share(0.0)}
        assert rule.judge(clear).verdict is Verdict.REPRODUCED
        assert rule.judge(clear | {kept: share(0.5)}).verdict is Verdict.CONTRADICTED
        assert rule.judge(clear | {lost: share(0.5)}).verdict is Verdict.CONTRADICTED
        assert rule.judge(clear | {"forward": share(0.5)}).verdict is Verdict.INCONCLUSIVE
