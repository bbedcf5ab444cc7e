"""MACE: Batatia et al., arXiv 2206.07697 (design space: arXiv 2205.06643).

=====================  =====================================================================
symbol of the paper    here
=====================  =====================================================================
σ_i = (r_i, z_i, h_i)  ``graph.positions``, ``graph.species``, ``h`` [n_atoms, (l m), k]
r_ij                   ``vectors`` = r_j − r_i + S·cell, with its length ``r``
Y_lm(r̂_ij)             ``Y`` [n_edges, (l m)]                                 ``angular.py``
j_n(r_ij) f_cut(r_ij)  ``radial`` [n_edges, n]                                ``radial.py``
R_k l1 l2 l3(r_ij)     the radial network, inside the interaction             ``radial.py``
h_i^(0)                ``node_embedding``                                     ``embedding.py``
A_i,k l3 m3            ``A``, by ``interactions[t]``                          ``interaction.py``
B_i, m_i, U_t          products, message, update: ``products[t]``             ``product.py``
E_i = Σ_t R_t(h_i^t)   ``readouts[t]``: linear, an MLP for the last           ``readout.py``
F_i, σ                 ``out.forces``, ``out.stress``                         ``derivatives.py``
=====================  =====================================================================

All irreps have natural parity (−1)^l and C channels; arrays are [atoms, (l m), channels]. The
function is mace-torch's ScaleShiftMACE with RealAgnosticResidualInteractionBlock in all layers,
and its weights are mace-torch's, block by block. Its edge vectors point the other way, so features
of odd l have the opposite sign there; energies, forces and stress are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from ase.data import chemical_symbols
from e3nn import o3

from mace_core.config.sections import Model
from mace_core.errors import UserError
from mace_core.model import derivatives
from mace_core.model.angular import spherical_harmonics
from mace_core.model.embedding import NodeEmbedding
from mace_core.model.graph import Graph
from mace_core.model.interaction import Interaction
from mace_core.model.product import Product
from mace_core.model.radial import RadialBasis
from mace_core.model.readout import LinearReadout, MLPReadout
from mace_core.ops.a_basis import Edges


@dataclass(frozen=True)
class Output:
    """What a model says about a graph.

    Attributes:
        energy: [n_frames] eV, float64 in every precision: E0s can be large.
        node_energy: [n_atoms] eV, float64; sums to ``energy``.
        forces: [n_atoms, 3] eV/Å, or None.
        stress: [n_frames, 3, 3] eV/Å³, 0 for frames that are not fully periodic, or None.
    """

    energy: torch.Tensor
    node_energy: torch.Tensor
    forces: torch.Tensor | None
    stress: torch.Tensor | None


class ScaleShift(torch.nn.Module):
    """Interaction energies in eV: scale · x + shift, for each atom."""

    def __init__(self, scale: float, shift: float, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("scale", torch.tensor([scale], dtype=dtype))
        self.register_buffer("shift", torch.tensor([shift], dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x + self.shift


class MACE(torch.nn.Module):
    """The potential.

    Args:
        architecture: hyper-parameters.
        elements: atomic numbers; kept sorted.
        E0s: energy of each free atom, eV, by atomic number.
        avg_num_neighbors: ⟨n⟩ of the training set, normalises the messages.
        scale: of the interaction energy, eV (usual: RMS of the training forces).
        shift: of the interaction energy, eV/atom (usual: its mean over the training set).
        dtype: torch.float32 or torch.float64.
        seed: of the first weights. The same seed gives the same weights, whatever the dtype.

    Raises:
        UserError: an element without E0, or an architecture that has no such model.
    """

    def __init__(
        self,
        architecture: Model,
        elements: Sequence[int],
        E0s: Mapping[int, float],
        avg_num_neighbors: float,
        scale: float = 1.0,
        shift: float = 0.0,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ):
        super().__init__()
        a, generator = architecture, torch.Generator().manual_seed(seed)
        self.architecture = a
        self.elements = sorted({int(z) for z in elements})
        self.avg_num_neighbors = float(avg_num_neighbors)
        self.dtype = dtype
        self.r_max = a.r_max
        hidden = _check(a, self.elements, E0s)
        # In float64 always: total energies are large, and float32 would round them to meV.
        E0 = torch.tensor([float(E0s[z]) for z in self.elements], dtype=torch.float64)
        self.register_buffer("E0", E0)
        common = {
            "max_ell": a.max_ell,
            "channels": a.num_channels,
            "n_elements": len(self.elements),
            "generator": generator,
            "dtype": dtype,
        }
        self.radial_basis = RadialBasis(a.r_max, a.num_radial_basis, a.num_cutoff_basis, dtype)
        self.node_embedding = NodeEmbedding(len(self.elements), a.num_channels, generator, dtype)
        self.interactions = torch.nn.ModuleList()
        self.products = torch.nn.ModuleList()
        self.readouts = torch.nn.ModuleList()
        for t in range(a.num_interactions):
            last = t == a.num_interactions - 1
            lmax_in = a.max_L if t > 0 else 0
            lmax_out = 0 if last else a.max_L
            self.interactions.append(
                Interaction(
                    lmax_in=lmax_in,
                    lmax_out=lmax_out,
                    radial_widths=[a.num_radial_basis, *a.radial_MLP],
                    avg_num_neighbors=avg_num_neighbors,
                    **common,
                )
            )
            self.products.append(Product(lmax_out=lmax_out, correlation=a.correlation, **common))
            # As in mace-torch, a model of one layer has a linear readout only.
            self.readouts.append(
                MLPReadout(a.num_channels, hidden, generator, dtype)
                if last and t > 0
                else LinearReadout(a.num_channels, generator, dtype)
            )
        self.scale_shift = ScaleShift(scale, shift, dtype)

    def forward(
        self, graph: Graph, forces: bool = True, stress: bool = False, training: bool = False
    ) -> Output:
        """Energies, forces, stress.

        Args:
            graph: frames with positions in the model's dtype.
            forces: also forces.
            stress: also stress.
            training: keep the graph, so that a loss on all outputs can be differentiated.
        """
        with torch.set_grad_enabled(training or forces or stress):
            vectors = graph.vectors().detach()
            vectors.requires_grad_(forces or stress)
            site_energies = sum(
                readout(h)
                for readout, h in zip(self.readouts, self.features(graph, vectors), strict=True)
            )
            interaction_energy = self.scale_shift(site_energies)
            node_energy = self.E0.index_select(0, graph.species) + interaction_energy
            energy = node_energy.new_zeros(graph.n_frames).index_add(0, graph.frame, node_energy)
            F = sigma = None
            if forces or stress:
                D = derivatives.edge_gradient(interaction_energy, vectors, training)
                if forces:
                    F = derivatives.forces(D, graph.edge_index, graph.n_atoms)
                if stress:
                    sigma = derivatives.stress(D, vectors.detach(), graph)
        if not training:
            energy, node_energy = energy.detach(), node_energy.detach()
        return Output(energy, node_energy, F, sigma)

    def features(self, graph: Graph, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Node features after each layer.

        Args:
            graph: frames.
            vectors: [n_edges, 3] r_ij, Å.

        Returns:
            one [n_atoms, (l m), C] a layer; the last has l = 0 only.
        """
        # Atoms sorted by element make the elements' weights plain matrix products, edges sorted by
        # receiver make the sum over neighbours one.
        order = torch.argsort(graph.species, stable=True)
        back = torch.argsort(order)
        counts = torch.bincount(graph.species, minlength=len(self.elements)).tolist()
        receivers, senders = back.index_select(0, graph.edge_index.reshape(-1)).view(2, -1)
        receivers, edge_order = torch.sort(receivers, stable=True)
        edges = Edges.build(receivers, senders.index_select(0, edge_order), graph.n_atoms)
        vectors = vectors.index_select(0, edge_order)

        r = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        Y = spherical_harmonics(self.architecture.max_ell, vectors / r)
        radial = self.radial_basis(r)
        h = self.node_embedding(graph.species.index_select(0, order))
        layers = []
        for interaction, product in zip(self.interactions, self.products, strict=True):
            A, self_connection = interaction(h, Y, radial, edges, counts)
            h = product(A, self_connection, counts)
            layers.append(h.index_select(0, back))
        return layers

    def descriptors(self, graph: Graph) -> torch.Tensor:
        """[n_atoms, num_interactions · C]: the invariant features of all layers."""
        with torch.no_grad():
            layers = self.features(graph, graph.vectors())
            return torch.cat([h[:, 0] for h in layers], dim=1)


def _check(a: Model, elements: list[int], E0s: Mapping[int, float]) -> int:
    """Refuses what makes no model; returns the width of the last readout's hidden layer."""
    missing = [chemical_symbols[z] for z in elements if z not in E0s]
    if missing:
        raise UserError(
            f"no E0 for {', '.join(missing)}",
            where="E0s",
            mend="give the energy of the free atom, or data.E0s: average",
        )
    try:
        irreps = o3.Irreps(a.MLP_irreps)
    except ValueError:
        irreps = o3.Irreps()
    if irreps.dim == 0 or irreps.dim != irreps.count("0e"):
        raise UserError(
            f"MLP_irreps must be scalars, got {a.MLP_irreps!r}", where="model", mend="e.g. 16x0e"
        )
    if a.num_interactions > 1 and a.max_L > a.max_ell * a.correlation:
        raise UserError(
            f"max_L {a.max_L} cannot be reached with max_ell {a.max_ell} and correlation "
            f"{a.correlation}",
            where="model",
            mend="lower max_L or raise max_ell",
        )
    return irreps.dim
