"""Pairs of neighbours of many frames, by vesin's C functions.

What they find is what ``vesin.NeighborList`` finds. Called directly because its way from C to numpy
takes longer than the search itself in frames of ten atoms, of which a batch may have hundreds, and
because it imports torch, which most commands do not need.
"""

import ctypes
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ase import Atoms
from vesin._c_api import VesinCPU, VesinDevice, VesinNeighborList, VesinOptions
from vesin._c_lib import get_library

from mace_core.errors import UserError


def neighbours(atoms: Atoms, r_max: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs within ``r_max``, each in both directions, with periodic images.

    Any mixture of periodic directions, any cell (also smaller than ``r_max``), sorted by i.

    Args:
        atoms: the frame; lattice vectors of directions that are not periodic do not matter.
        r_max: Å.

    Returns:
        edge_index [2, n_edges] and unit shifts S [n_edges, 3], with D = r_j − r_i + S·cell.

    Raises:
        UserError: a periodic direction has no lattice vector, or positions are not numbers.
    """
    return next(neighbours_of([atoms], r_max))


def neighbours_of(frames: Sequence[Atoms], r_max: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """:func:`neighbours` of each frame in turn."""
    cells = np.array([atoms.cell.array for atoms in frames])
    periodic = np.array([atoms.pbc for atoms in frames])
    flat = (np.abs(cells).sum(axis=2) < 1e-8) & periodic
    positions = np.concatenate([atoms.positions for atoms in frames])
    if flat.any() or not np.isfinite(positions).all():
        for atoms in frames:
            _refuse(atoms)
    return pairs_of(positions, [len(atoms) for atoms in frames], cells, periodic, r_max)


def _refuse(atoms: Atoms) -> None:
    """Say what is wrong with a frame, if anything is."""
    pbc = atoms.pbc
    if not np.isfinite(atoms.positions).all():
        lost = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
        raise UserError(
            f"positions are not finite: atoms {', '.join(map(str, lost[:10]))}",
            where=atoms.get_chemical_formula(),
        )
    cell = atoms.cell.array
    if (np.abs(cell[pbc]).sum(axis=1) < 1e-8).any():
        raise UserError(
            "the frame is periodic in a direction without a lattice vector",
            where=f"{atoms.get_chemical_formula()}, pbc {pbc.tolist()}, cell {cell.tolist()}",
            mend="set the cell, or pbc=False",
        )


def pairs_of(
    positions: np.ndarray,
    sizes: Sequence[int],
    cells: np.ndarray,
    periodic: np.ndarray,
    cutoff: float,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within ``cutoff`` of each frame in turn, each in both directions, sorted by i.

    Args:
        positions: [n_atoms, 3] of all frames, one after the other; finite, Å.
        sizes: [n_frames] atoms of each.
        cells: [n_frames, 3, 3] with a lattice vector in each periodic direction, Å.
        periodic: [n_frames, 3].
        cutoff: Å.

    Yields:
        edge_index [2, n_edges] and unit shifts S [n_edges, 3].

    Raises:
        RuntimeError: what vesin says.
    """
    options = VesinOptions(cutoff=cutoff, full=True, sorted=True, n_threads=1, return_shifts=True)
    for found in _found(positions, sizes, cells, periodic, options):
        pairs = _copy(found.pairs, found.length, 2, np.int64).T.copy()
        yield pairs, _copy(found.shifts, found.length, 3, np.int32)


def distances_of(
    positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs within ``cutoff`` of one frame, each once, periodic images included.

    Args:
        positions: [n_atoms, 3], Å.
        cell: [3, 3] with a lattice vector in each periodic direction, Å.
        periodic: [3].
        cutoff: Å.

    Returns:
        indices i, j [2, n_pairs] and distances [n_pairs], Å.

    Raises:
        RuntimeError: what vesin says.
    """
    options = VesinOptions(cutoff=cutoff, n_threads=1, return_distances=True)
    for found in _found(positions, [len(positions)], cell, periodic, options):
        pairs = _copy(found.pairs, found.length, 2, np.int64).T.copy()
        distances = _copy(found.distances, found.length, 1, np.float64)[:, 0]
    return pairs, distances


def _found(
    positions: np.ndarray,
    sizes: Sequence[int],
    cells: np.ndarray,
    periodic: np.ndarray,
    options: VesinOptions,
) -> Iterator[VesinNeighborList]:
    """What vesin finds for each frame in turn, to be copied before the next one is asked for."""
    device, found, message = VesinDevice(VesinCPU, 0), VesinNeighborList(), ctypes.c_char_p()
    search = _search()
    # Addresses of the first frame's: asking numpy for each frame's costs as much as a search.
    arrays = [np.ascontiguousarray(x, np.float64) for x in (positions, cells)]
    arrays.append(np.ascontiguousarray(periodic, np.bool_))
    of_positions, of_cell, of_periodic = (x.ctypes.data for x in arrays)
    try:
        for n in sizes:
            results = ctypes.byref(found), ctypes.byref(message)
            status = search(of_positions, n, of_cell, of_periodic, device, options, *results)
            if status != 0:
                raise RuntimeError((message.value or b"vesin failed").decode())
            yield found
            of_positions, of_cell, of_periodic = (
                of_positions + 3 * 8 * n,
                of_cell + 9 * 8,
                of_periodic + 3,
            )
    finally:
        get_library().vesin_free(found)


@functools.cache
def _search() -> Callable[..., int]:
    """``vesin_neighbors``, taking addresses."""
    address, options = ctypes.c_void_p, [VesinDevice, VesinOptions]
    results = [ctypes.POINTER(VesinNeighborList), ctypes.POINTER(ctypes.c_char_p)]
    arguments = [address, ctypes.c_size_t, address, address, *options, *results]
    return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(("vesin_neighbors", get_library()))


def _copy(pointer, n: int, width: int, dtype: type) -> np.ndarray:
    """[n, width] from what lies at ``pointer``."""
    size = n * width * np.dtype(dtype).itemsize
    content = ctypes.string_at(pointer, size) if size else b""
    return np.frombuffer(content, dtype).reshape(n, width)
