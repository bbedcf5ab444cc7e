"""Near-duplicates by comparing all pairs, written after the definition."""

from itertools import combinations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.sparse.csgraph import connected_components

from mace_core.train.duplicates import CUTOFF, THRESHOLD


def environments(atoms: Atoms) -> dict[int, list[np.ndarray]]:
    """Lists of distances, Å, padded to a width of 100, by species of the centre."""
    centre, other, distance = neighbor_list("ijd", atoms, CUTOFF)
    lists = {int(s): [] for s in np.unique(atoms.numbers)}
    for i, s in enumerate(atoms.numbers):
        row = np.full((len(lists), 100), CUTOFF)
        for place, t in enumerate(lists):
            d = np.sort(distance[(centre == i) & (atoms.numbers[other] == t)])
            row[place, : len(d)] = d
        lists[int(s)].append(row.ravel())
    return lists


def apart(one: dict, other: dict) -> float:
    """Å: the Hausdorff distance of two frames' environments."""
    worst = 0.0
    for s in one:
        off = np.linalg.norm(np.array(one[s])[:, None] - np.array(other[s])[None], axis=2)
        worst = max(worst, off.min(axis=0).max(), off.min(axis=1).max())
    return worst


def distance(one: Atoms, other: Atoms) -> float:
    return apart(environments(one), environments(other))


def near_pairs(frames: list[Atoms]) -> np.ndarray:
    """[n_pairs, 2] near-duplicates, i < j."""
    lists = [environments(atoms) for atoms in frames]
    kinds = [(sorted(atoms.numbers), atoms.pbc.tolist()) for atoms in frames]
    pairs = [
        (i, j)
        for i, j in combinations(range(len(frames)), 2)
        if kinds[i] == kinds[j] and apart(lists[i], lists[j]) < THRESHOLD
    ]
    return np.array(pairs, dtype=int).reshape(-1, 2)


def groups_of(linked: np.ndarray) -> np.ndarray:
    """[n] labels of a graph [n, n]."""
    return connected_components(linked, directed=False)[1]


def same_groups(one: np.ndarray, other: np.ndarray) -> bool:
    both = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(both) == len(set(one.tolist())) == len(set(other.tolist()))
