"""Real spherical harmonics of the edges: e3nn's, in order, axes and normalisation."""

from mace_core.ops.harmonics import spherical_harmonics

__all__ = ["spherical_harmonics"]
