"""The study on tiny models: seeds side by side, a model and a text of one's own, numbers by hand, and the verdicts."""

from dataclasses import replace

import polars as pl
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.runs.execute import run_study
from oneway.studies.locality import CLAIMS, STUDY, Config, first_third, measure, quantities
from oneway.studies.small_model import Small, prepare_small, prose, save_untaught, small_world

TINY = Small(
    athletes=12, others=3, parents=3, first_names=5, surnames=8, layers=3, width=16, rows=8, steps=4, rolled=2
)


def tiny() -> Config:
    return Config(small=TINY, sentences=40, longest=6, seeds=(0, 1))


SMALL = replace(STUDY, recipes={"quick": tiny})


def test_a_tiny_run_has_estimates_a_figure_and_the_same_numbers_again(tmp_path, monkeypatch):
    monkeypatch.setattr("oneway.runs.workers.cores", lambda: 1)
    curves = STUDY.experiment(tiny(), (0, 1), tmp_path)
    monkeypatch.setattr("oneway.studies.locality._grown", None)
    assert STUDY.experiment(tiny(), (0, 1), tmp_path).equals(curves)
    measured = STUDY.measure(curves)
    assert measured["whole"].mean == pytest.approx(1, abs=1e-4)
    assert measured["untaught_less_taught"].defined
    assert len(STUDY.figure(measured, curves).axes) == 3


def test_a_model_and_a_text_of_ones_own_are_measured_in_parts(tmp_path):
    table = small_world(TINY, 0)
    model = save_untaught(prepare_small(TINY, table, 0), tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(sentence for sentence, _ in zip(prose(table, 0), range(60), strict=False)))
    given = {"model": str(model), "text": str(text)}
    record, _ = run_study(SMALL, out=tmp_path / "run", given=given)
    verdicts = {claim["id"]: claim["verdict"] for claim in record.claims}
    assert verdicts["F18.learnt"] == Verdict.INCONCLUSIVE.value, "there is no untaught model to compare with"
    found = {name: value for claim in record.claims for name, value in claim["measured"].items()}
    assert found["whole"]["n"] == 2
    assert found["whole"]["mean"] == pytest.approx(1, abs=1e-4)


def test_what_is_given_must_fit(tmp_path):
    with pytest.raises(ValueError, match="both --model and --text"):
        STUDY.check(Config(model="somewhere"))
    with pytest.raises(ValueError, match="is no file"):
        STUDY.check(Config(model="somewhere", text=str(tmp_path / "nothing.txt")))


MEDIANS = {  # by context: after layers 0 to 3
    "1": (0.4, 0.3, 0.2, 0.2),
    "5": (0.9, 0.7, 0.65, 0.75),
    "10": (0.95, 0.9, 0.9, 0.9),
    "shuffled 5": (0.5, 0.3, 0.3, 0.3),
    "another token": (0.1, 0.0, 0.0, 0.0),
}


def curves() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "seed": seed, "model": model, "layer": layer, "context": context, "class": kind, "tokens": 9,
                "whole": 1.0, "median": median + lift, "p5": median - 0.5, "p95": median + 0.1,
            }
            for seed in (0, 1)
            for model, raised in (("taught", 0.0), ("untaught", 0.2))
            for kind, own in (("all", 0.0), ("alphabetic", 0.05), ("punctuation and common words", -0.2))
            for context, medians in MEDIANS.items()
            for layer, median in enumerate(medians)
            for lift in (raised + own,)
        ]
    )  # fmt: skip


def test_quantities_by_hand():
    found = quantities(curves().filter(seed=0, model="taught"))
    expected = {
        "whole": 1.0, "over_chance": 0.85, "early_fall": 0.2, "late_fall": 0.05, "whole_fall": 0.25,
        "early_less_late": 0.1, "near": 0.5, "tail": 0.3, "classes": 0.25, "uptick": 0.1, "over_shuffled": 0.4,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert measure(curves())["untaught_less_taught"].mean == pytest.approx(0.2)
    assert [first_third(layers) for layers in (2, 4, 6, 32)] == [1, 1, 2, 10]


GOOD = {
    "whole": 1.0, "over_chance": 0.8, "early_fall": 0.2, "late_fall": 0.05, "whole_fall": 0.25, "early_less_late": 0.1,
    "near": 0.4, "tail": 0.2, "classes": 0.2, "uptick": 0.1, "over_shuffled": 0.3, "untaught_less_taught": 0.2,
}  # fmt: skip


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "reproduced"),
        ({"whole": 0.9}, "inconclusive"),
        ({"over_chance": 0.05}, "inconclusive"),
        (dict.fromkeys(GOOD.keys() - {"whole", "over_chance", "whole_fall"}, -0.1), "contradicted"),
    ],
    ids=["all hold", "cut wrongly", "no better than chance", "none hold"],
)
def test_branches_of_the_verdicts(claim, change, verdict):
    measured = {name: Estimate(m, m - 1e-4, m + 1e-4, 3, "") for name, m in (GOOD | change).items()}
    judged = {one.claim.id: one.verdict for one in STUDY.judge(measured)}
    assert judged[claim] == Verdict(verdict)


def test_without_a_fall_nothing_is_said_of_where_it_ends():
    measured = {name: Estimate(m, m, m, 3, "") for name, m in (GOOD | {"whole_fall": 0.01}).items()}
    assert {one.claim.id: one.verdict for one in STUDY.judge(measured)}["F18.flat"] == Verdict.INCONCLUSIVE
