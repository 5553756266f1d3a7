"""Figures of an audit: every fact as a point for notebooks, and bars for print. Same colours as the page."""

import html
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from oneway.report.palette import CLASSES, DIRECTIONS, SYMBOLS, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as PrintFigure
    from plotly.graph_objects import Figure

MANY = 4000  # above this WebGL draws faster
_KEY = ("subject", "relation", "object", "split")
_NEAREST_TO_ONE = -1e-7  # a 32-bit log-probability of 0 has no logit


def forward_against_reverse(rows: pl.DataFrame) -> "Figure":
    """Every fact at its forward (right) and reverse (up) probability per token, on a logit scale.

    `rows` is an audit's table; templates of a fact are averaged in log-probability. Colour is the class,
    shape the split; hovering shows the fact. Facts without both directions are not drawn.
    """
    import plotly.graph_objects as go

    facts = _facts(rows)
    splits = facts["split"].unique(maintain_order=True).to_list()
    figure = go.Figure()
    point = go.Scattergl if facts.height > MANY else go.Scatter
    for name in [*CLASSES, None]:
        of_class = facts.filter(pl.col("class").eq_missing(pl.lit(name, dtype=pl.String)))
        if of_class.is_empty():
            continue
        tone = CLASSES.get(name or "neither", CLASSES["neither"])
        shapes = [SYMBOLS[splits.index(split) % len(SYMBOLS)] for split in of_class["split"]]
        figure.add_trace(
            point(
                x=[logit(x) for x in of_class["forward"]],
                y=[logit(y) for y in of_class["reverse"]],
                mode="markers",
                name=f"{words(name or 'no class')} ({of_class.height})",
                marker={"color": tone.light, "symbol": shapes, "size": 7, "opacity": 0.65},
                text=[_hover(fact) for fact in of_class.iter_rows(named=True)],
                hoverinfo="text",
            )
        )
    ticks = (1e-8, 1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999, 0.999999)
    axis = {"tickvals": [logit(math.log(p)) for p in ticks], "ticktext": [f"{p:g}" for p in ticks]}
    figure.update_layout(
        template="plotly_white",
        xaxis={"title": "forward: probability per token", **axis},
        yaxis={"title": "reverse: probability per token", **axis},
        height=560,
    )
    return figure


def logit(log_probability: float) -> float:
    """ln(p / (1 − p)) of a probability given as ln p in nats; what is certain in 32 bits is clipped."""
    x = min(log_probability, _NEAREST_TO_ONE)
    return x - math.log(-math.expm1(x))


def _facts(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per fact asked both ways: the mean log-probability per token forward and in reverse."""
    key = ["fact"] if "fact" in rows.columns else list(_KEY)
    texts = [pl.col(name).cast(pl.String) for name in (*_KEY, "class", "direction")]
    rows = rows.with_columns(*texts)

    def mean(direction: str) -> pl.Expr:
        return pl.col("logprob_per_token").filter(pl.col("direction") == direction).mean().alias(direction)

    named = [pl.col(name).first() for name in (*_KEY, "class") if name not in key]
    facts = rows.group_by(key, maintain_order=True).agg(*named, mean("forward"), mean("reverse"))
    return facts.drop_nulls(["forward", "reverse"])


def _hover(fact: Mapping[str, Any]) -> str:
    """Plotly reads some markup in hover texts: what a file says is escaped."""
    said = [html.escape(str(fact[name]), quote=False) for name in ("subject", "relation", "object", "split")]
    subject, relation, answer, split = said
    return (
        f"<b>{subject}</b> · {words(relation)} · <b>{answer}</b><br>{words(split)}<br>"
        f"forward {fact['forward']:.3f}, reverse {fact['reverse']:.3f} nats per token"
    )


def bars(summary: Sequence[Mapping[str, Any]], split: str = "") -> "PrintFigure":
    """Exact match per relation and direction with 95% intervals and a tick at chance, for print.

    `summary` is an audit's; `split` picks one of its splits ("" is all facts together). Raises ValueError
    where the summary has no entry of that split.
    """
    from matplotlib.figure import Figure

    entries = {
        (s["relation"], s["direction"]): s for s in summary if s["split"] == split and s["exact_match"]
    }
    if not entries:
        raise ValueError(f"the summary has no exact matches of split {split!r}")
    relations = list(dict.fromkeys(relation for relation, _ in entries))
    figure = Figure(figsize=(7, 1.1 + 0.75 * len(relations)), layout="constrained")
    axes = figure.subplots()
    for place, direction in enumerate(DIRECTIONS):
        found = [
            (row, entries[name, direction])
            for row, name in enumerate(relations)
            if (name, direction) in entries
        ]
        if found:
            _draw_bars(axes, found, direction, 0.27 * (place - 1))
    axes.set_yticks(range(len(relations)), [literal(words(name)) or "all relations" for name in relations])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a "$" in a name is a "$"
    axes.set_ylim(len(relations) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of facts whose whole answer is right (line: 95% interval, tick: chance)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def _draw_bars(
    axes: "Axes", found: Sequence[tuple[int, Mapping[str, Any]]], direction: str, shift: float
) -> None:
    at = [row + shift for row, _ in found]
    estimates = [entry["exact_match"] for _, entry in found]
    means = [e["mean"] for e in estimates]
    # An undefined bound reaches to the end of the axis: one fact says nothing of the others.
    below = [e["mean"] - (0.0 if e["low"] is None else e["low"]) for e in estimates]
    above = [(1.0 if e["high"] is None else e["high"]) - e["mean"] for e in estimates]
    axes.barh(
        at,
        means,
        height=0.25,
        color=DIRECTIONS[direction].light,
        label=words(direction),
        xerr=[below, above],
        error_kw={"elinewidth": 1.2, "ecolor": "#222222"},
    )
    chances = [
        (y, entry["chance"]) for y, (_, entry) in zip(at, found, strict=True) if entry["chance"] is not None
    ]
    if chances:
        axes.vlines(
            [c for _, c in chances], [y - 0.14 for y, _ in chances], [y + 0.14 for y, _ in chances], "#222222"
        )


_LONGEST = 60  # characters of a name beside an axis


def literal(name: str) -> str:
    """A name as a label holds it: on one line, no longer than there is room for, nothing XML cannot say."""
    shown = "".join(c if c.isprintable() else " " for c in name)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def picture(figure: "PrintFigure", kind: Literal["svg", "png"]) -> bytes:
    """A printed figure as a file's bytes; equal figures give equal bytes (no date, no random ids)."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with matplotlib.rc_context({"svg.hashsalt": "oneway"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")  # a box stands for it
        figure.savefig(buffer, format=kind, dpi=160, bbox_inches="tight", metadata=metadata)
    return buffer.getvalue()
