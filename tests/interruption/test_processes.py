"""Two processes on one folder, signals, and what a command says of a folder: as a user meets them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FACTS = ["--facts", str(EXAMPLES / "company.csv"), "--relations", str(EXAMPLES / "company.toml")]
SMALL = ["--layers", "1", "--width", "16", "--heads", "2"]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "oneway.cli", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=300)[1]
    assert "Traceback" not in said
    return process.returncode, said


def until(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not seen():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("model")
    code, said = end(start("train", *FACTS, *SMALL, "--steps", "2", "--out", "m", cwd=folder))
    assert code == 0, said
    return {
        "train": ["train", *FACTS, *SMALL, "--steps", "100", "--out", "out"],
        "audit": ["audit", "--model", str(folder / "m"), *FACTS, "--out", "out"],
        "run": ["run", "reversal", "--seeds", "1", "--out", "out"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "audit", "run"])
def test_a_second_process_on_the_folder_is_refused_and_the_first_goes_on(commands, tmp_path, name):
    first = start(*commands[name], cwd=tmp_path)
    until((tmp_path / "out" / "started.json").exists, first)
    os.kill(first.pid, signal.SIGSTOP)
    code, said = end(start(*commands[name], cwd=tmp_path))
    os.kill(first.pid, signal.SIGCONT)
    assert (code, "another process is working in out" in said) == (2, True)
    code, said = end(first)
    assert code == 0, said
    assert (tmp_path / "out" / "record.json").exists()
    assert not (tmp_path / "out" / ".lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_a_message_and_the_same_command_continues(tmp_path, number, status):
    command = ["train", *FACTS, *SMALL, "--steps", "5000", "--out", "out"]
    process = start(*command, cwd=tmp_path)
    until((tmp_path / "out" / "training" / "training.safetensors").exists, process)
    process.send_signal(number)
    code, said = end(process)
    assert code == status
    assert f"interrupted by {number.name}" in said
    assert "the same command continues" in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"started.json", "training", ".lock"}


@pytest.mark.slow
def test_a_folder_that_vanishes_is_named_and_not_made_anew(tmp_path):
    process = start("train", *FACTS, *SMALL, "--steps", "5000", "--out", "out", cwd=tmp_path)
    until((tmp_path / "out" / "training" / "training.safetensors").exists, process)
    os.kill(process.pid, signal.SIGSTOP)
    shutil.rmtree(tmp_path / "out")
    os.kill(process.pid, signal.SIGCONT)
    code, said = end(process)
    assert (code, "vanished" in said) == (1, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_finished_folder_is_kept_and_its_own_command_says_so(commands, tmp_path):
    command = [*commands["train"][:-4], "--steps", "3", "--out", "out"]
    assert end(start(*command, cwd=tmp_path))[0] == 0
    record = (tmp_path / "out" / "record.json").read_bytes()
    assert end(start(*command, cwd=tmp_path))[0] == 0
    code, said = end(start(*command[:-3], "4", "--out", "out", cwd=tmp_path))
    assert (code, "a finished run with another config" in said) == (2, True)
    assert (tmp_path / "out" / "record.json").read_bytes() == record
