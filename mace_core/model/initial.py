"""First weights: reproducible, and the same numbers in every precision."""

import torch


def normal(
    shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype, std: float = 1.0
) -> torch.nn.Parameter:
    """A parameter drawn from a normal distribution in float64 and then rounded to ``dtype``."""
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * std
    return torch.nn.Parameter(values.to(dtype))
