"""Radial functions R(r): a fixed basis with a smooth cutoff, mixed by a small network.

The network is the learnable radial part of arXiv 2206.07697, eq. 8.
"""

import math
from itertools import pairwise

import torch

from mace_core.model.cutoff import polynomial_cutoff
from mace_core.model.initial import FirstWeights
from mace_core.ops.distance import Bessel, of_distance
from mace_core.ops.radial_mlp import radial_mlp

#: 1/√⟨silu(x)²⟩ for normal x: keeps activations at unit variance. The value is the one in
#: mace-torch's models (e3nn's normalize2mom, a mean over a million draws).
SILU_FACTOR = 1.6791767923989418


class BesselBasis(torch.nn.Module):
    """√(2/r_max) sin(n π r / r_max)/r for n = 1 …; Gasteiger et al., arXiv 2003.03123, eq. 7."""

    def __init__(self, r_max: float, num_basis: int, dtype: torch.dtype):
        super().__init__()
        self.prefactor = math.sqrt(2 / r_max)
        frequencies = torch.arange(1, num_basis + 1, dtype=torch.float64) * (math.pi / r_max)
        self.register_buffer("frequencies", frequencies.to(dtype), persistent=False)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """[n, 1] → [n, num_basis]."""
        return torch.sin(r * self.frequencies) * (self.prefactor / r)


class GaussianBasis(torch.nn.Module):
    """exp(−(r − r_n)² / 2 d²), centres r_n from 0 to r_max at distances d."""

    def __init__(self, r_max: float, num_basis: int, dtype: torch.dtype):
        super().__init__()
        self.coefficient = -0.5 / (r_max / (num_basis - 1)) ** 2
        centres = torch.linspace(0, r_max, num_basis, dtype=torch.float64)
        self.register_buffer("centres", centres.to(dtype), persistent=False)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """[n, 1] → [n, num_basis]."""
        return torch.exp(self.coefficient * (r - self.centres) ** 2)


class ChebyshevBasis(torch.nn.Module):
    """T_n(r) for n = 1 …, of the distance itself, as in mace-torch.

    Beyond 1 these grow like (2 r)ⁿ/2: meant for a transformed distance, which lies below 1.
    Energies are those of mace-torch; forces and stress are not, because mace-torch 0.3.16 leaves
    the derivative of T_n out of them (torch.special.chebyshev_polynomial_t has none).
    """

    def __init__(self, r_max: float, num_basis: int, dtype: torch.dtype):
        super().__init__()
        self.num_basis = num_basis

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """[n, 1] → [n, num_basis]."""
        T = [torch.ones_like(r), r]
        while len(T) <= self.num_basis:
            T.append(2 * r * T[-1] - T[-2])
        return torch.cat(T[1:], dim=1)


BASES = {"bessel": BesselBasis, "gaussian": GaussianBasis, "chebyshev": ChebyshevBasis}


class RadialBasis(torch.nn.Module):
    """The basis of the (transformed) distance, times a polynomial in the distance.

    Args:
        basis: one of :data:`BASES`.
        p: order of the cutoff.
        r_max: cutoff, Å.
        transform: of distances before the basis, see :mod:`mace_core.model.transform`; or None.
    """

    def __init__(
        self,
        basis: torch.nn.Module,
        p: int,
        r_max: float,
        transform: torch.nn.Module | None = None,
    ):
        super().__init__()
        self.basis, self.transform = basis, transform
        self.p, self.r_max = p, r_max
        self.bessel = None
        if isinstance(basis, BesselBasis) and transform is None:
            self.bessel = Bessel(r_max, len(basis.frequencies), p)

    def forward(
        self, r: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Radial features of edges.

        Args:
            r: [n_edges, 1] Å.
            pair: elements of receivers and senders, indices [n_edges] each; for transforms only.

        Returns:
            [n_edges, num_basis].
        """
        x = r if self.transform is None else self.transform(r, pair)
        return self.basis(x) * polynomial_cutoff(r / self.r_max, self.p)

    def of_vectors(
        self, vectors: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """The same of the lengths of vectors [n, 3]."""
        return of_distance(lambda r: self(r, pair), vectors, self.bessel)


class RadialMLP(torch.nn.Module):
    """Layers of SiLU without bias, weights times 1/√fan_in; the last layer is linear.

    Args:
        widths: of input, hidden layers and output.
        first: source of the first weights.
    """

    def __init__(self, widths: list[int], first: FirstWeights):
        super().__init__()
        self.weights = torch.nn.ParameterList(first.normal((n, m)) for n, m in pairwise(widths))
        first_width, *hidden = widths[:-1]
        self.factors = (first_width**-0.5, *(SILU_FACTOR * n**-0.5 for n in hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n_edges, widths[0]] → [n_edges, widths[-1]]."""
        return radial_mlp(x, list(self.weights), self.factors)
