"""Records in, tables, figures and one page out. Never computes science."""

from oneway.report.page import Run, write_page, write_report

__all__ = ["Run", "write_page", "write_report"]
