"""The training set of a generation."""

from mace_core.dataset.build import build_dataset, mean_neighbours

__all__ = ["build_dataset", "mean_neighbours"]
