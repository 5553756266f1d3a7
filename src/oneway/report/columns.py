"""A table as the page holds it: one array per column, every text once."""

import math
from typing import Any

import numpy as np
import polars as pl

SIGNIFICANT = 7  # a 32-bit float has no more
ARRAY = 3  # what a picture can show


def packed(rows: pl.DataFrame) -> dict[str, Any]:
    """Columns as JSON arrays, compact enough for 100,000 rows.

    Text becomes distinct values and a code per row (−1 where it is missing); numbers keep seven significant
    digits, and what is not finite is null; truth values are 1, 0 and −1; lists are joined with " | ".
    """
    return {"length": rows.height, "columns": [_column(series) for series in rows.get_columns()]}


def packed_array(array: np.ndarray) -> dict[str, Any]:
    """An array of numbers of any shape: its shape, and its values in a row.

    Three significant digits, as many as a picture shows; what is not finite is null.
    """
    values = pl.Series(array.ravel())
    whole = values.dtype.is_integer()
    return {"shape": list(array.shape), "values": values.to_list() if whole else _rounded(values, ARRAY)}


def _column(series: pl.Series) -> dict[str, Any]:
    kind = series.dtype
    if kind == pl.Boolean:
        truth = series.cast(pl.Int8).fill_null(-1)
        return {"name": series.name, "kind": "truth", "values": truth.to_list()}
    if kind.is_integer():
        return {"name": series.name, "kind": "integer", "values": series.to_list()}
    if kind.is_float():
        return {"name": series.name, "kind": "number", "values": _rounded(series)}
    text = _text(series)
    values = text.drop_nulls().unique(maintain_order=True)
    codes = pl.DataFrame({"value": text}).join(
        pl.DataFrame({"value": values, "code": range(len(values))}, schema_overrides={"value": pl.String}),
        on="value",
        how="left",
        maintain_order="left",
    )["code"]
    return {
        "name": series.name,
        "kind": "text",
        "values": values.to_list(),
        "codes": codes.fill_null(-1).to_list(),
    }


def _rounded(series: pl.Series, digits: int = SIGNIFICANT) -> list[float | None]:
    rounded = series.cast(pl.Float64).round_sig_figs(digits).to_list()
    return [x if x is not None and math.isfinite(x) else None for x in rounded]


def _text(series: pl.Series) -> pl.Series:
    if isinstance(series.dtype, pl.List):
        return series.cast(pl.List(pl.String)).list.join(" | ")
    return series.cast(pl.String)
