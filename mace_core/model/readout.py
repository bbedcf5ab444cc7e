"""From node features to site energies (arXiv 2206.07697, eq. 13)."""

import torch

from mace_core.model.initial import normal
from mace_core.model.radial import SILU_FACTOR


class LinearReadout(torch.nn.Module):
    """A linear map of the invariant features: all layers but the last."""

    def __init__(self, channels: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        self.weight = normal((channels, 1), generator, dtype)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """[n_atoms, D, C] → [n_atoms]; reads l = 0 only."""
        return (h[:, 0] @ (self.weight * len(self.weight) ** -0.5)).squeeze(1)


class MLPReadout(torch.nn.Module):
    """One hidden layer of SiLU: the last layer."""

    def __init__(self, channels: int, hidden: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        self.weight_1 = normal((channels, hidden), generator, dtype)
        self.weight_2 = normal((hidden, 1), generator, dtype)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """[n_atoms, D, C] → [n_atoms]; reads l = 0 only."""
        hidden = h[:, 0] @ (self.weight_1 * len(self.weight_1) ** -0.5)
        hidden = torch.nn.functional.silu(hidden)
        return (hidden @ (self.weight_2 * (SILU_FACTOR * len(self.weight_2) ** -0.5))).squeeze(1)
