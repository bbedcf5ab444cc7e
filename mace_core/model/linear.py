"""Equivariant linear maps: channels mix, components (l, m) do not."""

import torch

from mace_core.model.initial import FirstWeights


class Linear(torch.nn.Module):
    """One matrix for each l, applied to each m alike.

    ``weight`` [Σ_l paths · C, C] holds the matrices one after the other, rows ordered
    (l, path, channel): e3nn's flat weight of the same map. It is drawn from a unit normal, and
    multiplied by 1/√fan_in of its l when used.

    Args:
        paths_of_l: how many features of C channels stand for each l in the input, in rows ordered
            (l, m, path).
        channels: C, of each input feature and of the output.
        first: source of the first weights.
        factor: a constant that multiplies the output.
    """

    def __init__(
        self, paths_of_l: list[int], channels: int, first: FirstWeights, factor: float = 1.0
    ):
        super().__init__()
        self.fan_in = [paths * channels for paths in paths_of_l]
        self.rows = [(2 * l + 1) * paths for l, paths in enumerate(paths_of_l)]
        self.weight = first.normal((sum(self.fan_in), channels))
        factors = [
            torch.full((n, 1), factor * n**-0.5, dtype=first.dtype) for n in self.fan_in if n
        ]
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


class ElementLinear(torch.nn.Module):
    """W_z x, a matrix for each element and l; times 1/√(Z·C), as e3nn's product with a one-hot.

    ``weight`` is [l, Z, C, C], the last two axes from and to.

    Args:
        lmax: largest l that is connected.
        lmax_out: largest l of the output; zero above ``lmax``.
        channels: C.
        n_elements: Z.
        first: source of the first weights.
    """

    def __init__(
        self, lmax: int, lmax_out: int, channels: int, n_elements: int, first: FirstWeights
    ):
        super().__init__()
        self.weight = first.normal((lmax + 1, n_elements, channels, channels))
        self.factor = (n_elements * channels) ** -0.5
        self.missing_rows = (lmax_out + 1) ** 2 - (lmax + 1) ** 2

    def forward(self, x: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """[n_atoms, D_in, C] → [n_atoms, D_out, C]; ``counts`` atoms of each element, in order."""
        present = [z for z, count in enumerate(counts) if count]
        of_element = x.split([counts[z] for z in present])
        weight = self.weight[:, present] * self.factor
        out = []
        for l, matrices in enumerate(weight):
            rows = slice(l * l, (l + 1) ** 2)
            parts = [x_z[:, rows] @ W for x_z, W in zip(of_element, matrices, strict=True)]
            out.append(torch.cat(parts))
        if self.missing_rows:
            out.append(x.new_zeros(len(x), self.missing_rows, x.shape[2]))
        return torch.cat(out, dim=1)
