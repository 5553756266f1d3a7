"""What is packed for the page is what stood in the table."""

import json
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.report.columns import packed


def unpacked(column: dict) -> list:
    if column["kind"] == "text":
        return [None if code < 0 else column["values"][code] for code in column["codes"]]
    if column["kind"] == "truth":
        return [None if x < 0 else bool(x) for x in column["values"]]
    return column["values"]


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=20))
def test_texts_come_back_and_stand_once(values) -> None:
    (column,) = packed(pl.DataFrame({"c": values}, schema={"c": pl.String}))["columns"]
    assert unpacked(column) == values
    assert len(set(column["values"])) == len(column["values"])


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=20))
def test_numbers_come_back_to_seven_digits_and_the_rest_is_missing(values) -> None:
    (column,) = packed(pl.DataFrame({"c": values}, schema={"c": pl.Float64}))["columns"]
    for was, found in zip(values, unpacked(column), strict=True):
        if was is None or not math.isfinite(was):
            assert found is None
        else:
            assert found == pytest.approx(was, rel=1e-6, abs=1e-300)
    json.dumps(column, allow_nan=False)


def test_every_kind_of_column() -> None:
    rows = pl.DataFrame(
        {
            "enum": pl.Series(["b", "a", "b"], dtype=pl.Enum(["a", "b"])),
            "category": pl.Series(["x", None, "x"], dtype=pl.Categorical),
            "truth": [True, None, False],
            "count": pl.Series([1, None, 3], dtype=pl.UInt32),
            "single": pl.Series([0.1, -2.5, None], dtype=pl.Float32),
            "several": [["p", "q"], [], ["r"]],
        }
    )
    found = packed(rows)
    assert found["length"] == 3
    assert [(c["name"], c["kind"], unpacked(c)) for c in found["columns"]] == [
        ("enum", "text", ["b", "a", "b"]),
        ("category", "text", ["x", None, "x"]),
        ("truth", "truth", [True, None, False]),
        ("count", "integer", [1, None, 3]),
        ("single", "number", [pytest.approx(0.1, rel=1e-6), -2.5, None]),
        ("several", "text", ["p | q", "", "r"]),
    ]


def test_an_empty_table_has_its_columns() -> None:
    found = packed(pl.DataFrame(schema={"a": pl.String, "b": pl.Float64}))
    assert [c["name"] for c in found["columns"]] == ["a", "b"]
    assert found["length"] == 0
