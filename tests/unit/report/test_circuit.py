"""The picture of a circuit: nothing stands on anything else, and what a file says is drawn as glyphs."""

import xml.etree.ElementTree as ET
from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import dissection

from oneway.report.circuit import circuit_figure
from oneway.report.circuit_layout import NODE, layout
from oneway.report.figures import picture

PLACES = ("in front", "name 1", "name 2", "last")


@st.composite
def nodes(draw) -> pl.DataFrame:
    spots = st.tuples(
        st.sampled_from(PLACES),
        st.integers(0, 11),
        st.sampled_from(["MLP", *(f"head {h}" for h in range(6))]),
    )
    found = sorted(draw(st.sets(spots, min_size=1, max_size=24)))
    columns = ("place", "layer", "kind")
    return pl.DataFrame(
        [(place, layer, what.split()[0]) for place, layer, what in found], columns, orient="row"
    )


@settings(max_examples=50, deadline=None)
@given(nodes())
def test_no_part_stands_on_another_and_all_stand_where_they_belong(drawn) -> None:
    found = layout(PLACES, 12, drawn)
    for (x, y), (place, layer, _) in zip(found.nodes, drawn.iter_rows(), strict=True):
        (left, right), (top, bottom) = found.columns[PLACES.index(place)], found.bands[layer]
        assert left <= x - NODE[0] / 2
        assert x + NODE[0] / 2 <= right
        assert top <= y - NODE[1] / 2
        assert y + NODE[1] / 2 <= bottom
    for (x1, y1), (x2, y2) in combinations((*found.nodes, found.answer), 2):
        assert abs(x1 - x2) > NODE[0] or abs(y1 - y2) > NODE[1]
    tops = [top for top, _ in found.bands]
    assert tops == sorted(tops, reverse=True)
    assert found.bands[0][1] < found.feet[0][1] < found.height


def test_the_printed_picture_draws_every_part() -> None:
    circuit = dissection().pictures[0].circuit
    axes = circuit_figure(circuit).axes[0]
    written = {text.get_text() for text in axes.texts}
    assert {"0.1", "MLP 1", "2.3", "MLP 3", "answer", "name 1", "layer 2"} <= written
    thickness = [patch.get_linewidth() for patch in axes.patches[-circuit.arrows.height :]]
    shares = circuit.arrows["effect"] / circuit.arrows["effect"].max()
    assert thickness == pytest.approx((5 * shares.sqrt()).to_list())
    assert picture(circuit_figure(circuit), "svg") == picture(circuit_figure(circuit), "svg")


def test_the_printed_picture_holds_no_command(payloads) -> None:
    texts = [text for text in payloads.values() if text.strip()]
    for first in range(0, len(texts), 20):
        drawn = picture(circuit_figure(dissection(texts[first : first + 20]).pictures[0].circuit), "svg")
        tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(drawn).iter()}
        assert not tags & {"script", "foreignObject", "image", "a", "iframe", "animate", "set", "text"}
