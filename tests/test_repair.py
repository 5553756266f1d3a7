"""`oneway repair` as a process: what it makes, that it resumes to the same weights, what it refuses."""

import hashlib
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
# The command, but that its training asks for more memory than there can be at step 300.
GREEDY = """
import sys, torch
from oneway.cli import main
from oneway.training.fine_tuning import Trainer
step = Trainer.training_step
def greedy(trainer, *given):
    if trainer.state.global_step == 300:
        torch.empty(1 << 50, dtype=torch.uint8)
    return step(trainer, *given)
Trainer.training_step = greedy
main()
"""


def start(
    *arguments: str, cwd: Path, program: tuple[str, ...] = ("-m", "oneway.cli")
) -> subprocess.Popen[str]:
    command = [sys.executable, *program, *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(*arguments: str, cwd: Path, program: tuple[str, ...] = ("-m", "oneway.cli")) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd, program=program)
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


@pytest.mark.slow
def test_out_of_memory_it_says_what_to_do_and_the_same_command_goes_on(folder: Path, repaired: dict) -> None:
    def hashes() -> dict[str, str]:
        files = (path for path in (folder / "model").rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    source = hashes()
    code, _, said = done(*CALL, "--out", "full", cwd=folder, program=("-c", GREEDY))
    said = " ".join(said.split())
    assert code == 1
    assert "teaching 8 texts at once does not fit in the memory of cpu" in said
    assert "--batch" in said
    assert "--method lora" in said
    assert "the same command continues there" in said
    assert [state.parent.name for state in (folder / "full").glob("fine-tuning/*/whole.json")] == [
        "checkpoint-200"
    ]
    assert not (folder / "full" / "checkpoint").exists()
    assert hashes() == source
    code, out, said = done(*CALL, "--out", "full", "--json", cwd=folder)
    assert code == 0, said
    weights = [folder / name / "checkpoint" / "model.safetensors" for name in ("whole", "full")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert [c["measured"] for c in json.loads(out)["claims"]] == [c["measured"] for c in repaired["claims"]]
    assert hashes() == source


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--remedy", "uniform-masking"], "use masked-restoration"),
        (["--phrasings", FACTS[3]], "is taught: others must differ"),
        (["--text", "empty.txt"], "empty.txt has no text"),
        (["--keep", "long.txt"], "more than the model's 64 positions"),
        (["--method", "prefix"], "method is 'prefix', but it is one of: full, lora"),
        (["--split", "nobody"], "no fact has the split 'nobody'"),
        (["--learning-rate", "0"], "learning_rate must be a positive number"),
    ],
    ids=["remedy", "phrasings", "text", "length", "method", "split", "rate"],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    folder: Path, options: list[str], said: str
) -> None:
    (folder / "empty.txt").write_text("\n\n", encoding="utf-8")
    (folder / "long.txt").write_text("again " * 100, encoding="utf-8")
    code, _, message = done(*CALL, "--out", "refused", *options, cwd=folder)
    assert code == 2
    assert said in message
    assert not (folder / "refused").exists()
