"""Distances measured in the size of the two atoms, before the radial basis sees them.

A pair's size comes from its covalent radii (Å), one for each element of the model. They and the
parameters are kept with the weights, so that a model does not depend on any table of today.
"""

from collections.abc import Sequence

import torch
from ase.data import covalent_radii


def radii_of(elements: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """[Z] covalent radii in Å (Cordero et al., Dalton Trans. 2008, 2832, as ASE lists them)."""
    return torch.tensor(covalent_radii[list(elements)], dtype=dtype)


class AgnesiTransform(torch.nn.Module):
    """1 / (1 + a x^q / (1 + x^(q − p))), x = r / r₀, with r₀ the mean of the covalent radii.

    Witt et al., J. Chem. Phys. 159, 164101 (2023), radial transformations of ACEpotentials.
    Falls from 1 at r = 0 towards 0.
    """

    def __init__(self, elements: Sequence[int], dtype: torch.dtype):
        super().__init__()
        self.register_buffer("covalent_radii", radii_of(elements, dtype))
        for name, value in {"q": 0.9183, "p": 4.5791, "a": 1.0805}.items():
            self.register_buffer(name, torch.tensor(value, dtype=dtype))

    def forward(self, r: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """[n_edges, 1] Å → [n_edges, 1] without unit."""
        x = r / (0.5 * _sum_of_radii(self.covalent_radii, pair))
        return 1 / (1 + self.a * x**self.q / (1 + x ** (self.q - self.p)))


class SoftTransform(torch.nn.Module):
    """p₀ + (r − p₀) (1 + tanh(α (r − m) / (p₁ − p₀))) / 2: near r where atoms do not overlap.

    p₀ and p₁ are 3/4 and 4/3 of the sum of the covalent radii, m is their mean; the result tends
    to p₀ for small r.
    """

    def __init__(self, elements: Sequence[int], dtype: torch.dtype):
        super().__init__()
        self.register_buffer("covalent_radii", radii_of(elements, dtype))
        self.register_buffer("alpha", torch.tensor(4.0, dtype=dtype))

    def forward(self, r: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """[n_edges, 1] Å → [n_edges, 1] Å."""
        size = _sum_of_radii(self.covalent_radii, pair)
        p0, p1 = 3 / 4 * size, 4 / 3 * size
        step = 0.5 * (1 + torch.tanh(self.alpha / (p1 - p0) * (r - 0.5 * (p0 + p1))))
        return p0 + (r - p0) * step


TRANSFORMS = {"Agnesi": AgnesiTransform, "Soft": SoftTransform}


def _sum_of_radii(radii: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    i, j = pair
    return (radii.index_select(0, i) + radii.index_select(0, j)).unsqueeze(1)
