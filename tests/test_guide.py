"""docs/guide.md is true: each command says what stands below it, its table is that of the record, its files exist."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def guide():
    spec = importlib.util.spec_from_file_location("guide", ROOT / "docs" / "guide.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_command_says_what_stands_below_it(guide, tmp_path: Path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    steps = guide.commands(PAGE)
    assert len(steps) == PAGE.count("```sh")
    for command, shown in steps:
        said = guide.said_in(tmp_path, command)
        assert guide.masked(said) == guide.masked(shown), f"run docs/guide.py: {command}\n{said}"
    for run in ("company-audit", "company-repaired", "company-kept", "company-compared"):
        assert (tmp_path / run / "report.html").stat().st_size > 100_000
    assert not (tmp_path / "never.jsonl").exists()


def test_numbers_and_changed_facts_are_masked_and_nothing_else(guide):
    said = "all  52  −4.1% [−9, 1e-06] (… s)\n20 gained, 1 lost\nlost: A · leads · B (both ways → neither)\n ───  \n"
    assert guide.masked(said) == ["all # # [# #] (… s)", "─"]


def test_the_table_of_remedies_is_that_of_the_record(guide):
    assert set(guide.WHEN) == set(guide.REMEDIES)
    assert guide.with_remedies(PAGE) == PAGE, "run docs/guide.py"


def test_every_file_it_names_exists():
    for name in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / name).exists(), name
