"""What a dissection shows comes back from its file, and what cannot be drawn is refused where it is made."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from invented import PEOPLE, dissection

from oneway.api import write_report
from oneway.evidence import RunRecord
from oneway.report import Chart, Run, Section, read_dissection, save_dissection, save_run
from oneway.report.circuit import circuit_figure
from oneway.report.columns import packed_array


def test_a_dissection_comes_back_from_its_file(tmp_path) -> None:
    save_dissection(dissection(), tmp_path)
    assert read_dissection(tmp_path) == json.loads(json.dumps(dissection().content()))


def test_a_saved_run_shows_its_dissection_again(tmp_path) -> None:
    figures = {"circuit.svg": "figures/circuit.svg", "circuit.png": "figures/circuit.png"}
    record = RunRecord(study="dissect", run_id="r", title="t", asked="?", config={}, figures=figures)
    found = dissection()
    save_run(
        Run(record=record, dissection=found.content()), circuit_figure(found.pictures[0].circuit), tmp_path
    )
    assert (tmp_path / "figures" / "circuit.png").read_bytes().startswith(b"\x89PNG")
    again = write_report([tmp_path], tmp_path / "again.html").read_text(encoding="utf-8")
    for page in (again, (tmp_path / "report.html").read_text(encoding="utf-8")):
        assert found.found in page
        assert PEOPLE[3] in page


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
