"""The study on a compiled lookup and on tiny models: what is given, seeds side by side, numbers by hand, verdicts."""

from dataclasses import replace

import polars as pl
import pytest
from people import people

from oneway.compiler import compile_table
from oneway.evidence import Estimate, Verdict
from oneway.facts import facts_lines, relations_toml
from oneway.runs.execute import run_study
from oneway.studies import recovered
from oneway.studies.recovered import CLAIMS, STUDY, Config, Known, own_text, sentences
from oneway.studies.small_model import Small, prepare_small, small_world

TINY = Small(
    athletes=30,
    others=4,
    parents=4,
    first_names=6,
    surnames=10,
    layers=3,
    width=16,
    rows=8,
    steps=4,
    rolled=2,
)


def test_a_compiled_lookup_given_as_a_model_is_a_table_of_names(tmp_path):
    """Up to the layer of the facts: names give back all, shuffled ones nothing, and alone they give back nothing."""
    table = people()
    compile_table(table, tmp_path / "model", architecture="neox")
    (tmp_path / "facts.jsonl").write_text(facts_lines(table))
    (tmp_path / "relations.toml").write_text(relations_toml(table.relations.values()))
    text = " ".join(f"{fact.subject} plays the sport of {fact.object}." for fact in table)
    (tmp_path / "text.txt").write_text(text * 3)
    given = {"model": "model", "facts": "facts.jsonl", "relations": "relations.toml", "text": "text.txt"}
    given = {name: str(tmp_path / file) for name, file in given.items()}
    study = replace(STUDY, recipes={"quick": lambda: Config(share=0.8, seeds=(0, 1, 2, 3), tokens=400)})
    record, _ = run_study(study, out=tmp_path / "run", given=given)
    verdicts = {claim["id"]: claim["verdict"] for claim in record.claims}
    found = {name: value["mean"] for claim in record.claims for name, value in claim["measured"].items()}
    assert found["names_facts"] == pytest.approx(1, abs=1e-3)
    assert found["alone_facts"] == pytest.approx(0, abs=1e-3)
    expected = {
        "F20": "reproduced",
        "F20.shuffled": "reproduced",
        "F20.alone": "contradicted",
        "F20.tokens": "reproduced",
    }
    assert {name: verdicts[name] for name in expected} == expected


def test_a_tiny_run_has_estimates_a_figure_and_the_same_numbers_again(tmp_path, monkeypatch):
    """Models that know nothing are given facts as if they knew them."""
    monkeypatch.setattr("oneway.runs.workers.cores", lambda: 1)
    monkeypatch.setattr(recovered, "looked_up_by", lambda *_: 0.95)
    monkeypatch.setattr(
        recovered, "known_sentences", lambda engine, table: Known(*map(list, sentences(engine, table)))
    )
    config = Config(small=TINY, batches=2, seeds=(0, 1))
    curves = STUDY.experiment(config, config.seeds, tmp_path)
    monkeypatch.setattr(recovered, "_grown", None)
    assert STUDY.experiment(config, config.seeds, tmp_path).equals(curves)
    measured = STUDY.measure(curves)
    assert measured["moved"].mean == 0.95
    assert measured["loss_facts"].mean > 1
    assert len(STUDY.figure(measured, curves).axes) == 2


def test_a_model_that_knows_nothing_has_no_table(tmp_path):
    with pytest.raises(ValueError, match="the model knows facts about 0 of 30 names"):
        STUDY.experiment(Config(small=TINY, seeds=(0,)), (0,), tmp_path)


def test_what_is_given_must_fit(tmp_path):
    with pytest.raises(ValueError, match="--model, --facts and --text"):
        STUDY.check(Config(model="somewhere", text="text.txt"))
    with pytest.raises(ValueError, match="is no file"):
        STUDY.check(Config(model="somewhere", facts="athletes", text=str(tmp_path / "nothing.txt")))


def test_own_text_is_what_the_model_is_taught_with():
    course = prepare_small(TINY, small_world(TINY, 0), 0)
    rows = [text for text, _ in zip(own_text(course), range(30), strict=False)]
    assert {len(text.tokens) for text in rows} == {32}
    assert all(text.target.any() and not text.target[0] for text in rows)
    words = {course.tokenizer.decode([t]) for text in rows for t in text.tokens[text.target].tolist()}
    assert words & {"baseball", "basketball", "football"}


def test_loss_recovered_by_hand():
    losses = {
        "the model": 0.2, "mean": 4.2, "names alone": 3.2, "tokens": 1.2, "tokens and names": 0.4,
        "tokens and names shuffled": 1.7,
    }  # fmt: skip
    rows = [
        {"seed": seed, "text": text, "table": table, "value": value + seed, "targets": 9}
        for seed in (0, 1)
        for text in ("facts", "own text")
        for table, value in losses.items()
    ]
    gates = [
        {"seed": seed, "text": "facts", "table": "answers that move", "value": 0.9, "targets": 0}
        for seed in (0, 1)
    ]
    measured = STUDY.measure(pl.DataFrame(rows + gates, schema=recovered.SCHEMA))
    expected = {
        "loss_facts": 0.7, "excess_facts": 1.0, "cost_of_mean_facts": 4.0, "names_facts": 0.8, "shuffled_facts": -0.5,
        "alone_facts": 0.25, "tokens_facts": 0.75, "both_own": 0.95, "moved": 0.9,
    }  # fmt: skip
    assert {name: measured[name].mean for name in expected} == pytest.approx(expected)


GOOD = {
    "excess_facts": 1.0, "excess_own": 1.0, "cost_of_mean_facts": 3.0, "cost_of_mean_own": 3.0,
    "names_facts": 0.9, "shuffled_facts": -0.5, "names_own": 0.8, "alone_facts": 0.8, "tokens_facts": 0.5,
    "both_own": 0.95,
}  # fmt: skip
NONE_HOLD = {
    "names_facts": 0.2, "shuffled_facts": 0.4, "names_own": 0.1, "alone_facts": 0.0, "tokens_facts": 0.95,
    "both_own": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "reproduced"),
        (NONE_HOLD, "contradicted"),
        (
            dict.fromkeys(("excess_facts", "excess_own", "cost_of_mean_facts", "cost_of_mean_own"), 0.0),
            "inconclusive",
        ),
    ],
    ids=["all hold", "none hold", "nothing to recover"],
)
def test_branches_of_the_verdicts(claim, change, verdict):
    measured = {name: Estimate(m, m - 1e-4, m + 1e-4, 3, "") for name, m in (GOOD | change).items()}
    judged = {one.claim.id: one.verdict for one in STUDY.judge(measured)}
    assert judged[claim] == Verdict(verdict)


def test_a_seed_that_looks_up_elsewhere_is_shown_and_not_measured():
    rows = [
        {"seed": seed, "text": text, "table": table, "value": 1.0 + seed + number, "targets": 9}
        for seed in (0, 1, 2)
        for text in ("facts", "own text")
        for number, table in enumerate(recovered.TABLES)
    ]
    gates = [
        {"seed": s, "text": "facts", "table": recovered.MOVES, "value": v, "targets": 0}
        for s, v in enumerate((0.9, 1, 0.2))
    ]
    curves = pl.DataFrame(rows + gates, schema=recovered.SCHEMA)
    measured = STUDY.measure(curves)
    assert (measured["moved"].n, measured["names_facts"].n) == (3, 2)
    assert measured["loss_facts"].mean == 1.5
    assert STUDY.tables(measured, curves)["seeds"]["passed"].to_list() == [True, True, False]
    none = STUDY.measure(curves.filter(pl.col("seed") == 2))
    assert {one.verdict for one in STUDY.judge(none)} == {Verdict.INCONCLUSIVE}
    assert len(STUDY.figure(none, curves).axes) == 2
