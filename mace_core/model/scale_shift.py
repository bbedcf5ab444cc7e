"""The scale and the zero of interaction energies, taken from the training set."""

from collections.abc import Sequence

import torch


class ScaleShift(torch.nn.Module):
    """Interaction energies in eV: scale · x + shift, for each atom.

    Args:
        scale: of each head.
        shift: of each head, eV.
        dtype: of both.
    """

    def __init__(self, scale: Sequence[float], shift: Sequence[float], dtype: torch.dtype):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=dtype))
        self.register_buffer("shift", torch.tensor(shift, dtype=dtype))

    def forward(self, x: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """[n_atoms], and each atom's head → [n_atoms]."""
        return self.scale.index_select(0, head) * x + self.shift.index_select(0, head)
