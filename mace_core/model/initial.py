"""First weights: reproducible, and the same numbers in every precision."""

import torch


class FirstWeights:
    """Draws the parameters of a new model, one after the other, from one seed.

    Args:
        seed: of all draws.
        dtype: of the parameters; the draws are made in float64 and then rounded.
    """

    def __init__(self, seed: int, dtype: torch.dtype):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def normal(self, shape: tuple[int, ...], std: float = 1.0) -> torch.nn.Parameter:
        """A parameter with normally distributed entries."""
        values = torch.randn(shape, generator=self.generator, dtype=torch.float64) * std
        return torch.nn.Parameter(values.to(self.dtype))
