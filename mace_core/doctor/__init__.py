"""`maceloop doctor`: what is missing or wrong, one label end to end, and the campaign's cost."""

from mace_core.doctor.examination import examine

__all__ = ["examine"]
