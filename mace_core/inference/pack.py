"""A model's weights as the kernels take them: constants folded in, padded, some elements only."""

import copy
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import torch

from mace_core.inference.splines import (
    Functions,
    Knots,
    Taylor,
    by_autograd,
    linear,
    sample,
    silu,
    tanh_of_square,
)
from mace_core.inference.structs import (
    Architecture,
    LayerWeights,
    Member,
    aligned,
    array_of,
    integers,
)
from mace_core.inference.tables import layer_tables, path_order, term_order
from mace_core.model.model import MACE
from mace_core.model.radial import SILU_FACTOR
from mace_core.model.zbl import BOHR, COULOMB
from mace_core.native.loader import vector_bytes

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class Radial:
    """The radial functions of one model, in float64, for pairs of elements.

    Only a distance transform makes them depend on the pair; without one there is a single table.

    Args:
        model: any precision.
        species: indices of the elements that are wanted.
    """

    def __init__(self, model: MACE, species: Sequence[int]):
        self.networks = [
            [_numpy(w) * len(w) ** -0.5 for w in interaction.radial_MLP.weights]
            for interaction in model.interactions
        ]
        self.densities = [
            None if i.density is None else _numpy(i.density.weight) * len(i.density.weight) ** -0.5
            for i in model.interactions
        ]
        n = len(species)
        self.table_of_pair = np.zeros((n, n), np.int32)
        pairs = [(species[0], species[0])]
        if model.radial_basis.transform is not None:
            places = list(combinations_with_replacement(range(n), 2))
            pairs = [(species[a], species[b]) for a, b in places]
            for table, (a, b) in enumerate(places):
                self.table_of_pair[a, b] = self.table_of_pair[b, a] = table
        basis = copy.deepcopy(model.radial_basis).double()
        self.bases = [by_autograd(_of_pair(basis, pair)) for pair in pairs]

    def functions(self, t: int) -> list[Functions]:
        """The n_paths · C functions of layer ``t``, for each table."""
        return [lambda r, basis=basis: _network(basis(r), self.networks[t]) for basis in self.bases]

    def densities_of(self, t: int) -> list[Functions]:
        """The one of layer ``t``, for each table; empty without densities."""
        weight = self.densities[t]
        if weight is None:
            return []
        return [
            lambda r, basis=basis: tanh_of_square(linear(basis(r), weight)) for basis in self.bases
        ]

    def all_functions(self) -> list[Functions]:
        """Every function there is, to choose knots by."""
        layers = range(len(self.networks))
        return [f for t in layers for f in self.functions(t) + self.densities_of(t)]


def _of_pair(basis: torch.nn.Module, pair: tuple[int, int]):
    def f(r: torch.Tensor) -> torch.Tensor:
        i, j = (torch.full((len(r),), z) for z in pair)
        return basis(r, (i, j))

    return f


def _network(x: Taylor, weights: list[np.ndarray]) -> Taylor:
    """:class:`mace_core.model.radial.RadialMLP` with derivatives."""
    *hidden, last = weights
    factor = 1.0
    for weight in hidden:
        x = silu(linear(x, weight * factor))
        factor = SILU_FACTOR
    return linear(x, last * factor)


class Packer:
    """Packs models of one architecture.

    Args:
        model: the first of them.
        dtype: of the kernels.
        species: indices of the elements that are wanted, in the order of the packed arrays.
    """

    def __init__(self, model: MACE, dtype: torch.dtype, species: Sequence[int]):
        a = model.architecture
        self.dtype, self.species = NUMPY[dtype], list(species)
        self.lanes = vector_bytes() // np.dtype(self.dtype).itemsize
        self.C, self.padded = a.num_channels, -(-a.num_channels // self.lanes) * self.lanes
        self.layers = []  # (lmax_in, lmax_out)
        for t in range(a.num_interactions):
            last = t == a.num_interactions - 1
            self.layers.append((a.max_L if t > 0 else 0, 0 if last else a.max_L))
        self.max_ell, self.correlation = a.max_ell, a.correlation
        self.tables = [layer_tables(a.max_ell, *lmax, a.correlation) for lmax in self.layers]

    @property
    def atom_work(self) -> int:
        """A measure of the work for an atom: rows of the A-basis × channels, of all layers."""
        return self.padded * sum(layer.n_rows for layer in self.tables)

    def architecture(self, r_max: float, knots: Knots, radial: Radial) -> Architecture:
        """What all members share."""
        return Architecture(
            n_layers=len(self.layers),
            channels=self.padded,
            n_elements=len(self.species),
            max_ell=self.max_ell,
            n_tables=len(radial.bases),
            n_knots=knots.n,
            r_max=r_max,
            first_knot=knots.first,
            knot_distance=knots.distance,
            layers=array_of(self.tables),
            table_of_pair=integers(radial.table_of_pair),
        )

    def member(self, model: MACE, radial: Radial, knots: Knots, head: int) -> Member:
        """One model's weights.

        Args:
            model: of this packer's architecture.
            radial: its radial functions.
            knots: of the splines.
            head: which of its energies.
        """
        layers = [self._layer(model, t, radial, knots, head) for t in range(len(self.layers))]
        repulsion = {}
        if model.pair_repulsion is not None:
            repulsion["repulsion"] = self._repulsion(model.pair_repulsion)
        return Member(
            **repulsion,
            layers=array_of(layers),
            E0=_numpy(model.E0)[head, self.species].copy(),
            scale=float(model.scale_shift.scale[head]),
            shift=float(model.scale_shift.shift[head]),
        )

    def _layer(self, model: MACE, t: int, radial: Radial, knots: Knots, head: int) -> LayerWeights:
        interaction, product = model.interactions[t], model.products[t]
        weights = self._radial(radial.functions(t), knots, self.layers[t][0])
        values = {"radial": weights, **self._linear(interaction), **self._product(product, t)}
        densities = radial.densities_of(t)
        if densities:
            tables = np.stack([sample(f, knots)[:, :, 0] for f in densities])
            values["density"] = aligned(tables, self.dtype)
        up = _matrices(interaction.linear_up)
        if t == 0:
            z = len(model.node_embedding.weight)
            h = _numpy(model.node_embedding.weight)[self.species] * z**-0.5
            values["senders"] = self._pad(h @ up[0], 1)
        else:
            up = self._pad(np.stack(up), 2)
            values |= {"up": up, "up_t": aligned(up.transpose(0, 2, 1), self.dtype)}
        values["lmax_skip"] = -1
        if interaction.residual:
            skip = _numpy(interaction.skip.weight)[:, self.species] * interaction.skip.factor
            values["lmax_skip"] = len(skip) - 1
            skip = skip.transpose(1, 0, 2, 3)  # [Z, l, C, C]
            if t == 0:
                values["skip"] = self._pad(np.einsum("zc,zcd->zd", h, skip[:, 0]), 1)
            else:
                skip = self._pad(skip, 2)
                values["skip"] = skip
                values["skip_t"] = aligned(skip.transpose(0, 1, 3, 2), self.dtype)
        return LayerWeights(**values, **self._readout(model.readouts[t], head))

    def _radial(self, functions: list[Functions], knots: Knots, lmax_in: int) -> np.ndarray:
        """[C / lanes, tables, knots, paths, 3, lanes]."""
        tables = np.stack([sample(f, knots) for f in functions])  # [tables, knots, 3, paths · C]
        tables = tables.reshape(*tables.shape[:3], -1, self.C)
        tables = tables[:, :, :, path_order(self.max_ell, lmax_in)]
        tables = self._padded_blocks(tables)  # [tables, knots, 3, paths, C / lanes, lanes]
        return aligned(tables.transpose(4, 0, 1, 3, 2, 5), self.dtype)

    def _linear(self, interaction: torch.nn.Module) -> dict:
        """The map from A-basis rows to A; without residual with the element's matrices behind."""
        of_l = _matrices(interaction.linear)  # [paths · C, C] each
        n = 1 if interaction.residual else len(self.species)
        forward, backward = [], []
        for z in range(n):
            for l, matrix in enumerate(of_l):
                if not interaction.residual:
                    of_z = _numpy(interaction.skip.weight[l, self.species[z]])
                    matrix = matrix @ of_z * interaction.skip.factor
                matrix = self._pad_matrix(matrix.reshape(-1, self.C, self.C))
                forward.append(matrix.reshape(-1))
                backward.append(matrix.T.reshape(-1))
        return {
            "linear": aligned(np.concatenate(forward), self.dtype),
            "linear_t": aligned(np.concatenate(backward), self.dtype),
            "linear_step": 0 if n == 1 and interaction.residual else sum(map(len, forward)) // n,
        }

    def _product(self, product: torch.nn.Module, t: int) -> dict:
        order = term_order(self.max_ell, self.layers[t][1], self.correlation)
        weights = np.concatenate([_numpy(w) for w in product.weights.values()], axis=1)
        coefficients = order.terms.columns[order.order] @ weights[self.species]  # [Z, T, C]
        blocks = self._padded_blocks(coefficients)  # [Z, T, C / lanes, lanes]
        mix = self._pad(np.stack(_matrices(product.linear)), 2)
        return {
            "product": aligned(blocks.transpose(0, 2, 1, 3), self.dtype),
            "mix": mix,
            "mix_t": aligned(mix.transpose(0, 2, 1), self.dtype),
        }

    def _readout(self, readout: torch.nn.Module, head: int) -> dict:
        if hasattr(readout, "weight"):
            weight = _numpy(readout.weight)[:, head]
            return {"readout": self._pad(weight * len(weight) ** -0.5, 1)}
        w1, w2 = _numpy(readout.weight_1), _numpy(readout.weight_2)
        hidden = w1.shape[1] // w2.shape[1]
        own = slice(head * hidden, (head + 1) * hidden)
        return {
            "readout_1": self._pad(w1[:, own].T * len(w1) ** -0.5, 1),
            "readout_2": aligned(w2[own, head] * SILU_FACTOR * len(w2) ** -0.5, self.dtype),
            "hidden": hidden,
        }

    def _repulsion(self, zbl: torch.nn.Module) -> np.ndarray:
        """[Z, Z, 11] constants of each pair, see native/repulsion.h."""
        Z, radii = _numpy(zbl.atomic_numbers)[self.species], _numpy(zbl.covalent_radii)
        size = radii[self.species, None] + radii[self.species]
        powers = Z ** float(zbl.a_exp)
        a = float(zbl.a_prefactor) * BOHR / (powers[:, None] + powers)
        table = np.empty((len(Z), len(Z), 11))
        table[:, :, 0] = 0.5 * COULOMB * Z[:, None] * Z
        table[:, :, 1], table[:, :, 2] = size, zbl.p
        table[:, :, 3:7] = _numpy(zbl.c)
        table[:, :, 7:] = _numpy(zbl.decays) / a[:, :, None]
        return table

    def _pad(self, x: np.ndarray, axes: int) -> np.ndarray:
        """The last axes, each of C channels, filled up with zeros."""
        widths = [(0, 0)] * (x.ndim - axes) + [(0, self.padded - self.C)] * axes
        return aligned(np.pad(x, widths), self.dtype)

    def _pad_matrix(self, x: np.ndarray) -> np.ndarray:
        """[paths, C, C] → [paths · padded, padded]."""
        more = (0, self.padded - self.C)
        return np.pad(x, [(0, 0), more, more]).reshape(-1, self.padded)

    def _padded_blocks(self, x: np.ndarray) -> np.ndarray:
        """[…, C] → […, C / lanes, lanes]."""
        widths = [(0, 0)] * (x.ndim - 1) + [(0, self.padded - self.C)]
        return np.pad(x, widths).reshape(*x.shape[:-1], -1, self.lanes)


def _numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def _matrices(linear: torch.nn.Module) -> list[np.ndarray]:
    """The matrices of a :class:`mace_core.model.linear.Linear`, for each l, with their factors."""
    weight = _numpy(linear.weight) * _numpy(linear.factors)
    return np.split(weight, np.cumsum(linear.fan_in)[:-1])
