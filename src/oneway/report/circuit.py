"""A circuit in print: the page's picture as a figure."""

from typing import TYPE_CHECKING

from oneway.report.circuit_layout import NODE, Layout, Point, layout
from oneway.report.dissection import Circuit
from oneway.report.figures import literal
from oneway.report.palette import CYCLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT = "#1d1f21", "#e4e3de"
_TONES = {"head": CYCLE[0].light, "MLP": CYCLE[1].light}
_THICKEST, _PER_INCH = 5.0, 110.0
_FITS = 18  # characters of a token


def circuit_figure(circuit: Circuit) -> "Figure":
    """Positions across, layers up; an arrow's thickness grows with the square root of its effect, as on the page."""
    from matplotlib.figure import Figure

    where = layout(circuit.places, circuit.layers, circuit.nodes)
    figure = Figure(figsize=(where.width / _PER_INCH, where.height / _PER_INCH), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, where.width)
    axes.set_ylim(where.height, 0)
    axes.set_axis_off()
    _draw_ground(axes, circuit, where)
    _draw_arrows(axes, circuit, where)
    for (x, y), node in zip(where.nodes, circuit.nodes.iter_rows(named=True), strict=True):
        name = f"{node['layer']}.{node['head']}" if node["kind"] == "head" else f"MLP {node['layer']}"
        _box(axes, (x, y), name, _TONES.get(node["kind"], _INK))
    _box(axes, where.answer, "answer", _INK)
    return figure


def _draw_ground(axes: "Axes", circuit: Circuit, where: Layout) -> None:
    for layer, (top, bottom) in enumerate(where.bands):
        if bottom - top > NODE[1]:
            axes.axhspan(top + 1, bottom - 1, color=_FAINT, alpha=0.45, linewidth=0)
            axes.text(6, (top + bottom) / 2, f"layer {layer}", va="center", fontsize=8, color="#54585d")
    for (x, foot), place, token in zip(where.feet, circuit.places, circuit.tokens, strict=True):
        axes.plot([x, x], [where.bands[-1][0], foot], color="#b9b8b2", linewidth=0.8, zorder=1)
        text = literal(token.strip())
        for down, said, size in ((20, place, 9), (40, text if len(text) <= _FITS else f"{text[:_FITS]}…", 8)):
            label = axes.text(
                x, foot + down, literal(said), ha="center", va="center", fontsize=size, color=_INK
            )
            label.set_parse_math(False)


def _draw_arrows(axes: "Axes", circuit: Circuit, where: Layout) -> None:
    from matplotlib.patches import FancyArrowPatch

    points = dict(zip(circuit.places, where.feet, strict=True))
    points |= dict(zip(circuit.nodes["id"], where.nodes, strict=True)) | {"answer": where.answer}
    largest = max([abs(effect) for effect in circuit.arrows["effect"]], default=0.0) or 1.0
    for source, target, effect in circuit.arrows.select("source", "target", "effect").iter_rows():
        thickness = max(0.4, _THICKEST * (abs(effect) / largest) ** 0.5)
        (x1, y1), (x2, y2) = points[source], points[target]
        # Between parts of one column on the right of it, past what stands between.
        aside = NODE[0] / 2 if x1 == x2 and source not in circuit.places else 0.0
        bend = min(0.6, 2 * (where.width - x1 - aside - 8) / abs(y1 - y2)) if aside else 0.0
        axes.add_patch(
            FancyArrowPatch(
                (x1 + aside, y1),
                (x2 + aside, y2),
                arrowstyle="-|>",
                mutation_scale=7 + thickness,
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=0 if aside or source in circuit.places else 12,
                shrinkB=2 if aside else 14,
                linewidth=thickness,
                color="#71767c",
                alpha=0.8,
                linestyle="-" if effect >= 0 else ":",
                zorder=2,
            )
        )


def _box(axes: "Axes", at: Point, text: str, tone: str) -> None:
    axes.text(
        *at, text, ha="center", va="center", fontsize=8, color=_INK, zorder=3,
        bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": tone, "linewidth": 1.6},
    )  # fmt: skip
