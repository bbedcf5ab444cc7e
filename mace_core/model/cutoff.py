"""The envelope with which what an edge does goes to zero at a distance."""

import torch


def polynomial_cutoff(x: torch.Tensor, p: int) -> torch.Tensor:
    """1 at x = 0 and 0 from x = 1 on; Gasteiger et al., arXiv 2003.03123, eq. 8.

    Args:
        x: distance over the cutoff distance, any shape.
        p: order; p − 1 derivatives vanish at 0 and two at 1.
    """
    polynomial = 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x * x)
    return polynomial * (x < 1)
