"""The structures that the kernels take, as in ``mace_core/native/tables.h``; and their arrays."""

import ctypes
from typing import ClassVar

import numpy as np


class _Struct(ctypes.Structure):
    """A structure of 64-bit integers, doubles and pointers that keeps its arrays alive.

    Arrays are given by name; a field that is not given is 0 or null.
    """

    def __init__(self, **values):
        super().__init__()
        self._kept = []
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                self._kept.append(value)
                value = value.ctypes.data
            elif isinstance(value, ctypes.Array):
                self._kept.append(value)
                value = ctypes.addressof(value)
            setattr(self, name, value)


def _fields(**kinds: str) -> list[tuple[str, type]]:
    types = {"int": ctypes.c_int64, "float": ctypes.c_double, "array": ctypes.c_void_p}
    return [(name, types[kind]) for name, kind in kinds.items()]


class LayerTables(_Struct):
    _fields_: ClassVar = _fields(
        lmax_in="int",
        lmax_out="int",
        n_paths="int",
        n_rows="int",
        n_entries="int",
        paths="array",
        paths_from="array",
        entry_start="array",
        entry_component="array",
        entry_value="array",
        row_of_l="array",
        paths_of_l="array",
        n_heads="int",
        n_terms="int",
        head_size="int",
        output_start="array",
        head_variables="array",
        head_start="array",
        term_variable="array",
    )


class LayerWeights(_Struct):
    _fields_: ClassVar = _fields(
        senders="array",
        up="array",
        up_t="array",
        radial="array",
        density="array",
        linear="array",
        linear_t="array",
        linear_step="int",
        product="array",
        mix="array",
        mix_t="array",
        lmax_skip="int",
        skip="array",
        skip_t="array",
        readout="array",
        readout_1="array",
        readout_2="array",
        hidden="int",
    )


class Architecture(_Struct):
    _fields_: ClassVar = _fields(
        n_layers="int",
        channels="int",
        n_elements="int",
        max_ell="int",
        n_tables="int",
        n_knots="int",
        r_max="float",
        first_knot="float",
        knot_distance="float",
        layers="array",
        table_of_pair="array",
    )


class Member(_Struct):
    _fields_: ClassVar = _fields(
        layers="array", E0="array", scale="float", shift="float", repulsion="array"
    )


class Frames(_Struct):
    _fields_: ClassVar = _fields(
        n_atoms="int",
        n_frames="int",
        n_pairs="int",
        n_threads="int",
        positions="array",
        order="array",
        species="array",
        frame="array",
        first="array",
        sender="array",
        shift="array",
    )


class Results(_Struct):
    _fields_: ClassVar = _fields(node_energy="array", forces="array", virial="array")


def array_of(structs: list[_Struct]) -> ctypes.Array:
    """The structures one after the other; keeps the originals' arrays alive."""
    together = (type(structs[0]) * len(structs))(*structs)
    together.kept = structs
    return together


def aligned(values: np.ndarray, dtype: np.dtype | str) -> np.ndarray:
    """A C-contiguous copy that starts at a multiple of 64 bytes."""
    values = np.asarray(values)
    dtype = np.dtype(dtype)
    size = values.size * dtype.itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + size].view(dtype).reshape(values.shape)
    copy[...] = values
    return copy


def integers(values) -> np.ndarray:
    """As the kernels' 32-bit indices."""
    return np.ascontiguousarray(values, dtype=np.int32)
