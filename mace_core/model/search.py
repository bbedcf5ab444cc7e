"""Pairs of neighbours of many frames, by vesin's C functions.

What they find is what ``vesin.NeighborList`` finds. Called directly because its way from C to numpy
takes longer than the search itself in frames of ten atoms, of which a batch may have hundreds.
"""

import ctypes
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from vesin._c_api import VesinCPU, VesinDevice, VesinNeighborList, VesinOptions
from vesin._c_lib import get_library


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
            pairs = _copy(found.pairs, found.length, 2, np.int64).T.copy()
            yield pairs, _copy(found.shifts, found.length, 3, np.int32)
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
