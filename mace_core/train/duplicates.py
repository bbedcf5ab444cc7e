"""Which frames show nearly the same geometry, whatever their orientation and order of atoms."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from mace_core.neighbours import neighbours

#: Å. Frames closer than this are near-duplicates: about a rattle of 0.015 Å of every atom.
THRESHOLD = 0.1
#: Å. Distances beyond it do not count.
CUTOFF = 5.0

#: Dimensions of the tree that finds candidates, directions for each species, and lists of
#: distances that these are made from.
_DIMENSIONS, _AXES, _SAMPLE = 16, 8, 4096
#: Numbers that are compared at once.
_TOGETHER = 2**16

#: A frame's environments by species of the centre: [n_atoms of it, n_distances] Å.
Environments = dict[int, np.ndarray]


def near_duplicates(frames: Sequence[Atoms], threshold: float = THRESHOLD) -> np.ndarray:
    """Pairs of frames with nearly the same geometry.

    An atom's environment is the list of its distances to the atoms of each species below
    :data:`CUTOFF` (periodic images included), sorted, the cutoff itself standing for missing
    ones. Two frames of one composition and periodicity are as far apart as the worst matched
    environment: the Hausdorff distance, over atoms of each species, of the Euclidean norm (Å).
    Rotations, translations, reflections and permutations of like atoms leave it zero. It is
    continuous in the positions and the cell, because distances enter at the cutoff and sorting
    never moves two lists apart. A spectrum of the whole frame's distances would not do: it
    averages itself out in large cells, where independent MD frames then look alike.

    Frames of different composition are never near-duplicates.

    Returns:
        [n_pairs, 2] indices with i < j.
    """
    alike = defaultdict(list)
    for index, atoms in enumerate(frames):
        alike[(tuple(sorted(atoms.numbers.tolist())), tuple(atoms.pbc.tolist()))].append(index)
    pairs = []
    for indices in alike.values():
        if len(indices) > 1:
            environments = _environments([frames[i] for i in indices])
            close = _close(environments, _candidates(environments, threshold), threshold)
            pairs.append(np.sort(np.array(indices)[close], axis=1))
    return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=int)


def _environments(frames: list[Atoms]) -> list[Environments]:
    """The environments of frames of one composition, padded to common widths."""
    species = np.unique(frames[0].numbers)
    lists = [_sorted_distances(atoms, species) for atoms in frames]
    widths = {key: max(len(table[key][0]) for table in lists) for key in lists[0]}
    environments = []
    for table in lists:
        padded = {
            key: np.pad(rows, ((0, 0), (0, widths[key] - rows.shape[1])), constant_values=CUTOFF)
            for key, rows in table.items()
        }
        environments.append(
            {int(s): np.concatenate([padded[s, t] for t in species], axis=1) for s in species}
        )
    return environments


def _sorted_distances(atoms: Atoms, species: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """[n_s, ≥ 1] distances of the atoms of species s to those of species t, by (s, t)."""
    (i, j), shifts = neighbours(atoms, CUTOFF)
    d = np.linalg.norm(atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell[:], axis=1)
    order = np.lexsort((d, i))
    i, j, d = i[order], j[order], d[order].astype(np.float32)
    tables = {}
    for t in species:
        to_t = atoms.numbers[j] == t
        centre, distance = i[to_t], d[to_t]
        counts = np.bincount(centre, minlength=len(atoms))
        column = np.arange(len(centre)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.full((len(atoms), max(1, counts.max())), CUTOFF, dtype=np.float32)
        rows[centre, column] = distance
        for s in species:
            tables[int(s), int(t)] = rows[atoms.numbers == s]
    return tables


def _candidates(environments: list[Environments], threshold: float) -> np.ndarray:
    """[n_pairs, 2] frames that may be closer than ``threshold``, found by a tree.

    A coordinate along a direction changes no more than the list of distances does; so neither do
    its extremes over the atoms of a frame change more than the Hausdorff distance. The directions
    along which lists differ most tell most frames apart.
    """
    features = []
    for species in environments[0]:
        tables = np.stack([environment[species] for environment in environments])
        lists = tables.reshape(-1, tables.shape[2]).astype(float)
        some = lists[:: max(1, len(lists) // _SAMPLE)]
        axes = np.linalg.eigh(np.atleast_2d(np.cov(some.T)))[1][:, ::-1][:, :_AXES]
        along = (lists @ axes).reshape(*tables.shape[:2], -1)
        features += [along.min(axis=1), along.max(axis=1)]
    features = np.concatenate(features, axis=1)
    telling = np.argsort(-features.std(axis=0), kind="stable")[:_DIMENSIONS]
    tree = cKDTree(features[:, telling])
    return tree.query_pairs(threshold * 1.001, p=np.inf, output_type="ndarray")


def _close(environments: list[Environments], pairs: np.ndarray, threshold: float) -> np.ndarray:
    """Those of the pairs in which every environment of each frame has its match in the other."""
    tables = [np.stack([table[species] for table in environments]) for species in environments[0]]
    step = max(1, _TOGETHER // sum(table[0].size for table in tables))
    close = [pairs[:0]]
    for start in range(0, len(pairs), step):
        some = pairs[start : start + step]
        # Frames of one trajectory mostly match atom by atom.
        same = np.all([_apart(t[some[:, 0]], t[some[:, 1]]) < threshold for t in tables], axis=0)
        close += [some[same], _matched(tables, some[~same], threshold)]
    return np.concatenate(close)


def _matched(tables: list[np.ndarray], pairs: np.ndarray, threshold: float) -> np.ndarray:
    """Those of the pairs in which each atom of either frame is near some atom of the other.

    One atom of all pairs at a time: nearly all unlike frames are told apart by the first one.
    """
    for table in tables:
        for atom in range(table.shape[1]):
            for one, other in ((0, 1), (1, 0)):
                if not len(pairs):
                    return pairs
                off = table[pairs[:, one], atom, None] - table[pairs[:, other]]
                nearest = np.einsum("pad,pad->pa", off, off).min(axis=1)
                pairs = pairs[nearest < threshold**2]
    return pairs


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[n_pairs] Å: the largest distance of two environments of the same number."""
    off = one - other
    return np.sqrt(np.einsum("pad,pad->pa", off, off).max(axis=1))
