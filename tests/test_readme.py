"""The README is true: its commands run, its table is that of the records, its files exist."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


DISSECT = (ROOT / "docs" / "dissect.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_command_and_every_snippet_runs(tmp_path: Path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    commands, snippets = blocks("sh"), blocks("python")
    assert len(commands) == 7
    assert len(snippets) == 1
    # In the order of the page: the first commands, the snippet that uses what they made, then the others.
    programs = [
        ["sh", "-e", "-c", commands[0]],
        [sys.executable, "-c", snippets[0]],
        *(["sh", "-e", "-c", command] for command in commands[1:]),
        *([sys.executable, "-c", snippet] for snippet in blocks("python", DISSECT)),
    ]
    assert set(blocks("sh", DISSECT)) <= set(commands)
    for program in programs:
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    pages = ("company-audit", "company-compared", "compiled-audit", "athletes-dissected")
    for file in (
        *(f"{page}/report.html" for page in pages),
        "company-audit-again/per_fact.parquet",
        "both.html",
    ):
        assert (tmp_path / file).stat().st_size > 0


def test_the_verdicts_are_those_of_the_records():
    spec = importlib.util.spec_from_file_location("verdicts", ROOT / "docs" / "verdicts.py")
    verdicts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verdicts)
    assert verdicts.with_verdicts(README) == README, "run docs/verdicts.py"
    claims = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert verdicts.all_claims() == claims, "run docs/verdicts.py"
    pages = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "studies").iterdir()}
    assert verdicts.pages() == pages, "run docs/verdicts.py"
    for text in pages.values():
        for name in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / "docs" / "studies" / name).exists(), name


def test_every_file_it_names_exists():
    for name in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in name:
            assert (ROOT / name).exists(), name


def test_the_example_in_it_is_the_examples():
    shown = blocks("toml")[0]
    text = (ROOT / "examples" / "company.toml").read_text(encoding="utf-8")
    assert all(line in text for line in shown.splitlines())
