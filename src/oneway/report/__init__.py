"""Records in, tables, figures and one page out. Never computes science."""

from oneway.report.page import Run, write_page, write_report
from oneway.report.saving import PER_FACT, SKIPPED, save_run

__all__ = ["PER_FACT", "SKIPPED", "Run", "save_run", "write_page", "write_report"]
