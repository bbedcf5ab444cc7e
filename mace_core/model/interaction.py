"""From node features to the A-basis: messages, and the self-connection of the update.

mace-torch's RealAgnosticResidualInteractionBlock: the messages do not depend on the receiver's
element, and a linear map of h with weights of its element by-passes the product.
"""

import torch

from mace_core.model.initial import normal
from mace_core.model.linear import Linear
from mace_core.model.radial import RadialMLP
from mace_core.ops.a_basis import Edges, Paths, a_basis


class Interaction(torch.nn.Module):
    """A_i = 1/⟨n⟩ · W Σ_j R(r_ij) (Y(r̂_ij) ⊗ W h_j), arXiv 2206.07697, eq. 8 and 9.

    Args:
        lmax_in: largest l of the features h.
        lmax_out: largest l of the features after the product.
        max_ell: largest l of Y and of A.
        channels: C.
        n_elements: Z.
        radial_widths: of the radial network, input and hidden layers.
        avg_num_neighbors: ⟨n⟩, a constant of the model.
        generator: source of the first weights.
        dtype: of the weights.
    """

    def __init__(
        self,
        *,
        lmax_in: int,
        lmax_out: int,
        max_ell: int,
        channels: int,
        n_elements: int,
        radial_widths: list[int],
        avg_num_neighbors: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        super().__init__()
        paths = Paths.build(lmax_in, max_ell)
        self.channels = channels
        self.of_l1 = paths.of_l1
        for l1, coupling in enumerate(paths.couplings):
            table = torch.tensor(coupling, dtype=dtype)
            self.register_buffer(f"coupling_{l1}", table, persistent=False)
        self.register_buffer("rows", torch.tensor(paths.rows), persistent=False)
        self.linear_up = Linear([1] * (lmax_in + 1), channels, generator, dtype)
        self.radial_MLP = RadialMLP([*radial_widths, len(paths.paths) * channels], generator, dtype)
        self.linear = Linear(paths.of_l3, channels, generator, dtype, factor=1 / avg_num_neighbors)
        self.skip = SelfConnection(
            min(lmax_in, lmax_out), lmax_out, channels, n_elements, generator, dtype
        )

    def forward(
        self,
        h: torch.Tensor,
        Y: torch.Tensor,
        radial: torch.Tensor,
        edges: Edges,
        counts: list[int],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Messages and self-connection.

        Args:
            h: [n_atoms, D_in, C], atoms sorted by element.
            Y: [n_edges, D].
            radial: [n_edges, num_radial_basis].
            edges: sorted by receiver.
            counts: atoms of each element.

        Returns:
            A [n_atoms, D, C] and the self-connection [n_atoms, D_out, C].
        """
        R = self.radial_MLP(radial).unflatten(1, (-1, self.channels))
        R_of_l1 = [R[:, paths] for paths in self.of_l1] if len(self.of_l1) > 1 else [R]
        couplings = [getattr(self, f"coupling_{l1}") for l1 in range(len(self.of_l1))]
        A = a_basis(self.linear_up(h), Y, R_of_l1, edges, couplings, self.rows)
        return self.linear(A), self.skip(h, counts)


class SelfConnection(torch.nn.Module):
    """W_z h, a matrix for each element and l; times 1/√(Z·C), as e3nn's product with a one-hot.

    ``weight`` is [l, Z, C, C], the last two axes from and to.

    Args:
        lmax: largest l that is connected.
        lmax_out: largest l of the output; zero above ``lmax``.
        channels: C.
        n_elements: Z.
        generator: source of the first weights.
        dtype: of the weights.
    """

    def __init__(
        self,
        lmax: int,
        lmax_out: int,
        channels: int,
        n_elements: int,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.weight = normal((lmax + 1, n_elements, channels, channels), generator, dtype)
        self.factor = (n_elements * channels) ** -0.5
        self.missing_rows = (lmax_out + 1) ** 2 - (lmax + 1) ** 2

    def forward(self, h: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """[n_atoms, D_in, C] → [n_atoms, D_out, C]."""
        present = [z for z, count in enumerate(counts) if count]
        of_element = h.split([counts[z] for z in present])
        weight = self.weight * self.factor
        out = []
        for l in range(len(weight)):
            rows = slice(l * l, (l + 1) ** 2)
            parts = [x[:, rows] @ weight[l, z] for z, x in zip(present, of_element, strict=True)]
            out.append(torch.cat(parts))
        if self.missing_rows:
            out.append(h.new_zeros(len(h), self.missing_rows, h.shape[2]))
        return torch.cat(out, dim=1)
