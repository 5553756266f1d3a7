"""The study on a model that is grown, on one that is given, and on one that cannot be had; its verdicts."""

import json
import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from scipy.stats import binomtest

from oneway.evidence import Audited, Estimate, Study, Verdict, sha256
from oneway.evidence.estimate import mcnemar
from oneway.facts import resolve
from oneway.recall.asking import AuditConfig
from oneway.runs.directory import RunError
from oneway.runs.execute import run_study
from oneway.studies.celebrities import CLAIMS, GROWN, STUDY, Config, measure, share
from oneway.studies.demo import Demo
from oneway.training.lessons import Lessons
from oneway.training.teach import Size, Teaching, learnt_in_minutes, teach

PAIRS = """subject,relation,object
Ann Alder,son_of_mother,Bea Brook
Cal Alder,son_of_mother,Dot Dale
Eve Elm,daughter_of_father,Fay Field
"""


def small() -> Config:
    teaching = Teaching(
        size=Size(layers=1, width=16, heads=2),
        lessons=Lessons(tokens_a_step=256),
        optimisation=replace(learnt_in_minutes(), steps=5),
    )
    return Config(
        growing=Demo(both_ways=0, unseen=0, teaching=teaching), audit=AuditConfig(candidates=5), device="cpu"
    )


SMALL: Study[Config] = replace(STUDY, recipes={"quick": small})


def _words():
    for name in ("son_of_mother", "daughter_of_father"):
        yield f'[{name}]\nforward = ["{{subject}} is a child of {{object}}"]\n'
        yield 'reverse = ["{object} is a parent of {subject}"]\none_to_one = true\n'


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three pairs in a file of their own, as `run` is given them."""
    folder = tmp_path_factory.mktemp("pairs")
    facts, relations = folder / "pairs.csv", folder / "pairs.toml"
    facts.write_text(PAIRS, encoding="utf-8")
    relations.write_text("".join(_words()), encoding="utf-8")
    return {"facts": str(facts), "relations": str(relations)}


@pytest.fixture(scope="module")
def run(pairs: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    return run_study(SMALL, out=tmp_path_factory.mktemp("celebrities") / "run", given=pairs)


def test_a_grown_model_is_asked_every_pair_three_ways(run) -> None:
    record, directory = run
    rows = directory.read_table(record.tables["per_fact"])
    asked = rows.select(pl.col("subject", "direction").cast(pl.String)).unique()
    assert rows.height == asked.height == 3 * 3
    assert set(rows["split"].cast(pl.String)) == {"forward_only"}


@pytest.fixture(scope="module")
def checkpoint(pairs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given") / "model"
    return teach(resolve(pairs["facts"], pairs["relations"]), folder, small().growing.teaching).checkpoint


def test_its_record_is_the_studys_and_traces_the_audit(run, pairs) -> None:
    record, directory = run
    assert (record.study, record.run_id) == ("celebrities", "run")
    assert [claim["id"] for claim in record.claims] == [claim.id for claim in CLAIMS]
    assert record.config["recipe"] == "quick"
    assert record.config["model"] == GROWN
    assert record.config["celebrities"]["facts"] == pairs["facts"]
    assert record.config["celebrities"]["growing"]["teaching"]["optimisation"]["steps"] == 5
    assert set(record.checkpoints) == {"model.safetensors"}
    assert record.summary
    assert str(directory.path.parent) not in json.dumps(record.to_dict())
    for name in ("report.html", "figures/celebrities.png", "figures/celebrities.svg"):
        assert directory.file(name).stat().st_size > 1000
    assert not directory.file("workspace").exists()


def test_a_given_model_is_asked_instead(checkpoint: Path, pairs: dict[str, str], tmp_path: Path) -> None:
    given = {"model": str(checkpoint), **pairs}
    record, directory = run_study(SMALL, out=tmp_path / "run", given=given)
    assert record.config["model"] == record.config["celebrities"]["model"] == str(checkpoint)
    assert record.checkpoints == {"model.safetensors": sha256(checkpoint / "model.safetensors")}
    assert directory.read_table("per_fact.parquet").height == 3 * 3


def test_a_model_that_cannot_be_had_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--model DIRECTORY") as error:
        run_study(SMALL, out=tmp_path / "run", given={"model": str(tmp_path / "nowhere")})
    assert str(tmp_path / "nowhere") in str(error.value)
    assert not (tmp_path / "run").exists()


def test_recipes_name_models_of_the_hub() -> None:
    assert STUDY.config("quick").model == ""
    assert STUDY.config("standard").model == "EleutherAI/pythia-410m"
    assert STUDY.config("paper").model == "EleutherAI/pythia-2.8b"


def test_a_study_without_the_field_takes_no_model(tmp_path: Path) -> None:
    from oneway.studies import load_study

    with pytest.raises(RunError, match="study reversal cannot be given another model"):
        run_study(load_study("reversal"), out=tmp_path / "run", given={"model": "m"})
    assert not (tmp_path / "run").exists()


def test_only_one_model_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one seed, not 2"):
        run_study(SMALL, seeds=(0, 1), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_audit_is_known_from_curves() -> None:
    assert not isinstance(pl.DataFrame(), Audited)


def rows(known: list[tuple[int, int, int]]) -> pl.DataFrame:
    """An audit's rows: for each fact, whether it is known forward, in reverse and in context."""
    made = []
    for fact, exact in enumerate(known):
        for direction, right in zip(("forward", "reverse", "in_context"), exact, strict=True):
            made.append(
                {
                    "fact": fact,
                    "relation": "r",
                    "split": "",
                    "direction": direction,
                    "exact_match": bool(right),
                }
                | {"rank": 1, "logprob": -1.0, "logprob_per_token": -1.0, "margin": 1.0}
                | {"chance_uniform": 0.1, "chance_frequent": 0.1, "chance_surname": 0.2}
            )
    return pl.DataFrame(made)


def test_the_measures_by_hand() -> None:
    measured = measure(rows([(1, 0, 1)] * 6 + [(1, 1, 1)] * 2 + [(0, 1, 1)] + [(0, 0, 0)]))
    assert measured["child_to_parent"].mean == pytest.approx(0.8)
    assert measured["parent_to_child"].mean == pytest.approx(0.3)
    assert measured["difference"].mean == pytest.approx(0.5)
    assert measured["in_context"].mean == pytest.approx(0.9)
    assert measured["known_either_way"].mean == pytest.approx(0.9)
    assert measured["parent_to_child_over_chance"].mean == pytest.approx(0.1)
    assert measured["forward_share_of_one_way"].mean == pytest.approx(6 / 7)
    assert measured["forward_share_of_one_way"].n == 7


def test_the_interval_of_the_share_is_mcnemars_test() -> None:
    for forward in range(21):
        found = share(forward, 20 - forward)
        assert (found.low > 0.5 or found.high < 0.5) == (mcnemar(forward, 20 - forward) < 0.05)
    # 20 of 20: the lower end x solves x²⁰ = 0.025.
    assert share(20, 0).low == pytest.approx(0.025 ** (1 / 20))
    assert binomtest(20, 20).pvalue == pytest.approx(mcnemar(20, 0))
    assert not share(0, 0).defined


HELD = {
    "child_to_parent": 0.8,
    "parent_to_child": 0.3,
    "difference": 0.5,
    "in_context": 0.95,
    "known_either_way": 0.8,
    "child_to_parent_over_chance": 0.6,
    "parent_to_child_over_chance": 0.1,
    "forward_share_of_one_way": 0.95,
}


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, "rrr"),
        ({"difference": 0.0}, "crr"),
        ({"difference": -0.3, "forward_share_of_one_way": 0.1}, "ccr"),
        ({"difference": 0.055}, "irr"),
        ({"in_context": 0.5}, "iic"),
        ({"known_either_way": 0.05}, "iii"),
        ({"forward_share_of_one_way": 0.505}, "rir"),
        ({"forward_share_of_one_way": math.nan}, "rir"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change: dict[str, float], verdicts: str) -> None:
    said = {"r": Verdict.REPRODUCED, "c": Verdict.CONTRADICTED, "i": Verdict.INCONCLUSIVE}
    measured = {n: Estimate(x, x - 0.01, x + 0.01, 100, "") for n, x in (HELD | change).items()}
    assert [claim.judge(measured).verdict for claim in CLAIMS] == [said[letter] for letter in verdicts]
