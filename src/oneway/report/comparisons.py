"""Figures of a comparison: where facts moved, by how much recall changed, and every fact before and after."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from oneway.report.figures import MANY, literal, logit
from oneway.report.palette import CHANGES, CLASSES, DIRECTIONS, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as PrintFigure
    from plotly.graph_objects import Figure

_MOST_RELATIONS = 24  # in print; the page has them all
_SHAPES = {"forward": "circle", "reverse": "diamond", "in_context": "square"}


def before_against_after(rows: pl.DataFrame) -> "Figure":
    """Every fact and direction at its probability per token before (right) and after (up), on a logit scale.

    `rows` is a comparison's table. Colour is what became of the fact, shape the direction; hovering shows the
    fact. A direction that was not asked in both audits is not drawn.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    point = go.Scattergl if 3 * rows.height > MANY else go.Scatter
    for change, tone in CHANGES.items():
        of_change = rows.filter(pl.col("change").cast(pl.String) == change)
        found = [
            (fact[f"{d}_per_token_before"], fact[f"{d}_per_token_after"], d, fact)
            for fact in of_change.iter_rows(named=True)
            for d in DIRECTIONS
            if None not in (fact[f"{d}_per_token_before"], fact[f"{d}_per_token_after"])
        ]
        if found:
            shapes = [_SHAPES[direction] for _, _, direction, _ in found]
            figure.add_trace(
                point(
                    x=[logit(before) for before, *_ in found],
                    y=[logit(after) for _, after, *_ in found],
                    mode="markers",
                    name=f"{words(change)} ({of_change.height})",
                    marker={"color": tone.light, "symbol": shapes, "size": 7, "opacity": 0.65},
                    text=[_hover(fact, direction) for *_, direction, fact in found],
                    hoverinfo="text",
                )
            )
    ticks = (1e-8, 1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999, 0.999999)
    places = [logit(math.log(p)) for p in ticks]
    axis = {"tickvals": places, "ticktext": [f"{p:g}" for p in ticks]}
    ends = places[0], places[-1]
    figure.add_shape(
        type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line={"color": "#b9b8b2", "width": 1}
    )
    figure.update_layout(
        template="plotly_white",
        xaxis={"title": "before: probability per token", **axis},
        yaxis={"title": "after: probability per token", **axis},
        height=560,
    )
    return figure


def _hover(fact: Mapping[str, Any], direction: str) -> str:
    """Plotly reads some markup in hover texts: what a file says is escaped."""
    subject, relation, answer = (
        html.escape(str(fact[name]), quote=False) for name in ("subject", "relation", "object")
    )
    before, after = fact[f"{direction}_per_token_before"], fact[f"{direction}_per_token_after"]
    return (
        f"<b>{subject}</b> · {words(relation)} · <b>{answer}</b><br>{words(str(fact['change']))}<br>"
        f"{words(direction)}: {before:.3f} before, {after:.3f} after, nats per token"
    )


def printed(summary: Sequence[Mapping[str, Any]]) -> "PrintFigure":
    """Where facts moved, class by class, beside the paired differences of exact match with 95% intervals.

    `summary` is a comparison's. Raises ValueError where it has no entry of all facts together.
    """
    from matplotlib.figure import Figure

    whole = [s for s in summary if not s["relation"] and not s["split"]]
    head = next((s for s in whole if s.get("transitions") is not None), None)
    if head is None:
        raise ValueError("the summary has no changes of all facts")
    relations = list(dict.fromkeys(s["relation"] for s in summary if not s["split"]))
    shown = relations[: 1 + _MOST_RELATIONS] if len(relations) > 2 else relations[:1]
    height = max(4.0, 1.4 + 0.62 * len(shown))
    figure = Figure(figsize=(11, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    left.set_anchor("N")
    _draw_transitions(left, head["transitions"])
    _draw_differences(right, [s for s in summary if not s["split"] and s["relation"] in shown], shown)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def _draw_transitions(axes: "Axes", transitions: Sequence[Mapping[str, Any]]) -> None:
    """A square per pair of classes, the diagonal outlined: what stands off it has moved."""
    names = list(CLASSES)
    counts = {(t["before"], t["after"]): t["facts"] for t in transitions}
    table = [[counts.get((before, after), 0) for after in names] for before in names]
    largest = max(1, *(n for row in table for n in row))
    # A class of three facts must still be seen beside one of three thousand.
    strength = [[math.sqrt(n / largest) for n in row] for row in table]
    edges = [place - 0.5 for place in range(len(names) + 1)]
    axes.pcolormesh(edges, edges, strength, cmap="Blues", vmin=0, vmax=1.25)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    for row, before in enumerate(names):
        axes.add_patch(_outline(row))
        for column, after in enumerate(names):
            n = counts.get((before, after), 0)
            dark = n / largest > 0.55
            axes.text(
                column,
                row,
                f"{n:,}" if n else "·",
                ha="center",
                va="center",
                fontsize=11 if n else 9,
                color="white" if dark else "#222222" if n else "#9a9a9a",
            )
    labels = [words(name) for name in names]
    axes.set_xticks(range(len(names)), ["\n".join(label.split()) for label in labels], fontsize=9)
    axes.set_yticks(range(len(names)), labels, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("after")
    axes.set_ylabel("before")
    axes.set_title("facts by class, before and after", fontsize=11, loc="left")


def _outline(place: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor="#8a8a8a", linewidth=1.2, clip_on=False
    )


def _draw_differences(axes: "Axes", entries: Sequence[Mapping[str, Any]], relations: Sequence[str]) -> None:
    for place, (direction, tone) in enumerate(DIRECTIONS.items()):
        found = [s for s in entries if s["direction"] == direction]
        if not found:
            continue
        estimates = [s["difference"] for s in found]
        means = [e["mean"] for e in estimates]
        # An undefined bound reaches to the end of the axis: one fact says nothing of the others.
        below = [e["mean"] - (-1.0 if e["low"] is None else e["low"]) for e in estimates]
        above = [(1.0 if e["high"] is None else e["high"]) - e["mean"] for e in estimates]
        axes.errorbar(
            means,
            [relations.index(s["relation"]) + 0.22 * (place - 1) for s in found],
            xerr=[below, above],
            fmt="o",
            markersize=5,
            color=tone.light,
            elinewidth=1.6,
            capsize=2.5,
            label=words(direction),
        )
    axes.axvline(0, color="#8a8a8a", linewidth=1, zorder=0)
    axes.set_yticks(range(len(relations)), [literal(words(name)) or "all facts" for name in relations])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a "$" in a name is a "$"
    axes.set_ylim(len(relations) - 0.4, -0.6)
    axes.set_xlim(-1.04, 1.04)
    axes.grid(axis="x", color="#e4e3de", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("whole answers right, after less before (share of facts, 95% interval)")
    axes.spines[["top", "right"]].set_visible(False)
