"""A finished run into its folder: tables, figures, page and, last, the record."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oneway.evidence import atomic
from oneway.report.dissection import save_dissection
from oneway.report.page import Run, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_FACT, SKIPPED = "per_fact.parquet", "skipped.parquet"


def save_run(run: Run, printed: "Figure", directory: str | Path) -> Path:
    """Write the tables and figures that the record names, a dissection, report.html and record.json.

    `printed` is the picture under every name of the record's figures, as SVG or PNG by its ending. Each file is
    written atomically, the record last. Raises WriteError where the directory cannot be written.
    """
    from oneway.report.figures import picture

    directory = Path(directory)
    tables = {"per_fact": run.rows, "skipped": run.skipped, "curves": run.curves}
    for name, file in run.record.tables.items():
        if (table := tables.get(name)) is not None:
            atomic.write_with(directory / file, table.write_parquet)
    if run.dissection is not None:
        save_dissection(run.dissection, directory)
    for file in run.record.figures.values():
        atomic.write_bytes(directory / file, picture(printed, "svg" if file.endswith("svg") else "png"))
    # The page draws its own figures, which answer to the pointer.
    write_page([replace(run, record=replace(run.record, figures={}))], directory / "report.html")
    atomic.write_text(directory / "record.json", run.record.to_json())
    return directory
