"""MACE: Batatia et al., arXiv 2206.07697 (design space: arXiv 2205.06643).

=======================  ===================================================================
symbol of the paper      here
=======================  ===================================================================
σ_i = (r_i, z_i, h_i)    ``graph.positions``, ``graph.species``, ``h`` [n_atoms, (l m), k]
r_ij                     ``vectors`` = r_j − r_i + S·cell, with its length ``r``
Y_lm(r̂_ij)               ``Y`` [n_edges, (l m)]                               ``angular.py``
j_n(r_ij) f_cut(r_ij)    ``radial`` [n_edges, n]   ``radial.py``, ``cutoff.py``, ``transform.py``
R_k l1 l2 l3(r_ij)       ``interactions[t].radial_MLP``                       ``radial.py``
h_i^(0) = W_z            ``node_embedding``                                   ``embedding.py``
W_kk' h_j                ``interactions[t].linear_up``                        ``linear.py``
C^l3m3_l1m1l2m2          ``interactions[t].coupling_l1``                      ``ops/paths.py``
A_i,k l3m3               ``A``, by ``interactions[t]``                        ``interaction.py``
C^LM_η (generalised CG)  ``products[t].columns``, of its monomials            ``ops/coupling.py``
W_z,k η                  ``products[t].weights``, of each L and ν             ``product.py``
Σ_η W B_i,η              ``products[t].basis``, η summed at once              ``ops/b_basis.py``
m_i = W_kk' of that      ``products[t].linear``                               ``product.py``
U_t: h' = m_i + W_z h_i  ``products[t]``, with ``interactions[t].skip``       ``interaction.py``
E_i = Σ_t R_t(h_i^(t))   ``readouts[t]``: linear, an MLP for the last         ``readout.py``
E0 of z_i                ``E0``
F_i, σ                   ``out.forces``, ``out.stress``                       ``derivatives.py``
=======================  ===================================================================

Beyond the paper: ``pair_repulsion`` (``zbl.py``), scale and shift, and several energies
(``heads.py``).

All irreps have natural parity (−1)^l and C channels; arrays are [atoms, (l m), channels]. The
function is that of mace-torch's MACE and ScaleShiftMACE with its agnostic interaction blocks, and
its weights are mace-torch's, block by block. Its edge vectors point the other way, so features of
odd l have the opposite sign there; energies, forces and stress are the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mace_core.config.sections import Model
from mace_core.errors import UserError
from mace_core.model import derivatives, whole
from mace_core.model.angular import spherical_harmonics
from mace_core.model.embedding import NodeEmbedding
from mace_core.model.graph import Graph
from mace_core.model.heads import default_head, head_of_atoms, one_for_each, table_of_E0s
from mace_core.model.initial import FirstWeights
from mace_core.model.interaction import BLOCKS, Interaction
from mace_core.model.layer import Layer
from mace_core.model.product import Product
from mace_core.model.radial import BASES, RadialBasis
from mace_core.model.readout import LinearReadout, MLPReadout
from mace_core.model.scale_shift import ScaleShift
from mace_core.model.transform import TRANSFORMS
from mace_core.model.zbl import ZBLRepulsion
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


class MACE(torch.nn.Module):
    """The potential.

    Args:
        architecture: hyper-parameters.
        elements: atomic numbers; kept sorted.
        E0s: energy of each free atom, eV, by atomic number; or such a mapping for each head's name.
        avg_num_neighbors: ⟨n⟩ of the training set, normalises the messages.
        scale: of the interaction energy, eV (usual: RMS of the training forces); a number or one
            for each head. A ``model: MACE`` has neither scale nor shift: they stay 1 and 0.
        shift: of the interaction energy, eV/atom (usual: its mean over the training set); as scale.
        dtype: torch.float32 or torch.float64.
        seed: of the first weights. The same seed gives the same weights, whatever the dtype.

    Attributes:
        heads: names of the energies that the model knows.
        default_head: index of the one for frames that name none: the only one, or the one called
            "default" in any case of letters; None where there is no such head.

    Raises:
        UserError: an element without E0, MLP_irreps that are not scalars, or scales, shifts or
            E0s that do not belong to the heads.
    """

    def __init__(
        self,
        architecture: Model,
        elements: Sequence[int],
        E0s: Mapping[int, float] | Mapping[str, Mapping[int, float]],
        avg_num_neighbors: float,
        scale: float | Sequence[float] = 1.0,
        shift: float | Sequence[float] = 0.0,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ):
        super().__init__()
        a, first = architecture, FirstWeights(seed, dtype)
        self.architecture = a
        self.elements = sorted({int(z) for z in elements})
        self.avg_num_neighbors = float(avg_num_neighbors)
        self.dtype = dtype
        self.r_max = a.r_max
        self.heads = list(a.heads)
        n_heads, n_elements = len(self.heads), len(self.elements)
        self.default_head = default_head(self.heads)
        # In float64 always: total energies are large, and float32 would round them to meV.
        E0 = torch.tensor(table_of_E0s(E0s, self.heads, self.elements), dtype=torch.float64)
        self.register_buffer("E0", E0)

        transform = TRANSFORMS.get(a.distance_transform)
        self.radial_basis = RadialBasis(
            BASES[a.radial_type](a.r_max, a.num_radial_basis, dtype),
            a.num_cutoff_basis,
            a.r_max,
            transform and transform(self.elements, dtype),
        )
        self.node_embedding = NodeEmbedding(n_elements, a.num_channels, first)
        self.interactions = torch.nn.ModuleList()
        self.products = torch.nn.ModuleList()
        self.readouts = torch.nn.ModuleList()
        for t in range(a.num_interactions):
            last = t == a.num_interactions - 1
            layer = Layer(
                lmax_in=a.max_L if t > 0 else 0,
                max_ell=a.max_ell,
                lmax_out=0 if last else a.max_L,
                channels=a.num_channels,
                n_elements=n_elements,
            )
            block = BLOCKS[a.interaction if t > 0 else a.interaction_first]
            widths = [a.num_radial_basis, *a.radial_MLP]
            self.interactions.append(Interaction(block, layer, widths, avg_num_neighbors, first))
            self.products.append(Product(layer, a.correlation, first))
            # As in mace-torch, a model of one layer has a linear readout only.
            self.readouts.append(
                MLPReadout(a.num_channels, _width(a.MLP_irreps), n_heads, first)
                if last and t > 0
                else LinearReadout(a.num_channels, n_heads, first)
            )
        repulsion = ZBLRepulsion(self.elements, a.num_cutoff_basis, dtype)
        self.pair_repulsion = repulsion if a.pair_repulsion else None
        if a.model == "MACE":
            scale, shift = 1.0, 0.0
        self.scale_shift = ScaleShift(
            one_for_each(scale, self.heads), one_for_each(shift, self.heads), dtype
        )

    def forward(
        self, graph: Graph, forces: bool = True, stress: bool = False, training: bool = False
    ) -> Output:
        """Energies, forces, stress.

        Args:
            graph: frames with positions in the model's dtype.
            forces: also forces.
            stress: also stress.
            training: keep the graph, so that a loss on all outputs can be differentiated.

        Raises:
            UserError: a frame names no head and the model has no default one.
        """
        with torch.set_grad_enabled(training):
            at_once = whole.predict(self, graph, forces, stress, training)
            if at_once is not None:
                return self._with_repulsion(graph, *at_once)
        head = head_of_atoms(graph, self.heads, self.default_head)
        with torch.set_grad_enabled(training or forces or stress):
            vectors = graph.vectors().detach()
            vectors.requires_grad_(forces or stress)
            of_heads = sum(
                readout(h)
                for readout, h in zip(self.readouts, self.features(graph, vectors), strict=True)
            )  # [n_atoms, n_heads]
            site_energies = of_heads.gather(1, head.unsqueeze(1)).squeeze(1)
            if self.pair_repulsion is not None:
                r = torch.linalg.vector_norm(vectors, dim=1)
                site_energies = site_energies + self.pair_repulsion(
                    r, graph.species, graph.edge_index
                )
            interaction_energy = self.scale_shift(site_energies, head)
            node_energy = self.E0[head, graph.species] + interaction_energy
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

    def _with_repulsion(self, graph: Graph, energy, node_energy, F, virial) -> Output:
        """What one native operation found, and the repulsion, which has no weights."""
        if self.pair_repulsion is not None:
            with torch.enable_grad():
                vectors = graph.vectors().detach().requires_grad_()
                r = torch.linalg.vector_norm(vectors, dim=1)
                of_atoms = self.pair_repulsion(r, graph.species, graph.edge_index)
                of_atoms = self.scale_shift.scale * of_atoms
                D = derivatives.edge_gradient(of_atoms, vectors, training=False)
            node_energy = node_energy + of_atoms.detach()
            energy = energy.index_add(0, graph.frame, of_atoms.detach().double())
            if F is not None:
                F = F + derivatives.forces(D, graph.edge_index, graph.n_atoms)
            if virial is not None:
                virial = virial + derivatives.virial(D, vectors.detach(), graph)
        sigma = None if virial is None else derivatives.stress_of(virial, graph)
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
        species = graph.species.index_select(0, order)
        counts = torch.bincount(species, minlength=len(self.elements)).tolist()
        receivers, senders = back.index_select(0, graph.edge_index.reshape(-1)).view(2, -1)
        receivers, edge_order = torch.sort(receivers, stable=True)
        senders = senders.index_select(0, edge_order)
        # Both directions of a pair of atoms share their radial features.
        first, pair = edge_order, None
        if graph.reverse is not None:
            first, pair = graph.pairs()
            pair = pair.index_select(0, edge_order)
        edges = Edges.build(receivers, senders, graph.n_atoms, pair)

        Y = spherical_harmonics(self.architecture.max_ell, vectors.index_select(0, edge_order))
        ends = graph.species[graph.edge_index[:, first]].unbind()
        radial = self.radial_basis.of_vectors(vectors.index_select(0, first), ends)
        h = self.node_embedding(species)
        layers = []
        for interaction, product in zip(self.interactions, self.products, strict=True):
            A, self_connection = interaction(h, Y, radial, edges, counts)
            h = product(A, self_connection, counts)
            layers.append(h.index_select(0, back))
        return layers

    def descriptors(self, graph: Graph, invariants_only: bool = True) -> torch.Tensor:
        """Node features of all layers, one after the other.

        Args:
            graph: frames.
            invariants_only: those of l = 0; otherwise all, in layout and sign those of mace-torch
                (``node_feats``): ordered (layer, l, channel, m).

        Returns:
            [n_atoms, num_interactions · C], or with all l [n_atoms, Σ_t (lmax_t + 1)² C].
        """
        with torch.no_grad():
            layers = self.features(graph, graph.vectors())
            if invariants_only:
                return torch.cat([h[:, 0] for h in layers], dim=1)
            parts = []
            for h in layers:
                for l in range(round(h.shape[1] ** 0.5)):
                    of_l = h[:, l * l : (l + 1) ** 2].transpose(1, 2)
                    parts.append((-1) ** l * of_l.flatten(1))
            return torch.cat(parts, dim=1)


def _width(MLP_irreps: str) -> int:
    """Hidden units of a head's readout; refuses what is not a sum of scalars."""
    scalars = [re.fullmatch(r"\s*(?:(\d+)x)?0e\s*", part) for part in MLP_irreps.split("+")]
    width = sum(int(part[1] or 1) for part in scalars) if all(scalars) else 0
    if width == 0:
        raise UserError(
            f"MLP_irreps must be scalars, got {MLP_irreps!r}", where="model", mend="e.g. 16x0e"
        )
    return width
