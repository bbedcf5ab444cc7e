"""Equivariant linear maps: channels mix, components (l, m) do not."""

import torch

from mace_core.model.initial import FirstWeights
from mace_core.ops.linear import LinearMap


class Linear(torch.nn.Module):
    """One matrix for each l, applied to each m alike.

    ``weight`` [Σ_l paths · C, C] holds the matrices one after the other, rows ordered
    (l, path, channel): e3nn's flat weight of the same map. It is drawn from a unit normal, and
    multiplied by 1/√fan_in of its l when used.

    Args:
        paths_of_l: how many features of C channels stand for each l in the input, in rows ordered
            (l, m, path).
        channels: C, of each input feature and of the output.
        first: source of the first weights.
        factor: a constant that multiplies the output.
    """

    def __init__(
        self, paths_of_l: list[int], channels: int, first: FirstWeights, factor: float = 1.0
    ):
        super().__init__()
        fan_in = [paths * channels for paths in paths_of_l]
        self.map = LinearMap(
            paths_of_l, channels, channels, factors=[factor * max(n, 1) ** -0.5 for n in fan_in]
        )
        self.fan_in = fan_in
        self.weight = first.normal((sum(self.fan_in), channels))
        factors = [
            torch.full((n, 1), factor * n**-0.5, dtype=first.dtype) for n in self.fan_in if n
        ]
        self.register_buffer("factors", torch.cat(factors), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, rows, C] → [n, (l m), C]."""
        return self.map(x, self.weight)


class ElementLinear(torch.nn.Module):
    """W_z x, a matrix for each element and l; times 1/√(Z·C), as e3nn's product with a one-hot.

    ``weight`` is [l, Z, C, C], the last two axes from and to.

    Args:
        lmax: largest l that is connected.
        lmax_out: largest l of the output; zero above ``lmax``.
        channels: C.
        n_elements: Z.
        first: source of the first weights.
    """

    def __init__(
        self, lmax: int, lmax_out: int, channels: int, n_elements: int, first: FirstWeights
    ):
        super().__init__()
        self.weight = first.normal((lmax + 1, n_elements, channels, channels))
        self.factor = (n_elements * channels) ** -0.5
        self.map = LinearMap(
            [1] * (lmax + 1),
            channels,
            channels,
            (lmax_out + 1) ** 2,
            n_elements,
            [self.factor] * (lmax + 1),
        )

    def forward(self, x: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """[n_atoms, D_in, C] → [n_atoms, D_out, C]; ``counts`` atoms of each element, in order."""
        return self.map(x, self.weight, counts)
