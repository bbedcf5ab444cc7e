"""Bonded pieces of a frame, and the clusters that contacts within a cutoff make of them."""

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mace_core.contacts import contacts
from mace_core.neighbours import distances_of

#: Bonds: up to this times the sum of covalent radii (stretched by heat).
BOND_FACTOR = 1.3
#: Å. Pieces linked by distances this much below the cutoff are not looked at again until an atom
#: has moved by half of it: no two atoms can have parted by more.
SKIN = 1.0


def connected(n: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """[n] number, from 0, of the connected part of each of ``n`` nodes with links i–j."""
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def bonded_pieces(atoms: Atoms, factor: float = BOND_FACTOR) -> np.ndarray:
    """[n_atoms] number, from 0, of the piece that bonds connect each atom to.

    Args:
        atoms: the frame.
        factor: longest bond in sums of covalent radii; never above :data:`BOND_FACTOR`.
    """
    bonds = contacts(atoms, min(BOND_FACTOR, factor))
    return connected(len(atoms), bonds.i, bonds.j)


def clusters(atoms: Atoms, r_max: float) -> int:
    """How many clusters of bonded pieces a frame has that no two atoms within ``r_max`` Å link."""
    if len(atoms) == 0:
        return 0
    pieces = bonded_pieces(atoms)
    return int(Linked(pieces, r_max)(atoms).max()) + 1 if pieces.max() else 1


class Linked:
    """The clusters that contacts within a cutoff make of pieces, at one step after the other.

    Args:
        pieces: [n_atoms] number of the piece of each atom.
        r_max: Å.
    """

    def __init__(self, pieces: np.ndarray, r_max: float):
        self.pieces, self.r_max = pieces, r_max
        self._closely = False  # whether shorter contacts linked the same clusters
        self._looked_at: np.ndarray | None = None

    def __call__(self, atoms: Atoms) -> np.ndarray:
        """[n_atoms] number, from 0, of the cluster of each atom."""
        (i, j), distance = distances_of(atoms.positions, atoms.cell[:], atoms.pbc, self.r_max)
        i, j = self.pieces[i], self.pieces[j]
        apart = i != j
        i, j, distance = i[apart], j[apart], distance[apart]
        n = self.pieces.max() + 1
        now = connected(n, i, j)
        close = distance < self.r_max - SKIN
        self._closely = connected(n, i[close], j[close]).max() == now.max()
        self._looked_at = atoms.positions.copy()
        return now[self.pieces]

    def cannot_have_parted(self, atoms: Atoms) -> bool:
        """Whether no atom has moved far enough since the clusters were looked at."""
        if not self._closely or self._looked_at is None:
            return False
        moved = np.linalg.norm(atoms.positions - self._looked_at, axis=1).max()
        return bool(moved < SKIN / 2)
