"""docs/compiler.md shows what the benchmark printed."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_measurements_are_what_the_benchmark_printed():
    spec = importlib.util.spec_from_file_location("recall", DOCS / "recall.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "compiler.md").read_text(encoding="utf-8")
    assert module.with_recall(page) == page, "run docs/recall.py"
