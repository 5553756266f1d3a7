"""`oneway repair` as a process: what it makes, that it resumes to the same weights, what it refuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FACTS = ["--facts", str(EXAMPLES / "company.csv"), "--relations", str(EXAMPLES / "company.toml")]
SMALL = ["--layers", "1", "--width", "32", "--heads", "2", "--steps", "60"]
CALL = ["repair", "--model", "model", *FACTS, "--remedy", "both-directions", "--epochs", "60", "--batch", "8"]
CALL += ["--learning-rate", "0.005"]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "oneway.cli", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, said = process.communicate(timeout=300)
    assert "Traceback" not in said
    return process.returncode, out, said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("repair")
    code, _, said = done("train", *FACTS, *SMALL, "--out", "model", cwd=where)
    assert code == 0, said
    return where


@pytest.fixture(scope="module")
def repaired(folder: Path) -> dict:
    code, out, said = done(*CALL, "--out", "whole", "--json", cwd=folder)
    assert code == 0, said
    return json.loads(out)


def test_facts_are_gained_in_reverse_and_every_fact_is_told(folder: Path, repaired: dict) -> None:
    verdicts = {claim["id"]: claim["verdict"] for claim in repaired["claims"]}
    assert verdicts["repair.reverse"] == "reproduced"
    assert set(verdicts) == {"repair.reverse", "repair.forward", "repair.other-text"}
    facts = pl.read_parquet(folder / "whole" / "taught" / "compared" / "per_fact.parquet")
    assert facts.height == 52
    gained = facts.filter(pl.col("change") == "gained").height
    (claim,) = (claim for claim in repaired["claims"] if claim["id"] == "repair.reverse")
    assert gained > 52 * claim["measured"]["reverse_gain"]["low"]
    assert (folder / "whole" / "report.html").stat().st_size > 100_000
    lines = (folder / "whole" / "training.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == sum(repaired["config"]["augmented"]["lines"].values())


def test_the_same_call_shows_it_again_and_another_is_refused(folder: Path, repaired: dict) -> None:
    code, out, said = done(*CALL, "--out", "whole", "--json", cwd=folder)
    assert code == 0, said
    assert json.loads(out)["run_id"] == repaired["run_id"]
    code, _, said = done(*CALL, "--out", "whole", "--seed", "1", cwd=folder)
    assert (code, "with another config" in said) == (2, True)


@pytest.mark.slow
def test_killed_while_it_teaches_it_ends_with_the_same_weights(folder: Path, repaired: dict) -> None:
    source = (folder / "model" / "model.safetensors").read_bytes()
    process = start(*CALL, "--out", "killed", cwd=folder)
    states, deadline = folder / "killed" / "fine-tuning", time.monotonic() + 200
    while not list(states.glob("checkpoint-*/whole.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "killed" / "record.json").exists()
    assert (folder / "model" / "model.safetensors").read_bytes() == source
    code, out, said = done(*CALL, "--out", "killed", "--json", cwd=folder)
    assert code == 0, said
    weights = [folder / name / "checkpoint" / "model.safetensors" for name in ("whole", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    again = json.loads(out)
    assert [claim["measured"] for claim in again["claims"]] == [c["measured"] for c in repaired["claims"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--remedy", "uniform-masking"], "use masked-restoration"),
        (["--phrasings", FACTS[3]], "is taught: others must differ"),
        (["--text", "empty.txt"], "empty.txt has no text"),
        (["--method", "prefix"], "method is 'prefix', but it is one of: full, lora"),
        (["--split", "nobody"], "no fact has the split 'nobody'"),
        (["--learning-rate", "0"], "learning_rate must be a positive number"),
    ],
    ids=["remedy", "phrasings", "text", "method", "split", "rate"],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    folder: Path, options: list[str], said: str
) -> None:
    (folder / "empty.txt").write_text("\n\n", encoding="utf-8")
    code, _, message = done(*CALL, "--out", "refused", *options, cwd=folder)
    assert code == 2
    assert said in message
    assert not (folder / "refused").exists()
