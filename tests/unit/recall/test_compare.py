"""A comparison says what changed, how sure that is, and what was not compared."""

from dataclasses import replace

import polars as pl
import pytest
from scipy.stats import binomtest

from oneway.evidence import over_pairs, sha256
from oneway.recall.changes import CompareError
from oneway.recall.compare import compare
from oneway.report import Run
from oneway.runs.directory import RunDirectory


def run(audit, model: str, **changed) -> Run:
    config = {"model": f"models/{model}", "candidates": 200, "templates": {"son": {"forward": ("a",)}}}
    record = replace(
        audit.record, run_id=f"run-{model}", config=config | changed.pop("config", {}), **changed
    )
    return Run(record=record, rows=audit.rows)


@pytest.fixture(scope="module")
def sides(make_audit) -> tuple[Run, Run]:
    """60 facts, of which 48 stand in both; every third one changes all that it knows."""
    before = run(make_audit(parents=60, athletes=0), "old")
    flipped = pl.col("fact") % 3 == 0
    rows = before.rows.with_columns(
        exact_match=pl.col("exact_match") ^ flipped,
        rank=pl.when(flipped & pl.col("exact_match")).then(2).otherwise(1),
        logprob_per_token=pl.col("logprob_per_token") / (1 + flipped.cast(pl.Int8)),
    )
    after = rows.filter(pl.col("fact") >= 12)
    return before, replace(run(make_audit(parents=60, athletes=0), "new", checkpoints={"w": "1"}), rows=after)


def entry(found, direction: str, relation: str = "", split: str = "") -> dict:
    return next(
        s
        for s in found.summary
        if (s["direction"], s["relation"], s["split"]) == (direction, relation, split)
    )


def test_the_paired_numbers_are_those_of_the_rows(sides) -> None:
    before, after = sides
    found = compare(before, after)
    for direction in ("forward", "reverse", "in_context"):
        old, new = (
            side.rows.filter((pl.col("direction") == direction) & (pl.col("fact") >= 12)).sort("fact")
            for side in sides
        )
        said = entry(found, direction)
        right, now = (side["exact_match"].to_numpy() for side in (old, new))
        gained, lost = int((now & ~right).sum()), int((right & ~now).sum())
        assert (said["facts"], said["right_after_only"], said["right_before_only"]) == (48, gained, lost)
        assert said["difference"]["mean"] == pytest.approx((gained - lost) / 48)
        assert said["difference"] == over_pairs(right, now, "probability").to_dict()
        assert said["p_value"] == pytest.approx(binomtest(gained, gained + lost).pvalue)
        nats = (new["logprob_per_token"] - old["logprob_per_token"]).mean()
        assert said["logprob_per_token"]["mean"] == pytest.approx(nats)
    head = entry(found, "")
    assert sum(t["facts"] for t in head["transitions"]) == head["facts"] == 48
    assert sum(head["changes"].values()) == 60
    assert entry(found, "", "mother")["facts"] == entry(found, "forward", "mother")["facts"] == 12


def test_what_is_not_compared_is_counted_and_listed(sides) -> None:
    found = compare(*sides)
    assert found.changed("only_before").height == 12
    assert any("12 facts stand in the audit of old only" in note for note in found.record.notes)
    assert found.to_frame()["fact"].n_unique() == 60
    with pytest.raises(ValueError, match="'won' is no change"):
        found.changed("won")


def test_an_audit_with_itself_changes_nothing(sides) -> None:
    found = compare(sides[0], sides[0])
    assert found.to_frame()["change"].unique().to_list() == ["kept"]
    assert "same run" in found.record.notes[0]
    said = entry(found, "forward")
    assert (said["difference"]["mean"], said["p_value"]) == (0.0, 1.0)
    assert said["difference"]["low"] < 0 < said["difference"]["high"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"candidates": 50}, "differ in candidates: 200 before, 50 after"),
        ({"prefixes": ["one shot"]}, 'differ in prefixes: not said before, ["one shot"] after'),
        ({"templates": {"son": {"forward": ("b",)}}}, "son was asked with other templates"),
        ({"tokenizer": {"class": "B"}}, "other tokenizers"),
    ],
)
def test_what_else_differs_is_said(sides, config, said) -> None:
    after = replace(sides[1], record=replace(sides[1].record, config=sides[1].record.config | config))
    (note,) = [note for note in compare(sides[0], after).record.notes if said in note]
    assert note


def test_equal_weights_and_questions_left_out_are_said(sides) -> None:
    before, after = sides
    after = replace(
        after,
        record=replace(after.record, checkpoints=before.record.checkpoints),
        skipped=pl.DataFrame({"reason": ["too long"]}),
    )
    notes = " ".join(compare(before, after).record.notes)
    assert "same weights" in notes
    assert "1 questions of the audit after could not be scored" in notes


def test_what_cannot_be_compared_is_named(sides, make_audit) -> None:
    before, after = sides
    with pytest.raises(CompareError, match="without a table per_fact"):
        compare(before, replace(after, rows=None))
    with pytest.raises(CompareError, match="is empty"):
        compare(before, replace(after, rows=after.rows.clear()))
    strangers = after.rows.with_columns(subject=pl.lit("nobody"))
    with pytest.raises(CompareError, match=r"no fact: old asks 60.*'nobody'"):
        compare(before, replace(after, rows=strangers))
    forward, reverse = (
        replace(side, rows=side.rows.filter(pl.col("direction") == d))
        for side, d in zip(sides, ("forward", "reverse"), strict=True)
    )
    with pytest.raises(CompareError, match="48 facts, but were asked none of them in the same direction"):
        compare(forward, reverse)
    with pytest.raises(CompareError, match="no column direction"):
        compare(before, Run(record=before.record, rows=compare(before, after).rows))


def test_the_saved_run_is_read_again_with_its_sources(sides, tmp_path) -> None:
    before, after = sides
    (tmp_path / "a").mkdir()
    before.rows.write_parquet(tmp_path / "a" / "per_fact.parquet")
    found = compare(replace(before, folder=tmp_path / "a"), after)
    found.save(tmp_path / "c")
    directory = RunDirectory(tmp_path / "c")
    record = directory.read_record()
    assert record.summary == found.summary
    assert record.data["before/per_fact.parquet"] == sha256(tmp_path / "a" / "per_fact.parquet")
    assert record.checkpoints["after/w"] == "1"
    assert record.config["after"]["config"]["model"] == "models/new"
    assert directory.read_table(record.tables["per_fact"]).equals(found.to_frame())
    for file in (*record.figures.values(), "report.html"):
        assert directory.file(file).stat().st_size > 1000


def test_the_picture_has_every_fact_in_both(sides) -> None:
    figure = compare(*sides).figure()
    assert sum(len(trace.x) for trace in figure.data) == 3 * 48
    assert {trace.name.split(" (")[0] for trace in figure.data} <= {"gained", "lost", "turned around", "kept"}
