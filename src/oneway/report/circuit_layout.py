"""Where the parts of a circuit stand in its picture: positions across, layers up. One layout for page and print."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

# In pixels of the page.
NODE = (54.0, 24.0)
STEP = 64.0  # from a head to the next
ROW, IDLE = 40.0, 13.0  # of a layer with something in it, and of one without
GUTTER, TOP, GAP, BOTTOM = 64.0, 76.0, 44.0, 62.0  # layer numbers, the answer, ways from the tokens, tokens
NARROWEST, MARGIN = 92.0, 44.0
FULL = 1080.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Points in pixels from the top left: of every node, of each place's foot (its token stands there), of the answer.

    `columns` are the left and right edges of the places, `bands` the top and bottom of the layers, from layer 0.
    """

    width: float
    height: float
    nodes: tuple[Point, ...]
    feet: tuple[Point, ...]
    answer: Point
    columns: tuple[Point, ...]
    bands: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "node": NODE}


def layout(places: Sequence[str], layers: int, nodes: pl.DataFrame) -> Layout:
    """Lay out nodes (`place`, `layer`, `kind`): MLPs on a place's axis, a layer's heads below and to the left of it."""
    columns, axes = _columns(places, nodes)
    bands, height = _bands(layers, nodes)
    before: Counter[tuple[str, int]] = Counter()
    total, kinds = Counter(_heads(nodes)), _kinds(nodes)
    found = []
    for place, layer, kind in nodes.select("place", "layer", "kind").iter_rows():
        top, bottom = bands[layer]
        x = axes[places.index(place)]
        if kind == "head":
            x -= STEP * (total[place, layer] - before[place, layer])
            before[place, layer] += 1
        up = 0.0 if len(kinds[place, layer]) == 1 else ROW / 2 if kind == "MLP" else -ROW / 2
        found.append((x, (top + bottom) / 2 - up))
    foot = height - BOTTOM
    return Layout(
        width=columns[-1][1],
        height=height,
        nodes=tuple(found),
        feet=tuple((x, foot) for x in axes),
        answer=(axes[-1], NODE[1]),
        columns=columns,
        bands=bands,
    )


def _heads(nodes: pl.DataFrame) -> list[tuple[str, int]]:
    return list(nodes.filter(pl.col("kind") == "head").select("place", "layer").iter_rows())


def _columns(places: Sequence[str], nodes: pl.DataFrame) -> tuple[tuple[Point, ...], list[float]]:
    """The edges of every place's column, and its axis."""
    most = Counter(_heads(nodes)).items()
    left = [max((STEP * n for (at, _), n in most if at == place), default=0.0) for place in places]
    held = set(nodes["place"])
    widths = [
        max(NARROWEST, heads + NODE[0] + 2 * MARGIN) if place in held else NARROWEST
        for place, heads in zip(places, left, strict=True)
    ]
    spare = max(0.0, FULL - GUTTER - sum(widths)) / len(widths)
    edges, axes, at = [], [], GUTTER
    for heads, width in zip(left, widths, strict=True):
        edges.append((at, at + width + spare))
        axes.append(at + (width + spare + heads) / 2)
        at += width + spare
    return tuple(edges), axes


def _kinds(nodes: pl.DataFrame) -> dict[tuple[str, int], set[str]]:
    found: dict[tuple[str, int], set[str]] = {}
    for place, layer, kind in nodes.select("place", "layer", "kind").iter_rows():
        found.setdefault((place, layer), set()).add(kind)
    return found


def _bands(layers: int, nodes: pl.DataFrame) -> tuple[tuple[Point, ...], float]:
    """The top and bottom of every layer, and the height of the whole: heads and an MLP of one place take two rows."""
    kinds = _kinds(nodes)
    at, found = TOP, []
    for layer in reversed(range(layers)):
        rows = max((len(own) for (_, where), own in kinds.items() if where == layer), default=0)
        height = ROW * rows if rows else IDLE
        found.append((at, at + height))
        at += height
    return tuple(reversed(found)), at + GAP + BOTTOM
