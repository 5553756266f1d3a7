"""The demo keeps what it promises: the whole job on the shipped tables, as a process, from nothing."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.facts import load_table
from oneway.facts.splits import Trained
from oneway.studies.demo import CLAIMS, Demo, demo_table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, pl.DataFrame]:
    out = tmp_path_factory.mktemp("demo") / "run"
    command = [sys.executable, "-m", "oneway.cli", "demo", "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), pl.read_parquet(out / "per_fact.parquet")


def exact(rows: pl.DataFrame, split: Trained, direction: str) -> pl.Series:
    kept = rows.filter(
        (pl.col("relation") != "plays_sport") & (pl.col("split").cast(pl.String) == split.value)
    )
    return kept.filter(pl.col("direction").cast(pl.String) == direction)["exact_match"]


@pytest.mark.slow
def test_the_demo_meets_its_bars(run):
    _, rows = run
    one_way, both, unseen = Trained.FORWARD_ONLY, Trained.BOTH_WAYS, Trained.UNSEEN
    assert len(exact(rows, one_way, "forward")) >= 300
    assert len(exact(rows, both, "reverse")) >= 100
    assert exact(rows, one_way, "forward").mean() >= 0.95
    assert exact(rows, one_way, "in_context").mean() >= 0.90
    assert exact(rows, unseen, "in_context").mean() >= 0.80
    assert exact(rows, both, "reverse").mean() >= 0.90
    sport = rows.filter(
        (pl.col("relation") == "plays_sport") & (pl.col("direction").cast(pl.String) == "forward")
    )
    assert sport["exact_match"].mean() >= 0.95


@pytest.mark.slow
def test_its_verdicts_are_recorded_with_what_they_read(run):
    record, rows = run
    claims = {claim["id"]: claim for claim in record["claims"]}
    assert {name: claim["verdict"] for name, claim in claims.items()} == {
        "Z3.names": "reproduced",
        "N4.names": "reproduced",
        "N4.unseen": "reproduced",
        "R1.names": "reproduced",
    }
    measured = claims["Z3.names"]["measured"]["forward"]
    assert measured["mean"] == pytest.approx(exact(rows, Trained.FORWARD_ONLY, "forward").mean())
    assert Path(record["report"]).stat().st_size > 1_000_000
    assert (Path(record["directory"]) / "checkpoint" / "model.safetensors").exists()


def test_the_table_holds_every_shipped_fact_once_with_its_directions():
    table = demo_table(Demo(both_ways=120, unseen=100))
    assert len(table) == len(load_table("parents")) + len(load_table("athletes"))
    parents = [fact for fact in table if fact.relation != "plays_sport"]
    assert sum(fact.split == Trained.BOTH_WAYS for fact in parents) == 120
    assert sum(fact.split == Trained.UNSEEN for fact in parents) == 100
    assert all(fact.split == Trained.FORWARD_ONLY for fact in table if fact.relation == "plays_sport")


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.01, mean + 0.01, 100, "probability")


HELD = {
    "forward": 0.99,
    "reverse": 0.01,
    "reverse_over_chance": -0.5,
    "in_context": 0.99,
    "both_ways_forward": 0.99,
    "both_ways_reverse": 0.99,
    "unseen_forward": 0.0,
    "unseen_in_context": 0.95,
}


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, "rrrr"),
        ({"reverse_over_chance": 0.3}, "cirr"),
        ({"both_ways_reverse": 0.2}, "irrc"),
        ({"in_context": 0.5}, "rcrr"),
        ({"forward": 0.5}, "iirr"),
        ({"unseen_in_context": 0.5}, "rrcr"),
        ({"unseen_forward": 0.5}, "rrir"),
        ({"both_ways_forward": 0.5}, "rrri"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change, verdicts):
    words = {"r": Verdict.REPRODUCED, "c": Verdict.CONTRADICTED, "i": Verdict.INCONCLUSIVE}
    measured = {name: around(mean) for name, mean in (HELD | change).items()}
    assert [claim.judge(measured).verdict for claim in CLAIMS] == [words[letter] for letter in verdicts]
