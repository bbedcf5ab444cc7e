"""Energies, forces and virials of a whole model on the native kernels, as one operation.

One call computes them, a second one the gradients of a loss on them with respect to all weights
(``training_model.h``): a training step is then two calls instead of some thousand. The operations
are those of the other modules here, in the same order.

The frames of a batch are shared out among as many threads as torch has, one or more to each
(``training_groups.h``). One number of threads gives the same bits every time.
"""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mace_core.ops.backend import Kernels, Struct, last_derivative, pointers


class Layer(NamedTuple):
    """Sizes and tables of one layer; maps and tables are structs of the operations' own modules.

    Attributes:
        rows: of the features taken, of A, and of the features given.
        residual: the skip acts on the features and by-passes the product; otherwise on A.
        a_basis: ``ATables``.
        b_basis: ``BTables``.
        columns: [T, Q] the coefficients of the product's terms for each of its weights.
        product_paths: number of weights in each of the product's blocks; sums to Q.
        maps: ``LinearShape`` of up, linear, skip and product.
        radial: widths and factors of the radial network.
        readout: the same of the readout.
    """

    rows: tuple[int, int, int]
    residual: bool
    a_basis: Struct
    b_basis: Struct
    columns: np.ndarray
    product_paths: list[int]
    maps: tuple[Struct, Struct, Struct, Struct]
    radial: tuple[Sequence[int], Sequence[float]]
    readout: tuple[Sequence[int], Sequence[float]]


class Shape:
    """``ModelShape``: all that the kernels know of a model beside its weights.

    Args:
        layers: one after the other.
        n_elements: Z.
        channels: C.
        max_ell: largest l of Y.
        bessel: cutoff in Å, number of functions, order of the cutoff polynomial.
        dtype: of the weights.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        n_elements: int,
        channels: int,
        max_ell: int,
        bessel: tuple[float, int, int],
        dtype: torch.dtype,
    ):
        real = np.float32 if dtype == torch.float32 else np.float64
        r_max, n_bessel, order = bessel
        self._keep = [_layer(layer, real) for layer in layers]
        addresses = np.array([layer[0].address for layer in self._keep], dtype=np.int64)
        sizes = [len(layers), n_elements, channels, max_ell, n_bessel, order]
        self._struct = Struct(sizes, [addresses, np.array([r_max])])
        self.address = self._struct.address


def _layer(layer: Layer, real: type) -> tuple[Struct, tuple]:
    """``LayerShape``, and what it refers to."""
    terms, columns = np.nonzero(layer.columns)
    block_of = np.repeat(np.arange(len(layer.product_paths)), layer.product_paths)
    begins = np.cumsum([0, *layer.product_paths[:-1]])
    n_terms = len(layer.columns)
    integral = [
        layer.product_paths,
        np.searchsorted(terms, np.arange(n_terms + 1)),
        block_of[columns],
        columns - begins[block_of[columns]],
    ]
    arrays = [np.array(x, dtype=np.int64) for x in integral]
    values = np.ascontiguousarray(layer.columns[terms, columns], dtype=real)
    mixture = Struct([n_terms, len(layer.product_paths)], [*arrays, values])
    structs = (layer.a_basis, layer.b_basis, mixture, *layer.maps)
    (radial, radial_factors), (readout, readout_factors) = layer.radial, layer.readout
    sizes = [*layer.rows, int(layer.residual), *(struct.address for struct in structs)]
    sizes += [len(radial) - 1, len(readout) - 1]
    widths = [np.array(w, dtype=np.int64) for w in (radial, readout)]
    factors = [np.array(f, dtype=real) for f in (radial_factors, readout_factors)]
    return Struct(sizes, [*widths, *factors]), structs


class Frames(NamedTuple):
    """Frames side by side, their tensors as in :class:`mace_core.model.graph.Graph`."""

    positions: torch.Tensor  # [n_atoms, 3] Å
    species: torch.Tensor  # [n_atoms]
    edge_index: torch.Tensor  # [2, n_edges] receivers, senders
    unit_shifts: torch.Tensor  # [n_edges, 3]
    cell: torch.Tensor  # [n_frames, 3, 3] Å
    frame: torch.Tensor  # [n_atoms]
    reverse: torch.Tensor | None  # [n_edges]


class Zero(NamedTuple):
    """Energies are scale · x + shift + E0 of the element, eV."""

    E0: torch.Tensor  # [Z] float64
    scale: float
    shift: float


class WholeModel(torch.autograd.Function):
    """Energies of frames and of atoms (float64), forces and virials (None where not asked for).

    A virial is Σ_ij r_ij ⊗ ∂E/∂r_ij, [n_frames, 3, 3] eV. The weights are the embedding and those
    of each layer: up, linear, skip, product, radial network, readout, product's blocks. Gradients
    are those of the weights; nothing is differentiated by positions.
    """

    @staticmethod
    def forward(ctx, native: Kernels, shape: Shape, frames: Frames, zero: Zero, which, *weights):
        keep = any(ctx.needs_input_grad)
        weights = [w.contiguous() for w in weights]
        outputs, call = evaluate(native, shape, frames, zero, which, weights, keep)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*weights)
        ctx.call = call
        return outputs

    @staticmethod
    @last_derivative
    def backward(ctx, *cotangents):
        needed = ctx.needs_input_grad[5:]
        if all(g is None for g in cotangents):
            return (None,) * (5 + len(needed))
        weights = ctx.saved_tensors  # raises if they were changed in between
        return (None,) * 5 + tuple(ctx.call.gradients(cotangents, weights, needed))


def evaluate(native, shape, frames, zero, which, weights, keep: bool = False):
    """The outputs, and the :class:`_Call` that can be differentiated, None if not to be kept."""
    positions, *rest = frames
    n_atoms, n_edges, n_frames = len(positions), frames.edge_index.shape[1], len(frames.cell)
    tensors = [None if x is None else x.contiguous() for x in (positions, *rest)]
    r, species, edges, shifts, cell, frame, reverse = pointers(*tensors)
    words = [n_atoms, n_edges, n_frames, r, species, edges, edges + 8 * n_edges, shifts, cell]
    described = np.array([*words, frame, reverse or 0], dtype=np.int64)
    addresses = np.array(pointers(*weights), dtype=np.int64)
    energy = torch.empty(n_frames, dtype=torch.float64)
    node_energy = torch.empty(n_atoms, dtype=torch.float64)
    forces = torch.empty_like(positions, memory_format=torch.contiguous_format)
    forces = forces if which[0] else None
    virial = positions.new_empty(n_frames, 3, 3) if which[1] else None
    found = ctypes.c_void_p()
    native.model_forward(
        shape.address,
        described.ctypes.data,
        addresses.ctypes.data,
        zero.E0.data_ptr(),
        zero.scale,
        zero.shift,
        *pointers(energy, node_energy, forces, virial),
        torch.get_num_threads(),
        ctypes.byref(found) if keep else None,
    )
    call = _Call(native, found.value, (shape, tensors, addresses)) if keep else None
    return (energy, node_energy, forces, virial), call


class _Call:
    """What a forward pass left behind, until the gradients are no longer wanted."""

    def __init__(self, native: Kernels, address: int, keep: tuple):
        self.native, self.address, self._keep = native, address, keep

    def gradients(self, cotangents, weights, needed) -> list[torch.Tensor | None]:
        """Gradients of the weights."""
        cotangents = [None if g is None else g.contiguous() for g in cotangents]
        found = [torch.empty_like(w) for w in weights]
        addresses = [w.data_ptr() if n else 0 for w, n in zip(found, needed, strict=True)]
        addresses = np.array(addresses, dtype=np.int64)
        self.native.model_backward(self.address, *pointers(*cotangents), addresses.ctypes.data)
        return [w if n else None for w, n in zip(found, needed, strict=True)]

    def __del__(self):
        self.native.model_free(self.address)
