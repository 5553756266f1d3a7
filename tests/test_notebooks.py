"""The notebooks of examples/ run as they stand, find what they say, and hold no path of a machine."""

import ast
import importlib.util
import shutil
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(notebook: nbformat.NotebookNode) -> dict:
    """The value of the last cell."""
    return ast.literal_eval(notebook.cells[-1].outputs[-1]["data"]["text/plain"])


def audited(value: dict) -> bool:
    return value["forward"] > 0.9 and value["reverse"] < 0.2 and value["in_context"] > 0.9


def dissected(value: dict) -> bool:
    survive = [name for name, outcome in value["mechanisms"].items() if outcome == "survives"]
    return survive == ["single-step detokenization", "multi-token embedding"] and (
        value["without MLPs on the name"] < 0.6
    )


def graded(value: dict) -> bool:
    return value["fires"] < 0.6 and value["missed"] > 0.9 and value["find_circuit"] > 0.95


def repaired(value: dict) -> bool:
    return value["both-directions"] > 0.9 and value["identity-bridge"] < 0.5


TOLD = {"audit": audited, "compile-and-grade": graded, "dissect": dissected, "repair": repaired}


def test_every_notebook_is_tested(notebooks):
    assert sorted(path.stem for path in notebooks.NOTEBOOKS) == sorted(TOLD)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TOLD))
def test_it_runs_and_finds_what_it_says(notebooks, name: str, tmp_path: Path):
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    before = sorted(folder.iterdir())
    done = notebooks.executed(folder / f"{name}.ipynb", folder)
    assert TOLD[name](found(done)), found(done)
    assert not [
        output
        for cell in done.cells
        for output in cell.get("outputs", ())
        if "stderr" in str(output.get("name"))
    ]
    shown = nbformat.writes(done)
    for place in (str(tmp_path), str(Path.home()), str(ROOT), "/tmp"):
        assert place not in shown
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", sorted(TOLD))
def test_what_is_committed_was_run_and_cleaned(notebooks, name: str):
    path = EXAMPLES / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert TOLD[name](found(notebook))
    text = path.read_text(encoding="utf-8")
    assert nbformat.writes(notebooks.cleaned(notebook)) + "\n" == text, "run make notebooks"
    assert "/tmp" not in text
    assert "<script" not in text
    assert "image/png" in text
    assert len(text) < 400_000
