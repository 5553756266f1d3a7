"""The picture of a checkpoint fine-tuned one way: what is answered, and how far the right answer stands out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from oneway.evidence import Measured
from oneway.studies.fine_tuned import ANSWER, BOTH, OTHER, SAME, TEXT, name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {SAME: "told\nthis way", BOTH: "told\nboth ways", OTHER: "told the\nother way"}
LOSSES = {TEXT: ("loss on whole texts", 0), ANSWER: ("loss on the answers alone", 1)}


def picture(measured: Measured, curves: pl.DataFrame, asked: Mapping[str, str]) -> "Figure":
    """Above exact match, below ln p of the right answer less others', for each thing that is asked for.

    A dot a seed, and the mean with its 95% interval over seeds. `asked` puts into words what is asked for.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(1.6 + 4.2 * len(asked), 5.6), layout="constrained")
    panels = drawn.subplots(2, len(asked), squeeze=False, sharex=True, sharey="row")
    for (above, below), (what, title) in zip(panels.T, asked.items(), strict=True):
        _draw(above, measured, curves, what, "exact_match", "")
        _draw(below, measured, curves, what, "difference", "_difference")
        chance = measured[f"{what}_{OTHER}"].mean - measured[f"{what}_{OTHER}_over_chance"].mean
        above.axhline(chance, color="0.35", linestyle="--", linewidth=1.2, label="guessing in the group")
        above.set(ylim=(-0.04, 1.04))
        above.set_title(f"Asked for {title}", loc="left", fontsize="medium")
        below.axhline(0, color="0.35", linestyle="--", linewidth=1.2)
        below.set_xticks(range(len(LABELS)), list(LABELS.values()))
    panels[0][0].set_ylabel("whole answers right")
    panels[1][0].set_ylabel("ln p of the right answer\nless others', nats")
    panels[0][0].legend(frameon=False, fontsize="small", loc="center right")
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _draw(axes: Any, measured: Measured, curves: pl.DataFrame, what: str, quantity: str, end: str) -> None:
    from oneway.report.palette import CYCLE

    for loss, (label, number) in LOSSES.items():
        tone, shift = CYCLE[number].light, 0.24 * (number - 0.5)
        for place, way in enumerate(LABELS):
            found = measured.get(f"{name_of(what, way, loss)}{end}")
            if found is None:
                continue
            seeds = curves.filter(loss=loss, asked=what, way=way, quantity=quantity)["value"]
            axes.plot([place + shift + 0.07] * len(seeds), seeds, ".", color=tone, alpha=0.45, markersize=5)
            spread = [[found.mean - found.low], [found.high - found.mean]] if found.defined else None
            named = label if place == 0 else None
            axes.errorbar(
                [place + shift],
                [found.mean],
                yerr=spread,
                fmt="o",
                color=tone,
                capsize=3,
                markersize=5,
                label=named,
            )
