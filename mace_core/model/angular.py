"""Real spherical harmonics of the edges: e3nn's, in order, axes and normalisation."""

import torch
from e3nn import o3


def spherical_harmonics(max_ell: int, directions: torch.Tensor) -> torch.Tensor:
    """Y_lm for l = 0 … ``max_ell``, with Σ_m Y_lm² = 2 l + 1.

    Args:
        max_ell: largest degree.
        directions: [n, 3] unit vectors.

    Returns:
        [n, (max_ell + 1)²].
    """
    degrees = list(range(max_ell + 1))
    return o3.spherical_harmonics(degrees, directions, normalize=False, normalization="component")
