"""From node features to site energies (arXiv 2206.07697, eq. 13), one for each head.

A head is one of several energies that a model learns at once, such as two levels of theory.
"""

import torch

from mace_core.model.initial import FirstWeights
from mace_core.model.radial import SILU_FACTOR
from mace_core.ops.radial_mlp import radial_mlp


class LinearReadout(torch.nn.Module):
    """A linear map of the invariant features: all layers but the last."""

    def __init__(self, channels: int, n_heads: int, first: FirstWeights):
        super().__init__()
        self.weight = first.normal((channels, n_heads))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """[n_atoms, D, C] → [n_atoms, n_heads]; reads l = 0 only."""
        return radial_mlp(h[:, 0], self.weights(), self.factors())

    def weights(self) -> list[torch.Tensor]:
        """As :func:`radial_mlp` takes them."""
        return [self.weight]

    def factors(self) -> list[float]:
        """By which the weights are multiplied."""
        return [len(self.weight) ** -0.5]


class MLPReadout(torch.nn.Module):
    """One hidden layer of SiLU: the last layer. Each head has hidden units of its own.

    ``weight_1`` [C, n_heads · H] and ``weight_2`` [n_heads · H, n_heads], hidden units ordered
    (head, unit). Of the second only the blocks from a head's units to that head act; the rest is
    there as in mace-torch, and so is its normalisation by all units.

    Args:
        channels: C.
        hidden: H, hidden units of each head.
        n_heads: number of heads.
        first: source of the first weights.
    """

    def __init__(self, channels: int, hidden: int, n_heads: int, first: FirstWeights):
        super().__init__()
        self.n_heads = n_heads
        self.weight_1 = first.normal((channels, n_heads * hidden))
        self.weight_2 = first.normal((n_heads * hidden, n_heads))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """[n_atoms, D, C] → [n_atoms, n_heads]; reads l = 0 only."""
        factors = self.factors()
        if self.n_heads == 1:
            return radial_mlp(h[:, 0], self.weights(), factors)
        hidden = torch.nn.functional.silu(h[:, 0] @ (self.weight_1 * factors[0]))
        weight = self.weight_2 * factors[1]
        own = weight.unflatten(0, (self.n_heads, -1)).diagonal(dim1=0, dim2=2)  # [H, n_heads]
        return torch.einsum("nhu,uh->nh", hidden.unflatten(1, (self.n_heads, -1)), own)

    def weights(self) -> list[torch.Tensor]:
        """As :func:`radial_mlp` takes them where there is one head."""
        return [self.weight_1, self.weight_2]

    def factors(self) -> list[float]:
        """By which the weights are multiplied."""
        return [len(self.weight_1) ** -0.5, SILU_FACTOR * len(self.weight_2) ** -0.5]
