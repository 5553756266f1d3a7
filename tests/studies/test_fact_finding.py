"""The study on tiny models: seeds side by side, a gate that holds, estimates over models, verdicts."""

import math
from dataclasses import replace

import polars as pl
import pytest
from people import people

from oneway.compiler import compile_table
from oneway.evidence import Estimate, Study, Verdict
from oneway.facts import facts_lines, relations_toml
from oneway.runs.execute import run_study
from oneway.studies import fact_finding
from oneway.studies.default_model import Config as World
from oneway.studies.default_model import Gate
from oneway.studies.dissection_claims import CLAIMS
from oneway.studies.fact_finding import COLUMNS, STUDY, Config, measure, one_seed, over_models

TINY = World(athletes=40, others=10, parents=10, steps=4, layers=3, width=16)


def tiny() -> Config:
    return Config(world=TINY)


SMALL: Study[Config] = replace(STUDY, recipes={"quick": tiny})


def test_models_that_do_not_pass_the_gate_are_shown_and_not_dissected(tmp_path):
    record, directory = run_study(SMALL, out=tmp_path / "run")
    seeds = directory.read_table(record.tables["seeds"])
    assert seeds["seed"].to_list() == [0, 1]
    assert seeds["passed"].to_list() == [0.0, 0.0]
    assert {claim["verdict"] for claim in record.claims} == {Verdict.INCONCLUSIVE.value}
    assert [claim["id"] for claim in record.claims] == [claim.id for claim in CLAIMS]


@pytest.fixture
def open_gate(monkeypatch):
    monkeypatch.setattr(fact_finding, "GATE", Gate(recall=0.0, probe=0.0, moved=0.0))


def test_a_model_that_knows_too_little_says_so(tmp_path, open_gate):
    with pytest.raises(ValueError, match="the model knows too few facts"):
        one_seed((tiny(), 0, tmp_path))


def rows(*estimates: tuple[int, str, float, float, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"seed": seed, "quantity": name, "mean": mean, "low": low, "high": high, "n": 10, "unit": "share"}
            for seed, name, mean, low, high in estimates
        ],
        schema=COLUMNS,
    )


def test_two_models_are_themselves_and_three_are_a_sample():
    def of(*means: float) -> Estimate:
        return over_models([Estimate(mean, mean - 0.3, mean + 0.4, 10, "share") for mean in means])

    two = of(0.4, 0.6)
    assert (two.mean, two.n) == (pytest.approx(0.5), 20)
    assert two.low == pytest.approx(0.5 - 0.3 / math.sqrt(2))
    assert two.high == pytest.approx(0.5 + 0.4 / math.sqrt(2))
    three = of(0.4, 0.5, 0.6)
    assert three.n == 3
    assert three.low == pytest.approx(0.5 - 4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert not over_models([]).defined


def test_what_could_not_be_measured_is_left_out_and_never_taken_for_a_number():
    undefined = Estimate(math.nan, -math.inf, math.inf, 0, "")
    one = over_models([undefined, Estimate(0.5, 0.4, 0.6, 10, "share")])
    assert (one.mean, one.low, one.high) == (0.5, 0.4, 0.6)
    found = measure(rows((0, "F1.share", 0.9, 0.8, 0.95), (0, "gate.recall", 1.0, 1.0, 1.0)))
    assert found["F1.share"].mean == 0.9
    assert not found["F9.all_paths"].defined
    assert "gate.recall" not in found
    verdicts = {claim.id: claim.judge(found).verdict for claim in CLAIMS}
    assert set(verdicts.values()) == {Verdict.INCONCLUSIVE}


def test_a_model_of_ones_own_is_dissected_instead(tmp_path):
    table = people()
    compile_table(table, tmp_path / "model")
    (tmp_path / "facts.jsonl").write_text(facts_lines(table))
    (tmp_path / "relations.toml").write_text(relations_toml(table.relations.values()))
    given = {
        "model": str(tmp_path / "model"),
        "facts": str(tmp_path / "facts.jsonl"),
        "relations": str(tmp_path / "relations.toml"),
    }
    study = replace(STUDY, recipes={"quick": lambda: Config(seeds=(0,), sizes={"entities": 2, "splits": 2})})
    record, directory = run_study(study, out=tmp_path / "run", given=given)
    verdicts = {claim["id"]: claim["verdict"] for claim in record.claims}
    assert verdicts["F4.causal"] == Verdict.REPRODUCED.value
    assert verdicts["F11"] == Verdict.CONTRADICTED.value
    outcomes = directory.read_table(record.tables["outcomes"])
    assert outcomes.filter(hypothesis="attention lookup")["outcome"].item() == "rejected"
    assert (directory.path / "dissection.json").exists()


def test_a_model_without_facts_is_refused():
    with pytest.raises(ValueError, match="both --model and --facts"):
        fact_finding.check(Config(model="somewhere"))
    with pytest.raises(ValueError, match="--seeds 1"):
        fact_finding.check(Config(model="somewhere", facts="athletes"))
    fact_finding.check(fact_finding.paper())
