"""The picture of the remedies: reverse recall of every remedy, with its controls, and what it costs."""

from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Estimate, Measured
from oneway.studies.remedy_claims import cell
from oneway.training.remedies.remedy import REMEDIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BESIDE = {"forward": "forward\nrecall", "other_text": "other text,\nnats", "words": "words read,\nthousands"}


def figure(measured: Measured, curves: pl.DataFrame) -> "dict[str, Figure]":
    """A leaderboard of every part whose settings are one, and the sensitivity of those with more."""
    drawn = {}
    for (part,), rows in curves.group_by("part", maintain_order=True):
        several = rows["setting"].n_unique() > 1
        name = str(part).replace(",", "").replace(" ", "-")
        drawn[name] = (
            _sensitivity(str(part), rows, measured) if several else _board(str(part), rows, measured)
        )
    return drawn


def _board(part: str, rows: pl.DataFrame, measured: Measured) -> "Figure":
    from matplotlib.figure import Figure

    keys = [tuple(key) for key in rows.select("remedy", "control").unique(maintain_order=True).iter_rows()]
    keys.sort(key=lambda key: (key[1] != "", -measured[cell("reverse", part, *key)].mean, key[0]))
    drawn = Figure(figsize=(9.5, 0.27 * len(keys) + 1.6), layout="constrained")
    axes = drawn.add_subplot()
    for place, key in enumerate(keys):
        _bar(
            axes,
            place,
            measured[cell("reverse", part, *key)],
            measured[cell("reverse_among", part, *key)],
            key[1],
        )
        for column, quantity in enumerate(BESIDE):
            found = measured.get(cell(quantity, part, *key))
            text = "–" if found is None else _short(quantity, found)
            axes.text(1.16 + 0.2 * column, place, text, ha="center", va="center", fontsize="small")
    for column, title in enumerate(BESIDE.values()):
        axes.text(1.16 + 0.2 * column, -0.8, title, ha="center", va="bottom", fontsize="small")
    axes.set_yticks(range(len(keys)), [_label(*key) for key in keys], fontsize="small")
    axes.set(xlim=(0, 1.68), ylim=(len(keys) - 0.4, -0.8), xticks=(0, 0.25, 0.5, 0.75, 1))
    axes.set_xlabel("share of held-out reverse questions answered, 95% interval over seeds", loc="left")
    axes.set_title(
        f"{part}: bars, over the whole vocabulary; diamonds, among candidates\n\n",
        loc="left",
        fontsize="medium",
    )
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False)
    return drawn


def _bar(axes: "Axes", place: int, whole: Estimate, among: Estimate, control: str) -> None:
    from oneway.report.palette import CLASSES, DIRECTIONS

    tone = (CLASSES["neither"] if control else DIRECTIONS["reverse"]).light
    axes.barh(place, whole.mean, 0.7, color=tone, alpha=0.75)
    if whole.defined:
        low, high = max(whole.low, 0.0), min(whole.high, 1.0)
        axes.plot([low, high], [place, place], color="0.2", linewidth=1.2)
    axes.plot(among.mean, place, "D", color="0.2", markersize=3.5, fillstyle="none")


def _label(remedy: str, control: str) -> str:
    return f"control: {control}" if control else f"{REMEDIES[remedy].id}  {remedy}"


def _short(quantity: str, found: Estimate) -> str:
    return f"{found.mean / 1000:.0f}" if quantity == "words" else f"{found.mean:.2f}"


def _sensitivity(part: str, rows: pl.DataFrame, measured: Measured) -> "Figure":
    """Reverse recall over the whole vocabulary of every remedy in every setting."""
    import numpy as np
    from matplotlib.figure import Figure

    settings = ["default", *sorted(set(rows["setting"]) - {"default"})]
    remedies = rows["remedy"].unique(maintain_order=True).to_list()
    shares = np.array(
        [
            [
                measured[cell("reverse", part, remedy, "", "" if s == "default" else s)].mean
                for remedy in remedies
            ]
            for s in settings
        ]
    )
    drawn = Figure(figsize=(1.7 * len(remedies) + 2.2, 0.32 * len(settings) + 1.4), layout="constrained")
    axes = drawn.add_subplot()
    axes.imshow(shares, cmap="Oranges", vmin=0, vmax=1.3, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column, row, f"{share:.2f}", ha="center", va="center")
    axes.set_yticks(
        range(len(settings)), [setting.replace("_", " ").replace("=", " ") for setting in settings]
    )
    axes.set_xticks(range(len(remedies)), [remedy.replace(" ", "\n", 1) for remedy in remedies])
    axes.set_title("Reverse recall, one change at a time", loc="left", fontsize="medium")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return drawn
