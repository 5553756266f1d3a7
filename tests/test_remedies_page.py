"""docs/remedies.md shows what the records say."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_leaderboard_is_what_was_measured() -> None:
    spec = importlib.util.spec_from_file_location("leaderboard", DOCS / "leaderboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "remedies.md").read_text(encoding="utf-8")
    assert module.page(page) == page, "run docs/leaderboard.py"
