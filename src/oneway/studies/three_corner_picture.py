"""Pictures of the three-corner experiment: the table, the grids, the completed blocks, and the spectrum in training."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oneway.evidence import Measured
from oneway.studies.three_corner_claims import COMPLETED, NOT_COMPLETED, cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = (*NOT_COMPLETED, *COMPLETED, "id(A) + id(B)")
MODELS = ("factorised", "direct", "transformer")
SHADES = "Blues"


def figure(measured: Measured, curves: pl.DataFrame) -> "dict[str, Figure]":
    """The table with the grids; the blocks that are completed; singular values through training."""
    return {
        "corners": _table_and_grids(measured),
        "blocks": _blocks(curves),
        "spectrum": _spectrum(curves),
    }


def _table_and_grids(measured: Measured) -> "Figure":
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13, 4.6), layout="constrained")
    table, *grids = drawn.subplots(1, 3, width_ratios=(2.5, 1, 0.9))
    columns = [(model, quantity) for model in MODELS for quantity in ("among", "whole")]
    shares = np.array(
        [[measured[cell(quantity, model, data)].mean for model, quantity in columns] for data in ROWS]
    )
    names = {"among": "among\nthe a's", "whole": "of all\ntokens"}
    _shaded(table, shares, list(ROWS), [names[quantity] for _, quantity in columns])
    for place, model in enumerate(MODELS):
        title = {"factorised": "W = U Vᵀ", "direct": "W free"}.get(model, model)
        table.text(2 * place + 0.5, -0.75, title, ha="center", va="bottom", fontweight="bold")
    for edge in (1.5, 3.5):
        table.axvline(edge, color="white", linewidth=4)
    table.set_title("Share of reverse questions answered, by what is taught\n\n", loc="left")
    for axes, model in zip(grids, ("factorised", "transformer"), strict=True):
        _grid(axes, measured, model)
    return drawn


def _grid(axes: "Axes", measured: Measured, model: str) -> None:
    """Among the a's with both identities, by start and weight decay."""
    before = cell("among", model, COMPLETED[0], "scale ").removesuffix("]")
    starts = [name.removeprefix(before).removesuffix("]") for name in measured if name.startswith(before)]
    found = {tuple(map(float, start.split(", decay "))): start for start in starts}
    scales, decays = (sorted({start[i] for start in found}) for i in (0, 1))
    shares = np.array(
        [[measured[f"{before}{found[scale, decay]}]"].mean for decay in decays] for scale in scales]
    )
    _shaded(axes, shares, [f"{scale:g}" for scale in scales], [f"{decay:g}" for decay in decays])
    axes.set(xlabel="weight decay", ylabel="standard deviation at the start")
    axes.set_title(f"{model}, both\nidentities, among a's", loc="left", fontsize="medium")


def _shaded(axes: "Axes", shares: np.ndarray, rows: list[str], columns: list[str]) -> None:
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1.25, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column, row, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.7 else "black"
        )
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _blocks(curves: pl.DataFrame) -> "Figure":
    """Logits of all a's (columns) after `b ←` (rows), mean of seeds; a diagonal is a completed corner."""
    from matplotlib.figure import Figure

    of_blocks = curves.filter(pl.col("quantity").str.starts_with("block "))
    drawn = Figure(figsize=(1.55 * len(ROWS), 5.6), layout="constrained")
    panels = drawn.subplots(len(MODELS), len(ROWS))
    smallest = of_blocks.filter(
        [pl.col(name) == pl.col(name).min().over("model") for name in ("scale", "decay")]
    )
    means = smallest.group_by("model", "data", "quantity").agg(pl.mean("value"))
    for line, model in zip(panels, MODELS, strict=True):
        for axes, data in zip(line, ROWS, strict=True):
            own = means.filter((pl.col("model") == model) & (pl.col("data") == data))
            at = own["quantity"].str.split(" ").list.last().cast(pl.Int64).to_numpy()
            values = own["value"].to_numpy()[np.argsort(at)]
            side = round(len(values) ** 0.5)
            largest = max(float(np.abs(values).max()), 1e-9)
            axes.imshow(values.reshape(side, side), cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(f"±{largest:.2g}", fontsize="x-small")
            if model == MODELS[0]:
                axes.set_title(data.replace(" + ", "\n+ "), fontsize="x-small")
        line[0].set_ylabel(model)
    drawn.suptitle(
        "The reverse, never taught: logits of all a's (columns) after b ← (rows), mean of seeds",
        fontsize="medium",
    )
    return drawn


def _spectrum(curves: pl.DataFrame) -> "Figure":
    """Nuclear norm through training, and the singular values of the table when both identities are taught."""
    from matplotlib.figure import Figure

    from oneway.report.palette import CYCLE

    default = curves.filter([pl.col(name) == pl.col(name).min().over("model") for name in ("scale", "decay")])
    drawn = Figure(figsize=(12, 6), layout="constrained")
    panels = drawn.subplots(2, 3, sharex="col")
    for place, model in enumerate(MODELS):
        own = default.filter(pl.col("model") == model)
        norms, singular = panels[:, place]
        for number, data in enumerate(ROWS):
            line = own.filter((pl.col("data") == data) & (pl.col("quantity") == "nuclear"))
            mean = line.group_by("step").agg(pl.mean("value")).sort("step")
            tone = CYCLE[number % len(CYCLE)].light
            style = "-" if data in COMPLETED else ":"
            norms.plot(mean["step"], mean["value"], style, color=tone, label=data, linewidth=1.8)
        taught = own.filter(
            (pl.col("data") == COMPLETED[0]) & pl.col("quantity").str.starts_with("singular ")
        )
        for _, rows in taught.group_by("quantity", maintain_order=True):
            mean = rows.group_by("step").agg(pl.mean("value")).sort("step")
            singular.plot(mean["step"], mean["value"], color="0.25", linewidth=0.9)
        norms.set(xscale="log", yscale="log", title=model)
        singular.set(xscale="log", yscale="log", xlabel="step", ylim=(1e-2, None))
    panels[0, 0].set_ylabel("nuclear norm")
    panels[1, 0].set_ylabel("singular values,\nboth identities taught")
    drawn.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return drawn
