"""Atoms and their neighbours as tensors, and several frames as one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from mace_core.errors import UserError
from mace_core.neighbours import neighbours


@dataclass(frozen=True)
class Graph:
    """One frame, or several side by side.

    Attributes:
        positions: [n_atoms, 3] Å.
        species: [n_atoms] index of each atom's element in the model's list.
        edge_index: [2, n_edges]: i receives, j sends; sorted by i within a frame.
        unit_shifts: [n_edges, 3] S, so that r_ij = r_j − r_i + S·cell.
        cell: [n_frames, 3, 3] rows are lattice vectors, Å.
        periodic: [n_frames] bool: periodic in all three directions, so that stress is defined.
        frame: [n_atoms] which frame an atom belongs to.
        head: [n_frames] index of the model's head that is asked for each frame, −1 for its default
            one; None: the default one for all.
        reverse: [n_edges] which edge is the same pair of atoms, seen from the other; None: unknown.
    """

    positions: torch.Tensor
    species: torch.Tensor
    edge_index: torch.Tensor
    unit_shifts: torch.Tensor
    cell: torch.Tensor
    periodic: torch.Tensor
    frame: torch.Tensor
    head: torch.Tensor | None = None
    reverse: torch.Tensor | None = None

    @property
    def n_atoms(self) -> int:
        return len(self.positions)

    @property
    def n_frames(self) -> int:
        return len(self.cell)

    @property
    def n_edges(self) -> int:
        return self.edge_index.shape[1]

    def atoms_per_frame(self) -> torch.Tensor:
        """[n_frames] number of atoms."""
        return torch.bincount(self.frame, minlength=self.n_frames)

    def vectors(self) -> torch.Tensor:
        """[n_edges, 3] r_ij = r_j − r_i + S·cell, Å."""
        receivers, senders = self.edge_index
        cell = self.cell.index_select(0, self.frame.index_select(0, receivers))
        shift = torch.bmm(self.unit_shifts.unsqueeze(1), cell).squeeze(1)
        r = self.positions
        return r.index_select(0, senders) - r.index_select(0, receivers) + shift

    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What depends on a pair's distance alone needs to be computed once for both directions.

        Returns:
            [n_pairs] the first edge of each pair; [n_edges] which pair an edge belongs to.
        """
        is_first = torch.arange(self.n_edges, device=self.reverse.device) < self.reverse
        number = is_first.cumsum(0) - 1
        pair = torch.where(is_first, number, number.index_select(0, self.reverse))
        return is_first.nonzero().squeeze(1), pair

    def volume(self) -> torch.Tensor:
        """[n_frames] Å³; infinite where the frame is not periodic in all directions."""
        volume = torch.linalg.det(self.cell).abs()
        return torch.where(self.periodic, volume, torch.inf)

    def to(self, device: str | torch.device) -> "Graph":
        """The same graph on a device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: t.to(device) for n, t in tensors.items() if t is not None})


def species_of(numbers: np.ndarray, elements: Sequence[int]) -> np.ndarray:
    """Index in ``elements`` of each atomic number.

    Raises:
        UserError: an element is not among ``elements``.
    """
    index = np.full(len(chemical_symbols) + 1, -1)
    index[list(elements)] = np.arange(len(elements))
    species = index[numbers]
    if (species < 0).any():
        unknown = sorted({int(z) for z in np.asarray(numbers)[species < 0]})
        raise UserError(
            f"the model does not know {', '.join(chemical_symbols[z] for z in unknown)}",
            where=f"it was made for {', '.join(chemical_symbols[z] for z in elements)}",
            mend="train it on data with these elements, or leave such frames out",
        )
    return species


def reverse_edges(edge_index: np.ndarray, unit_shifts: np.ndarray) -> np.ndarray | None:
    """[n_edges] the number of edge (j, i, −S) for each edge (i, j, S); None if some have none."""
    (i, j), (x, y, z) = edge_index, unit_shifts.T
    order, back = np.lexsort((z, y, x, j, i)), np.lexsort((-z, -y, -x, i, j))
    same = [(i, j), (j, i), (x, -x), (y, -y), (z, -z)]
    if not all(np.array_equal(there[order], here[back]) for there, here in same):
        return None
    reverse = np.empty(len(order), dtype=np.int64)
    reverse[back] = order
    return reverse


def graph_of(
    atoms: Atoms,
    r_max: float,
    elements: Sequence[int],
    dtype: torch.dtype = torch.float64,
    head: int | None = None,
) -> Graph:
    """One frame as a graph.

    Args:
        atoms: the frame.
        r_max: cutoff, Å.
        elements: atomic numbers in the order of the model.
        dtype: of positions and cell.
        head: index of the model's head that is asked; None for its default one.

    Raises:
        UserError: an element that is not in ``elements``; a periodic direction without cell.
    """
    species = species_of(atoms.numbers, elements)
    edge_index, unit_shifts = neighbours(atoms, r_max)
    reverse = reverse_edges(edge_index, unit_shifts)
    return Graph(
        positions=torch.tensor(atoms.positions, dtype=dtype),
        species=torch.from_numpy(species),
        edge_index=torch.from_numpy(edge_index),
        unit_shifts=torch.tensor(unit_shifts, dtype=dtype),
        cell=torch.tensor(atoms.cell.array, dtype=dtype).unsqueeze(0),
        periodic=torch.tensor([bool(atoms.pbc.all())]),
        frame=torch.zeros(len(atoms), dtype=torch.int64),
        head=None if head is None else torch.tensor([head]),
        reverse=None if reverse is None else torch.from_numpy(reverse),
    )


def batch(graphs: Sequence[Graph]) -> Graph:
    """Several graphs as one; frames keep their order."""
    if len(graphs) == 1:
        return graphs[0]
    n_atoms, n_edges = [g.n_atoms for g in graphs], [g.n_edges for g in graphs]
    n_frames, device = [g.n_frames for g in graphs], graphs[0].cell.device

    def together(name: str, dim: int = 0) -> torch.Tensor:
        return torch.cat([getattr(g, name) for g in graphs], dim)

    def before(sizes: list[int], rows: list[int]) -> torch.Tensor:
        """For each row the sum of sizes of the graphs before its own."""
        offsets = np.repeat(np.cumsum([0, *sizes[:-1]]), rows)
        return torch.from_numpy(offsets).to(device)

    head = reverse = None
    if any(g.head is not None for g in graphs):
        default = [torch.full((g.n_frames,), -1, device=device) for g in graphs]
        head = torch.cat(
            [d if g.head is None else g.head for g, d in zip(graphs, default, strict=True)]
        )
    if all(g.reverse is not None for g in graphs):
        reverse = together("reverse").add_(before(n_edges, n_edges))
    return Graph(
        positions=together("positions"),
        species=together("species"),
        edge_index=together("edge_index", 1).add_(before(n_atoms, n_edges)),
        unit_shifts=together("unit_shifts"),
        cell=together("cell"),
        periodic=together("periodic"),
        frame=together("frame").add_(before(n_frames, n_atoms)),
        head=head,
        reverse=reverse,
    )
