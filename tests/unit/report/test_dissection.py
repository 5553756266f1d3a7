"""What a dissection shows comes back from its file, and what cannot be drawn is refused where it is made."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from invented import dissection

from oneway.report import Chart, Section, read_dissection, save_dissection
from oneway.report.columns import packed_array


def test_a_dissection_comes_back_from_its_file(tmp_path) -> None:
    save_dissection(dissection(), tmp_path)
    assert read_dissection(tmp_path) == json.loads(json.dumps(dissection().content()))


def test_a_run_without_a_dissection_has_none(tmp_path) -> None:
    assert read_dissection(tmp_path) is None


@pytest.mark.parametrize("text", ["[]", "{", '{"asked": NaN}', '"x"'])
def test_a_file_that_is_no_dissection_is_named(tmp_path, text) -> None:
    (tmp_path / "dissection.json").write_text(text)
    with pytest.raises(ValueError, match=r"dissection\.json is not a dissection"):
        read_dissection(tmp_path)


def test_an_array_keeps_its_shape_and_says_what_is_missing() -> None:
    found = packed_array(np.array([[1.23456, np.nan], [np.inf, -1e-9]], dtype=np.float32))
    assert found == {"shape": [2, 2], "values": [1.23, None, None, -1e-9]}
    assert packed_array(np.array([[3], [12345]])) == {"shape": [2, 1], "values": [3, 12345]}


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        (
            {"kind": "lines", "series": "probe"},
            "section F5: the table lacks the column probe; it has: layer, accur",
        ),
        ({"kind": "heat"}, "section F5: a heat map needs the column of its colours"),
        ({"kind": "bars", "low": "names"}, "section F5: names cannot be drawn, since they hold no numbers"),
    ],
    ids=["no column", "no colours", "no numbers"],
)
def test_a_chart_reads_columns_that_are_there(chart, said) -> None:
    table = pl.DataFrame({"layer": [0], "accuracy": [0.5], "names": ["known"]})
    charts = (Chart(x="layer", y="accuracy", **chart),)
    with pytest.raises(ValueError, match=said):
        Section(id="F5", title="t", text="t", table=table, charts=charts)


def test_an_arrow_must_end_somewhere() -> None:
    circuit = dissection().pictures[0].circuit
    stray = circuit.arrows.with_columns(target=pl.lit("nowhere"))
    with pytest.raises(ValueError, match="neither node nor place: nowhere"):
        replace(circuit, arrows=stray)
