"""MACE: Batatia et al., arXiv 2206.07697 (design space: arXiv 2205.06643).

=====================  =====================================================================
symbol of the paper    here
=====================  =====================================================================
σ_i = (r_i, z_i, h_i)  ``graph.positions``, ``graph.species``, ``h`` [n_atoms, (l m), k]
r_ij                   ``vectors`` = r_j − r_i + S·cell, with its length ``r``
Y_lm(r̂_ij)             ``Y`` [n_edges, (l m)]                                 ``angular.py``
j_n(r_ij) f_cut(r_ij)  ``radial`` [n_edges, n]     ``radial.py``, ``cutoff.py``, ``transform.py``
R_k l1 l2 l3(r_ij)     the radial network, inside the interaction             ``radial.py``
h_i^(0)                ``node_embedding``                                     ``embedding.py``
A_i,k l3 m3            ``A``, by ``interactions[t]``                          ``interaction.py``
B_i, m_i, U_t          products, message, update: ``products[t]``             ``product.py``
E_i = Σ_t R_t(h_i^t)   ``readouts[t]``: linear, an MLP for the last           ``readout.py``
F_i, σ                 ``out.forces``, ``out.stress``                         ``derivatives.py``
=====================  =====================================================================

Beyond the paper: ``pair_repulsion`` (``zbl.py``), scale and shift, and several energies (heads).

All irreps have natural parity (−1)^l and C channels; arrays are [atoms, (l m), channels]. The
function is that of mace-torch's MACE and ScaleShiftMACE with its agnostic interaction blocks, and
its weights are mace-torch's, block by block. Its edge vectors point the other way, so features of
odd l have the opposite sign there; energies, forces and stress are the same.
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
from mace_core.model.initial import FirstWeights
from mace_core.model.interaction import BLOCKS, Interaction
from mace_core.model.layer import Layer
from mace_core.model.product import Product
from mace_core.model.radial import BASES, RadialBasis
from mace_core.model.readout import LinearReadout, MLPReadout
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
        UserError: an element without E0, or an architecture that has no such model.
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
        hidden, n_heads, n_elements = _check(a), len(self.heads), len(self.elements)
        self.default_head = _default_head(self.heads)
        # In float64 always: total energies are large, and float32 would round them to meV.
        E0 = torch.tensor(_table(E0s, self.heads, self.elements), dtype=torch.float64)
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
                MLPReadout(a.num_channels, hidden, n_heads, first)
                if last and t > 0
                else LinearReadout(a.num_channels, n_heads, first)
            )
        repulsion = ZBLRepulsion(self.elements, a.num_cutoff_basis, dtype)
        self.pair_repulsion = repulsion if a.pair_repulsion else None
        if a.model == "MACE":
            scale, shift = 1.0, 0.0
        self.scale_shift = ScaleShift(_of_heads(scale, n_heads), _of_heads(shift, n_heads), dtype)

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
        head = self._head_of_atoms(graph)
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
        edges = Edges.build(receivers, senders, graph.n_atoms)
        vectors = vectors.index_select(0, edge_order)

        r = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        Y = spherical_harmonics(self.architecture.max_ell, vectors / r)
        radial = self.radial_basis(r, (species[receivers], species[senders]))
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

    def _head_of_atoms(self, graph: Graph) -> torch.Tensor:
        """[n_atoms] index of each atom's head."""
        head = graph.frame.new_full((graph.n_frames,), -1) if graph.head is None else graph.head
        if self.default_head is not None:
            head = torch.where(head < 0, self.default_head, head)
        elif bool((head < 0).any()):
            raise UserError(
                "a frame does not say which head it wants",
                where=f"the model's heads are {', '.join(self.heads)}, none of them the default",
                mend="name one of them",
            )
        return head.index_select(0, graph.frame)


def _default_head(heads: list[str]) -> int | None:
    named = [k for k, name in enumerate(heads) if len(heads) == 1 or name.lower() == "default"]
    return named[0] if named else None


def _of_heads(value: float | Sequence[float], n_heads: int) -> list[float]:
    """One number for each head."""
    values = list(value) if isinstance(value, Sequence) else [value] * n_heads
    if len(values) != n_heads:
        raise UserError(f"{len(values)} scales or shifts for {n_heads} heads", where="model.heads")
    return [float(x) for x in values]


def _table(E0s: Mapping, heads: list[str], elements: list[int]) -> list[list[float]]:
    """[n_heads][n_elements] eV."""
    by_head = E0s if isinstance(next(iter(E0s.values()), None), Mapping) else None
    rows = []
    for head in heads:
        row = E0s if by_head is None else by_head.get(head, {})
        missing = [chemical_symbols[z] for z in elements if z not in row]
        if missing:
            raise UserError(
                f"no E0 for {', '.join(missing)}",
                where="E0s" if by_head is None else f"E0s of head {head}",
                mend="give the energy of the free atom, or data.E0s: average",
            )
        rows.append([float(row[z]) for z in elements])
    return rows


def _check(a: Model) -> int:
    """Refuses what makes no model; returns the width of a head's hidden layer in the readout."""
    if len(set(a.heads)) < len(a.heads):
        raise UserError(f"two heads of one name: {', '.join(a.heads)}", where="model.heads")
    if a.radial_type == "gaussian" and a.num_radial_basis < 2:
        raise UserError("Gaussians need num_radial_basis of at least 2", where="model")
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
