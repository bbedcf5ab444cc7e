"""Real spherical harmonics of the edges, in e3nn's order, axes and normalisation.

Y_l follows from Y_{l−1} by coupling one more factor of the direction, Y_l ∝ [Y_{l−1} ⊗ r̂]_l, with
the same Clebsch–Gordan coefficients as the rest of the model: one matrix product for each l, and
no convention but that of :mod:`mace_core.ops.clebsch_gordan`.
"""

import functools

import torch

from mace_core.ops.clebsch_gordan import clebsch_gordan


def spherical_harmonics(max_ell: int, directions: torch.Tensor) -> torch.Tensor:
    """Y_lm for l = 0 … ``max_ell``, with Σ_m Y_lm² = 2 l + 1.

    Args:
        max_ell: largest degree.
        directions: [n, 3] unit vectors.

    Returns:
        [n, (max_ell + 1)²].
    """
    Y = [torch.ones_like(directions[:, :1])]
    for l in range(1, max_ell + 1):
        step = _step(l, directions.dtype, directions.device)
        Y.append((Y[-1].unsqueeze(2) * directions.unsqueeze(1)).flatten(1) @ step)
    return torch.cat(Y, dim=1)


@functools.cache
def _step(l: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[(2 l − 1) · 3, 2 l + 1], from Y_{l−1} ⊗ r̂ to Y_l."""
    cg = clebsch_gordan(l - 1, 1, l)
    # Along the polar axis only m = 0 is not zero, and it is √(2 l + 1).
    factor = ((2 * l + 1) / (2 * l - 1)) ** 0.5 / cg[l - 1, 1, l]
    return torch.tensor(cg.reshape(-1, 2 * l + 1) * factor, dtype=dtype, device=device)
