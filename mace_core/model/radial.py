"""Radial functions R(r): a Bessel basis with a smooth cutoff, mixed by a small network.

Gasteiger et al., arXiv 2003.03123, eq. 7 (Bessel basis) and 8 (polynomial cutoff); the network is
the learnable radial part of arXiv 2206.07697, eq. 8.
"""

import math
from itertools import pairwise

import torch

from mace_core.model.initial import normal

#: 1/√⟨silu(x)²⟩ for normal x: keeps activations at unit variance. The value is the one in
#: mace-torch's models (e3nn's normalize2mom, a mean over a million draws).
SILU_FACTOR = 1.6791767923989418


class RadialBasis(torch.nn.Module):
    """√(2/r_max) sin(n π r / r_max)/r times a polynomial that is 1 at 0 and 0 from r_max on.

    Args:
        r_max: cutoff, Å.
        num_basis: n = 1 … num_basis.
        p: order of the cutoff; p − 1 derivatives vanish at 0 and two at r_max.
        dtype: of the basis.
    """

    def __init__(self, r_max: float, num_basis: int, p: int, dtype: torch.dtype):
        super().__init__()
        self.r_max, self.p = r_max, p
        frequencies = torch.arange(1, num_basis + 1, dtype=torch.float64) * (math.pi / r_max)
        self.register_buffer("frequencies", frequencies.to(dtype), persistent=False)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """[n_edges, 1] lengths in Å → [n_edges, num_basis]."""
        p, x = self.p, r / self.r_max
        polynomial = 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x * x)
        cutoff = polynomial * (x < 1)
        return torch.sin(r * self.frequencies) * (cutoff * math.sqrt(2 / self.r_max) / r)


class RadialMLP(torch.nn.Module):
    """Layers of SiLU without bias, weights times 1/√fan_in; the last layer is linear.

    Args:
        widths: of input, hidden layers and output.
        generator: source of the first weights.
        dtype: of the weights.
    """

    def __init__(self, widths: list[int], generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        self.weights = torch.nn.ParameterList(
            normal((n, m), generator, dtype) for n, m in pairwise(widths)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n_edges, widths[0]] → [n_edges, widths[-1]]."""
        *hidden, last = self.weights
        factor = 1.0
        for weight in hidden:
            x = torch.nn.functional.silu(x @ (weight * (factor / len(weight) ** 0.5)))
            factor = SILU_FACTOR
        return x @ (last * (factor / len(last) ** 0.5))
