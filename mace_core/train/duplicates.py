"""Which frames show nearly the same geometry, whatever their orientation and order of atoms."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from mace_core.neighbours import neighbours

#: Å. Frames closer than this are near-duplicates: about a rattle of 0.015 Å of every atom.
THRESHOLD = 0.1
#: Å. Distances beyond it do not count.
CUTOFF = 5.0

#: Directions of environments, those of them in the tree, and environments they are made from.
_DIRECTIONS, _IN_TREE, _SAMPLE = 16, 8, 4096
#: How usual an environment is: its distance to the n-th nearest of a sample of so many.
_NEAREST, _USUAL = 5, 256
#: Links that are enough for a frame; among how many frames they are sought first; how these grow.
_ENOUGH, _FIRST, _GROWTH = 4, 16, 8
#: Frames that seek at once, numbers that are compared at once, and atoms in a leaf of the tree.
_SEEKING, _TOGETHER, _LEAF = 512, 2**16, 64


class NearDuplicates:
    """Which frames have nearly the same geometry.

    An atom's environment is the list of its distances to the atoms of each species below
    :data:`CUTOFF` (periodic images included), sorted, the cutoff itself standing for missing
    ones. Two frames of one composition and periodicity are as far apart as the worst matched
    environment: the Hausdorff distance, over atoms of each species, of the Euclidean norm (Å).
    Rotations, translations, reflections and permutations of like atoms leave it zero. It is
    continuous in the positions and the cell, because distances enter at the cutoff and sorting
    never moves two lists apart. A spectrum of the whole frame's distances would not do: it
    averages itself out in large cells, where independent MD frames then look alike.

    Frames closer than the threshold are near-duplicates; frames of different composition never.
    The answers are those of comparing all pairs. Those pairs are not made: thousands of frames
    may all be near-duplicates of each other.

    Args:
        frames: any frames; they are meant by their indices below.
        threshold: Å.
    """

    def __init__(self, frames: Sequence[Atoms], threshold: float = THRESHOLD):
        alike = defaultdict(list)
        for index, atoms in enumerate(frames):
            alike[_kind(atoms)].append(index)
        links = []
        #: Searches among frames of one composition, and those that have more near-duplicates
        #: than were looked at: links between two of these may be missing in ``_links``.
        self._crowds = []
        for indices in map(np.array, alike.values()):
            if len(indices) > 1:
                search = _Search([frames[i] for i in indices], indices, threshold)
                found, complete = search.links(indices, indices)
                links.append(found)
                if not complete.all():
                    self._crowds.append((search, indices[~complete]))
        self._links = _graph(links, len(frames))

    def among(self, some: Sequence[int], others: Sequence[int]) -> np.ndarray:
        """Which frames have a near-duplicate among others.

        Args:
            some: [n] indices of frames.
            others: indices of frames, none of them in ``some``.

        Returns:
            [n] bool.
        """
        some, others = np.asarray(some, dtype=int), np.asarray(others, dtype=int)
        sought, found = (np.zeros(self._links.shape[0], dtype=bool) for _ in range(2))
        sought[others] = True
        found[some] = self._links[some] @ sought > 0
        for search, crowd in self._crowds:
            left = np.intersect1d(crowd, some)
            links, _ = search.links(left[~found[left]], crowd[sought[crowd]])
            found[links[:, 0]] = True
        return found[some]

    def components(self, some: Sequence[int]) -> np.ndarray:
        """Groups of frames that chains of near-duplicates, all within ``some``, link.

        Args:
            some: [n] indices of frames.

        Returns:
            [n] labels, equal within a group.
        """
        some = np.asarray(some, dtype=int)
        links = self._links[some][:, some]
        place = np.full(self._links.shape[0], -1)
        place[some] = np.arange(len(some))
        labels = connected_components(links, directed=False)[1]
        for search, crowd in self._crowds:
            crowd = crowd[place[crowd] >= 0]
            while len(more := _across(search, crowd, labels[place[crowd]])):
                links = links + _graph([place[more]], len(some))
                labels = connected_components(links, directed=False)[1]
        return labels


def seen_in(
    frames: Sequence[Atoms], others: Sequence[Atoms], threshold: float = THRESHOLD
) -> np.ndarray:
    """Which frames have a near-duplicate among others, as :class:`NearDuplicates` defines it.

    Others of another composition cost nothing. Of each composition the cost is that of the
    environments of all frames (linear), and of one search in a tree for each of ``frames``; links
    between the others are not sought.

    Args:
        frames: the frames asked about.
        others: where near-duplicates are sought.
        threshold: Å.

    Returns:
        [n_frames] bool.
    """
    asked, known = defaultdict(list), defaultdict(list)
    for index, atoms in enumerate(frames):
        asked[_kind(atoms)].append(index)
    for atoms in others:
        if (kind := _kind(atoms)) in asked:
            known[kind].append(atoms)
    found = np.zeros(len(frames), dtype=bool)
    for kind, alike in known.items():
        n = len(asked[kind])
        together = [frames[i] for i in asked[kind]] + alike
        search = _Search(together, np.arange(len(together)), threshold)
        links, _ = search.links(np.arange(n), np.arange(n, len(together)))
        found[np.array(asked[kind])[np.unique(links[:, 0])]] = True
    return found


def _kind(atoms: Atoms) -> tuple:
    """Frames of different kinds, in composition or periodicity, are never near-duplicates."""
    return tuple(sorted(atoms.numbers.tolist())), tuple(atoms.pbc.tolist())


def _across(search: "_Search", crowd: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n_links, 2] links between frames of different labels; none only if there are none.

    Any two labels differ in some bit. So frames with the bit are sought among those without it,
    bit by bit, and no time is spent on links within a label. The most frequent labels have the
    fewest bits, because a search costs by the frames that seek.
    """
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    labels = np.argsort(np.argsort(-counts, kind="stable"))[labels]
    links = [np.empty((0, 2), dtype=int)]
    for bit in range(int(len(counts) - 1).bit_length()):
        with_it = (labels >> bit) & 1 == 1
        links.append(search.links(crowd[with_it], crowd[~with_it])[0])
    return np.concatenate(links)


def _graph(links: list[np.ndarray], n: int) -> csr_array:
    """[n, n] of links, in both directions."""
    i, j = np.concatenate([np.empty((0, 2), dtype=int), *links]).T
    ones = np.ones(2 * len(i), dtype=np.int32)
    return coo_array((ones, (np.append(i, j), np.append(j, i))), shape=(n, n)).tocsr()


class _Search:
    """A search for near-duplicates among frames of one composition and periodicity.

    If two frames are near-duplicates, any one atom of either has its match in the other. So each
    frame seeks with one atom only, the one with the least usual environment, all of one species.
    A tree holds the environments of all atoms of this species along orthonormal directions, where
    no two are further apart than they are.
    """

    def __init__(self, frames: list[Atoms], indices: np.ndarray, threshold: float):
        self.threshold = threshold
        #: [n_frames, n_atoms of a species, n_distances] Å, for each species.
        self.tables = _environments(frames)
        along = [_principal(table) for table in self.tables]
        unusual = [_unusual(points) for points in along]
        species = np.argmax([far.max(axis=1).mean() for far in unusual])
        self.table, self.points = self.tables[species], along[species]
        self.telling = unusual[species].argmax(axis=1)
        self.indices = indices
        self.place = np.full(indices.max() + 1, -1)
        self.place[indices] = np.arange(len(indices))

    def links(self, some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Links from some frames to others: of each frame all, or at least so many as are enough.

        They are sought among ever larger parts of the others, drawn at random. Thus a frame with
        thousands of near-duplicates is content with the first few.

        Returns:
            [n_links, 2] indices of frames, and [n_some] whether these are all links of the frame.
        """
        links, count = [np.empty((0, 2), dtype=int)], np.zeros(len(self.points), dtype=int)
        left = places = self.place[some]
        drawn = np.random.default_rng(0).permutation(self.place[others])
        start, size = 0, _FIRST
        while start < len(drawn) and len(left):
            part = drawn[start : start + size]
            tree = cKDTree(np.concatenate(self.points[part, :, :_IN_TREE]), leafsize=_LEAF)
            for few in _pieces(left, _SEEKING):
                pairs = self._candidates(few, part, tree)
                pairs = pairs[self._close(pairs)]
                links.append(self.indices[pairs])
                count += np.bincount(pairs[:, 0], minlength=len(count))
            start, size = start + size, size * _GROWTH
            if start < len(drawn):
                left = left[count[left] < _ENOUGH]
        return np.concatenate(links), np.isin(places, left)

    def _candidates(self, seeking: np.ndarray, among: np.ndarray, tree: cKDTree) -> np.ndarray:
        """[n_pairs, 2] places of frames whose telling atoms match, as far as the directions show.

        The tree holds all atoms of the frames at the places ``among``.
        """
        radius = 1.001 * self.threshold
        sought = self.points[seeking, self.telling[seeking], :_IN_TREE]
        found = tree.query_ball_point(sought, radius, return_sorted=False)
        i = np.repeat(np.arange(len(seeking)), [len(atoms) for atoms in found])
        j = np.concatenate(found).astype(int) // self.points.shape[1]
        i, j = np.divmod(np.unique(i * len(among) + j), len(among))
        pairs = np.stack([seeking[i], among[j]], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        return pairs[_matched(self.points, pairs, self.telling[pairs], radius)]

    def _close(self, pairs: np.ndarray) -> np.ndarray:
        """[n_pairs] whether every environment of each frame has its match in the other."""
        close = np.zeros(len(pairs), dtype=bool)
        # Nearly all unlike frames are told apart by the atoms that they seek with.
        told = _matched(self.table, pairs, self.telling[pairs], self.threshold)
        step = max(1, _TOGETHER // sum(table[0].size for table in self.tables))
        for left in _pieces(np.flatnonzero(told), step):
            # Frames of one trajectory mostly match atom by atom.
            same = np.ones(len(left), dtype=bool)
            for table in self.tables:
                off = table[pairs[left, 0]] - table[pairs[left, 1]]
                same &= np.einsum("pad,pad->pa", off, off).max(axis=1) < self.threshold**2
            close[left[same]] = True
            left = left[~same]
            for table in self.tables:
                for atom in range(table.shape[1]):
                    atoms = np.full((len(left), 2), atom)
                    left = left[_matched(table, pairs[left], atoms, self.threshold)]
            close[left] = True
        return close


def _matched(table: np.ndarray, pairs: np.ndarray, atoms: np.ndarray, radius: float) -> np.ndarray:
    """[n_pairs] whether these atoms [n_pairs, 2] have their match in the pair's other frame."""
    matched = np.ones(len(pairs), dtype=bool)
    for one, other in ((0, 1), (1, 0)):
        for few in _pieces(np.flatnonzero(matched), max(1, _TOGETHER // table[0].size)):
            own = table[pairs[few, one], atoms[few, one]]
            off = own[:, None] - table[pairs[few, other]]
            matched[few] = np.einsum("pad,pad->pa", off, off).min(axis=1) < radius**2
    return matched


def _pieces(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows, at most ``size`` at a time."""
    return np.split(rows, range(size, len(rows), size))


def _unusual(points: np.ndarray) -> np.ndarray:
    """[n_frames, n_atoms] Å: how far an environment is from most others."""
    flat = points.reshape(-1, points.shape[2])
    sample = np.random.default_rng(0).permutation(flat)[:_USUAL]
    nearest = min(_NEAREST, len(sample) - 1)
    far = [np.partition(cdist(few, sample), nearest)[:, nearest] for few in _pieces(flat, _SAMPLE)]
    return np.concatenate(far).reshape(points.shape[:2])


def _principal(table: np.ndarray) -> np.ndarray:
    """[n_frames, n_atoms, ≤ 16] environments along the directions in which they differ most, Å."""
    lists = table.reshape(-1, table.shape[2])
    some = lists[:: max(1, len(lists) // _SAMPLE)].astype(float)
    mean = some.mean(axis=0)
    axes = np.linalg.eigh((some - mean).T @ (some - mean))[1][:, ::-1][:, :_DIRECTIONS]
    points = np.concatenate([(few - mean) @ axes for few in _pieces(lists, _SAMPLE)])
    # A tree cannot part equal points, and would look at all of them every time.
    points += np.random.default_rng(0).normal(0, 1e-7, points.shape)
    return points.reshape(*table.shape[:2], -1)


def _environments(frames: list[Atoms]) -> list[np.ndarray]:
    """[n_frames, n_atoms of a species, n_distances] Å for each species of one composition."""
    species = np.unique(frames[0].numbers).tolist()
    lists = [_sorted_distances(atoms, species) for atoms in frames]
    tables = []
    for s in species:
        parts = []
        for t in species:
            n_atoms, width = len(lists[0][s, t]), max(of[s, t].shape[1] for of in lists)
            parts.append(np.full((len(frames), n_atoms, width), CUTOFF, dtype=np.float32))
            for rows, of in zip(parts[-1], lists, strict=True):
                rows[:, : of[s, t].shape[1]] = of[s, t]
        tables.append(np.concatenate(parts, axis=2))
    return tables


def _sorted_distances(atoms: Atoms, species: list[int]) -> dict[tuple[int, int], np.ndarray]:
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
            tables[s, t] = rows[atoms.numbers == s]
    return tables
