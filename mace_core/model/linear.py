"""Equivariant linear maps: channels mix, components (l, m) do not."""

import torch

from mace_core.model.initial import normal


class Linear(torch.nn.Module):
    """One matrix for each l, applied to each m alike.

    ``weight`` [Σ_l paths · C, C] holds the matrices one after the other, rows ordered
    (l, path, channel): e3nn's flat weight of the same map. It is drawn from a unit normal, and
    multiplied by 1/√fan_in of its l when used.

    Args:
        paths_of_l: how many features of C channels stand for each l in the input, in rows ordered
            (l, m, path).
        channels: C, of each input feature and of the output.
        generator: source of the first weights.
        dtype: of the weights.
        factor: a constant that multiplies the output.
    """

    def __init__(
        self,
        paths_of_l: list[int],
        channels: int,
        generator: torch.Generator,
        dtype: torch.dtype,
        factor: float = 1.0,
    ):
        super().__init__()
        self.fan_in = [paths * channels for paths in paths_of_l]
        self.rows = [(2 * l + 1) * paths for l, paths in enumerate(paths_of_l)]
        self.weight = normal((sum(self.fan_in), channels), generator, dtype)
        factors = [torch.full((n, 1), factor * n**-0.5, dtype=dtype) for n in self.fan_in if n]
        self.register_buffer("factors", torch.cat(factors), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, rows, C] → [n, (l m), C]."""
        matrices = (self.weight * self.factors).split(self.fan_in)
        parts = [
            part.unflatten(1, (2 * l + 1, -1)).flatten(2) @ matrix
            for l, (part, matrix) in enumerate(
                zip(x.split(self.rows, dim=1), matrices, strict=True)
            )
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
