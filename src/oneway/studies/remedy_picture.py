"""The pictures of the remedies: reverse recall in every world, with controls and costs, and where it breaks."""

from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Estimate, Measured
from oneway.studies.remedy_claims import cell
from oneway.training.remedies.remedy import REMEDIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = ("arrows", "arrows, 800 words", "two words", "phrasings", "identities", "families")
BESIDE = {"forward": "forward\nrecall", "other_text": "other text,\nnats", "words": "words read,\nthousands"}


def figure(measured: Measured, curves: pl.DataFrame) -> "dict[str, Figure]":
    """Of remedies in one setting: all worlds at a glance, then a leaderboard of each. Else where they break."""
    if curves["setting"].n_unique() > 1:
        return {"sensitivity": _sensitivity(curves, measured)}
    boards = {
        str(part).replace(",", "").replace(" ", "-"): _board(str(part), rows, measured)
        for (part,), rows in curves.group_by("part", maintain_order=True)
    }
    return {"overview": _overview(curves, measured)} | boards


def _overview(curves: pl.DataFrame, measured: Measured) -> "Figure":
    """Reverse recall over the whole vocabulary, a row per remedy and a column per world, the best rows first."""
    import numpy as np
    from matplotlib.figure import Figure

    plain = curves.filter((pl.col("control") == "") & (pl.col("quantity") == "reverse"))
    parts = [part for part in ORDER if part in set(plain["part"])]
    parts += sorted(set(plain["part"]) - set(parts))
    remedies = plain["remedy"].unique(maintain_order=True).to_list()
    cells = [[measured.get(cell("reverse", part, remedy)) for part in parts] for remedy in remedies]
    shares = np.array([[np.nan if one is None else one.mean for one in row] for row in cells])
    best = sorted(range(len(remedies)), key=lambda row: (-np.nanmean(shares[row]), remedies[row]))
    drawn = Figure(figsize=(1.15 * len(parts) + 3.2, 0.3 * len(remedies) + 1.4), layout="constrained")
    axes = drawn.add_subplot()
    axes.imshow(shares[best], cmap="Oranges", vmin=0, vmax=1.3, aspect="auto")
    for (place, column), share in np.ndenumerate(shares[best]):
        axes.text(
            column,
            place,
            "" if np.isnan(share) else f"{share:.2f}",
            ha="center",
            va="center",
            fontsize="small",
        )
    axes.set_xticks(
        range(len(parts)), [part.replace(", ", ",\n").replace("two words", "two\nwords") for part in parts]
    )
    told = [measured.get(cell("reverse_told", parts[0], remedy)) for remedy in remedies]
    marks = ["" if one is None or one.mean == 0 else " *" for one in told]
    labels = [_label(remedies[row], "") + marks[row] for row in best]
    axes.set_yticks(range(len(remedies)), labels, fontsize="small")
    axes.set_title(
        "Held-out reverse questions answered, over the whole vocabulary (* the reverse is told in some order)",
        loc="left",
        fontsize="medium",
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
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


def _sensitivity(curves: pl.DataFrame, measured: Measured) -> "Figure":
    """Reverse recall over the whole vocabulary of every remedy in every setting, the remedies of a part together."""
    from matplotlib.figure import Figure

    parts = curves["part"].unique(maintain_order=True).to_list()
    remedies = {part: _remedies_of(curves, part) for part in parts}
    settings = ["default", *(s for s in curves["setting"].unique(maintain_order=True) if s != "default")]
    count = sum(map(len, remedies.values()))
    drawn = Figure(figsize=(1.25 * count + 2.4, 0.32 * len(settings) + 1.6), layout="constrained")
    drawn.suptitle(
        "Reverse recall, one change at a time (forward recall where it is below .99)", fontsize="medium"
    )
    beside = drawn.subplots(
        1, len(parts), sharey=True, width_ratios=[len(own) for own in remedies.values()], squeeze=False
    )
    for axes, part in zip(beside[0], parts, strict=True):
        _settings(axes, part, remedies[part], settings, measured)
    return drawn


def _remedies_of(curves: pl.DataFrame, part: str) -> list[str]:
    return curves.filter(pl.col("part") == part)["remedy"].unique(maintain_order=True).to_list()


def _settings(axes: "Axes", part: str, remedies: list[str], settings: list[str], measured: Measured) -> None:
    import numpy as np

    shares = np.zeros((len(settings), len(remedies)))
    for row, setting in enumerate(settings):
        for column, remedy in enumerate(remedies):
            label = "" if setting == "default" else setting
            reverse, forward = (
                measured[cell(quantity, part, remedy, "", label)].mean for quantity in ("reverse", "forward")
            )
            shares[row, column] = reverse
            known = "" if forward >= 0.99 else f" ({forward:.2f})"
            axes.text(column, row, f"{reverse:.2f}{known}", ha="center", va="center", fontsize="small")
    axes.imshow(shares, cmap="Oranges", vmin=0, vmax=1.3, aspect="auto")
    axes.set_yticks(range(len(settings)), [one.replace("_", " ").replace("=", " ") for one in settings])
    axes.set_xticks(
        range(len(remedies)), [remedy.replace(" ", "\n", 1) for remedy in remedies], fontsize="small"
    )
    axes.set_title(part.removeprefix("sensitivity, ").replace("sensitivity", "800 words"), fontsize="small")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
