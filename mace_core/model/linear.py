"""Equivariant linear maps: channels mix, components (l, m) do not."""

import torch

from mace_core.model.initial import normal


class Linear(torch.nn.Module):
    """One matrix for each l, applied to each m alike.

    Weights are e3nn's: drawn from a unit normal, multiplied by 1/√fan_in when used.

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
        self.weights = torch.nn.ParameterList(
            normal((paths * channels, channels), generator, dtype) for paths in paths_of_l
        )
        self.factors = [factor / max(1, paths * channels) ** 0.5 for paths in paths_of_l]
        self.rows = [(2 * l + 1) * paths for l, paths in enumerate(paths_of_l)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, rows, C] → [n, (l m), C]."""
        return torch.cat(
            [
                part.reshape(len(x), 2 * l + 1, len(weight)) @ (weight * factor)
                for l, (part, weight, factor) in enumerate(
                    zip(x.split(self.rows, dim=1), self.weights, self.factors, strict=True)
                )
            ],
            dim=1,
        )
