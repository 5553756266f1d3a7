"""The house keeps its shape: imports run one way, heavy packages wait until they are needed."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "oneway"

# What each room may import. `api`, `cli` and `console` stand on top and may import everything.
ALLOWED = {
    "facts": set(),
    "evidence": set(),
    "report": {"evidence"},
    "runs": {"evidence", "report"},
    "remedies": {"evidence", "facts"},
    "models": {"evidence", "facts"},
    "engine": {"evidence", "facts", "models", "report"},
    "compiler": {"evidence", "facts", "models", "report"},
    "anatomy": {"evidence", "engine", "facts", "models", "report"},
    "training": {"evidence", "engine", "facts", "models", "report"},
    "recall": {"evidence", "engine", "facts", "models", "report"},
    "studies": {
        "anatomy",
        "compiler",
        "evidence",
        "engine",
        "facts",
        "models",
        "remedies",
        "report",
        "runs",
        "training",
        "recall",
    },
}
NO_TORCH = ("facts", "evidence", "remedies", "report", "runs")
TOP = {"api", "cli", "console", "__init__", "__main__"}


def imported(path: Path) -> set[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, with the line."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, node.lineno) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found |= {(f"{node.module}.{alias.name}", node.lineno) for alias in node.names}
    return found


def rooms() -> set[str]:
    return {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}


def test_every_room_is_known():
    assert rooms() == set(ALLOWED)
    assert {path.stem for path in SOURCE.glob("*.py")} <= TOP


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_run_one_way(room):
    for path in (SOURCE / room).rglob("*.py"):
        for module, line in imported(path):
            parts = module.split(".")
            if parts[0] == "oneway" and len(parts) > 1:
                target = parts[1]
                assert target == room or target in ALLOWED[room], (
                    f"{path}:{line}: {room} may not import {module}"
                )


@pytest.mark.parametrize("room", NO_TORCH)
def test_rooms_without_torch_import_none_at_the_top(room):
    modules = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for path in (SOURCE / room).rglob("*.py")
    ]
    program = (
        f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_no_public_name_is_also_a_module(room):
    """Else importing the module would replace the function of that name in the package."""
    package = importlib.import_module(f"oneway.{room}")
    modules = {path.stem for path in (SOURCE / room).glob("*.py")} | {
        path.parent.name for path in (SOURCE / room).glob("*/__init__.py")
    }
    assert not modules & set(getattr(package, "__all__", ()))


def test_importing_oneway_and_asking_for_help_imports_nothing_heavy():
    program = (
        "import sys, oneway, oneway.cli\n"
        "heavy = {'torch', 'transformers', 'polars', 'plotly', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_audits_are_compared_and_read_without_torch():
    program = "import sys, oneway.recall.compare, oneway.recall.rows\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_file_is_too_long_for_one_reader():
    long = {
        p.name: n
        for p in SOURCE.rglob("*.py")
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long
