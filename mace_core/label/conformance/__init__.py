"""Whether a labeller can be trusted: checks that go through the code that labels."""

from mace_core.label.conformance.findings import Finding, Verdict
from mace_core.label.conformance.table import CHECKS, check_labeller

__all__ = ["CHECKS", "Finding", "Verdict", "check_labeller"]
