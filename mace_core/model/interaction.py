"""From node features to the A-basis: messages, and the self-connection of the update.

mace-torch's agnostic blocks: the messages do not depend on the receiver's element. They differ in
what a message is divided by, and in what the matrices of the receiver's element act on.
"""

from typing import NamedTuple

import torch

from mace_core.model.initial import FirstWeights
from mace_core.model.layer import Layer
from mace_core.model.linear import ElementLinear, Linear
from mace_core.model.radial import RadialMLP
from mace_core.ops.a_basis import Edges, Paths, a_basis


class Block(NamedTuple):
    """What tells one interaction from another.

    Attributes:
        density: messages are divided by 1 + a learnt density of neighbours, not by their mean
            number.
        residual: W_z h by-passes the product; otherwise W_z acts on the message.
    """

    density: bool
    residual: bool


BLOCKS = {
    "RealAgnosticInteractionBlock": Block(density=False, residual=False),
    "RealAgnosticResidualInteractionBlock": Block(density=False, residual=True),
    "RealAgnosticDensityInteractionBlock": Block(density=True, residual=False),
    "RealAgnosticDensityResidualInteractionBlock": Block(density=True, residual=True),
}


class Interaction(torch.nn.Module):
    """A_i = 1/n_i · W Σ_j R(r_ij) (Y(r̂_ij) ⊗ W h_j), arXiv 2206.07697, eq. 8 and 9.

    n_i is ⟨n⟩, or 1 + ρ_i.

    Args:
        block: which one, of :data:`BLOCKS`.
        layer: sizes.
        radial_widths: of the radial network, input and hidden layers.
        avg_num_neighbors: ⟨n⟩, a constant of the model.
        first: source of the first weights.
    """

    def __init__(
        self,
        block: Block,
        layer: Layer,
        radial_widths: list[int],
        avg_num_neighbors: float,
        first: FirstWeights,
    ):
        super().__init__()
        paths = Paths.build(layer.lmax_in, layer.max_ell)
        channels = layer.channels
        self.channels, self.residual = channels, block.residual
        self.n_l1 = layer.lmax_in + 1
        for l1, coupling in enumerate(paths.couplings):
            table = torch.tensor(coupling, dtype=first.dtype)
            self.register_buffer(f"coupling_{l1}", table, persistent=False)
        self.register_buffer("rows", torch.tensor(paths.rows), persistent=False)
        self.linear_up = Linear([1] * (layer.lmax_in + 1), channels, first)
        self.radial_MLP = RadialMLP([*radial_widths, len(paths.paths) * channels], first)
        factor = 1.0 if block.density else 1 / avg_num_neighbors
        self.linear = Linear(paths.of_l3, channels, first, factor)
        if block.residual:
            lmax, lmax_out = min(layer.lmax_in, layer.lmax_out), layer.lmax_out
        else:
            lmax = lmax_out = layer.max_ell
        self.skip = ElementLinear(lmax, lmax_out, channels, layer.n_elements, first)
        self.density = Density(radial_widths[0], first) if block.density else None

    def forward(
        self,
        h: torch.Tensor,
        Y: torch.Tensor,
        radial: torch.Tensor,
        edges: Edges,
        counts: list[int],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Messages and self-connection.

        Args:
            h: [n_atoms, D_in, C], atoms sorted by element.
            Y: [n_edges, D].
            radial: [n_edges or pairs, num_radial_basis].
            edges: sorted by receiver.
            counts: atoms of each element.

        Returns:
            A [n_atoms, D, C] and the self-connection [n_atoms, D_out, C], None if not residual.
        """
        R = self.radial_MLP(radial).unflatten(1, (-1, self.channels))
        couplings = [getattr(self, f"coupling_{l1}") for l1 in range(self.n_l1)]
        A = self.linear(a_basis(self.linear_up(h), Y, R, edges, couplings, self.rows))
        if self.density is not None:
            A = A / (1 + self.density(radial, edges)).unsqueeze(2)
        if self.residual:
            return A, self.skip(h, counts)
        return self.skip(A, counts), None


class Density(torch.nn.Module):
    """ρ_i = Σ_j tanh((w · radial_ij)²): smooth in the positions, unlike a number of neighbours."""

    def __init__(self, num_basis: int, first: FirstWeights):
        super().__init__()
        self.weight = first.normal((num_basis, 1))

    def forward(self, radial: torch.Tensor, edges: Edges) -> torch.Tensor:
        """[n_edges or pairs, num_basis] → [n_atoms, 1]."""
        of_edge = torch.tanh((radial @ (self.weight * len(self.weight) ** -0.5)) ** 2)
        return edges.by_receiver(edges.of_pairs(of_edge).unsqueeze(1)).sum(dim=1)
