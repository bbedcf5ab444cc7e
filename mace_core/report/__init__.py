"""The campaign's report: one HTML file that needs nothing else, and the tables behind it."""

from mace_core.report.page import write_report

__all__ = ["write_report"]
