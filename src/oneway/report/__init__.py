"""Records in, tables, figures and one page out. Never computes science."""

from oneway.report.dissection import (
    DISSECTION,
    Chart,
    Circuit,
    Dissection,
    FactPaths,
    Picture,
    Section,
    read_dissection,
    save_dissection,
)
from oneway.report.page import Run, write_page, write_report
from oneway.report.saving import PER_FACT, SKIPPED, save_run

__all__ = [
    "DISSECTION",
    "PER_FACT",
    "SKIPPED",
    "Chart",
    "Circuit",
    "Dissection",
    "FactPaths",
    "Picture",
    "Run",
    "Section",
    "read_dissection",
    "save_dissection",
    "save_run",
    "write_page",
    "write_report",
]
