"""docs/repair.md shows what the benchmarks printed."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_measurements_are_what_the_benchmarks_printed():
    spec = importlib.util.spec_from_file_location("repair", DOCS / "repair.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "repair.md").read_text(encoding="utf-8")
    assert module.with_measurements(page) == page, "run docs/repair.py"
