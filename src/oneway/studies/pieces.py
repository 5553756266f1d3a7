"""Independent pieces of a study, side by side: a finished piece is kept, and read instead of run again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

Row = dict[str, Any]
Piece = TypeVar("Piece")


def rows_of(
    work: Callable[[Piece], list[Row]], pieces: Sequence[Piece], title: str, most: int | None = None
) -> list[Row]:
    """The rows of all pieces, in the order in which they end; `work` is a function of a module, `most` at a time."""
    from oneway.report.progress import progress
    from oneway.runs.workers import side_by_side

    rows = list[Row]()
    with progress(title) as advance:
        for done, (_, found) in enumerate(side_by_side(work, pieces, most=most)):
            rows += found
            advance(done + 1, len(pieces))
    return rows


def kept(folder: Path | None, name: str, make: Callable[[], list[Row]]) -> list[Row]:
    """Rows from the folder, or made and written there; without a folder they are made."""
    from oneway.evidence.atomic import write_text

    if folder is None:
        return make()
    file = folder / f"{name.replace(' ', '-')}.json"
    if not file.exists():
        write_text(file, json.dumps(make()))
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8"))
    return rows
