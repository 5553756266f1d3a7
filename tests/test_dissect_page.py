"""docs/dissect.md shows what the benchmark measured."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_what_was_found_of_planted_circuits_is_what_the_benchmark_measured():
    spec = importlib.util.spec_from_file_location("oracle", DOCS / "oracle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "dissect.md").read_text(encoding="utf-8")
    assert module.with_oracle(page) == page, "run docs/oracle.py"
