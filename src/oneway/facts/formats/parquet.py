"""Parquet files, read in batches: memory does not grow with the rows."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from oneway.facts.formats.form import Opened, Record
from oneway.facts.problems import Findings

if TYPE_CHECKING:
    import polars as pl

_BATCH = 20_000


def parquet_file(path: Path, findings: Findings) -> Opened | None:
    """The rows of a Parquet file; what other files call the line is the row, counted from 1."""
    frame, count = _scanned(path, findings)
    if frame is None:
        return None
    columns = frame.collect_schema().names()
    keys = tuple(name.strip().casefold() for name in columns)
    doubled = sorted({key for key in keys if keys.count(key) > 1})
    for key in doubled:
        findings.problem(path, 1, f"the column {key!r} stands twice")
    if doubled:
        return None
    return Opened(path, keys, 1, lambda found: _records(path, frame, keys, count, found))


def _scanned(path: Path, findings: Findings) -> "tuple[pl.LazyFrame | None, int]":
    """The file, with its number of rows, or None and why."""
    import polars as pl

    with path.open("rb") as file:
        start = file.read(4)
    try:
        if start != b"PAR1":
            raise pl.exceptions.ComputeError("it does not begin as one does")
        with _quiet():
            frame = pl.scan_parquet(path, glob=False)
            return frame, int(frame.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        findings.problem(path, 1, f"not a Parquet file that can be read: {_first_line(error)}")
        return None, 0


def _records(
    path: Path, frame: "pl.LazyFrame", keys: tuple[str, ...], count: int, findings: Findings
) -> Iterator[Record]:
    import polars as pl

    for start in range(0, count, _BATCH):
        try:
            with _quiet():
                batch = frame.slice(start, _BATCH).collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            findings.problem(path, start + 1, f"damaged from about this row on: {_first_line(error)}")
            return
        for row, values in enumerate(batch.iter_rows(), start=start + 1):
            yield row, dict(zip(keys, values, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard error: the library panics over some damaged files, which is caught, and prints so."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
