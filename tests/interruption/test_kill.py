"""The kill harness in short: each long command killed at random, in a checkpoint's file and in the record's."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module  # where dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cases(kill, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    facts = ("--facts", str(EXAMPLES / "company.csv"), "--relations", str(EXAMPLES / "company.toml"))
    size = kill.Size(
        facts=facts, training_steps=60, seeds=1, audited_width=64, save_seconds=0.2, dissected=60
    )
    return folder, size, kill.commands(size, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "run", "audit", "dissect"])
def test_a_killed_command_ends_with_the_numbers_of_an_undisturbed_one(kill, cases, name):
    folder, size, commands = cases
    plan = ["random", "checkpoint", "record"]
    found = kill.campaign(name, commands[name], folder, size, plan, seed=1)
    assert found["differences"] == []
    assert found["kills"] == 3
    assert found["in_checkpoint_write"] >= 1
    assert found["in_record_write"] == 1
