"""Which models run as one native operation, and what that is told of them.

What a training step does is then two calls (:mod:`mace_core.ops.whole_model`). The modules of the
model say the same operation by operation, for all other models and back ends.
"""

from weakref import WeakKeyDictionary

import numpy as np
import torch

from mace_core.model.graph import Graph
from mace_core.ops import a_basis_native
from mace_core.ops.b_basis import NEGLIGIBLE
from mace_core.ops.backend import kernels
from mace_core.ops.coupling import dim
from mace_core.ops.harmonics import MAX_ELL
from mace_core.ops.paths import Paths
from mace_core.ops.whole_model import Frames, Layer, Shape, WholeModel, Zero, evaluate

_shapes: WeakKeyDictionary = WeakKeyDictionary()


def predict(
    model: torch.nn.Module, graph: Graph, forces: bool, stress: bool, training: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None] | None:
    """Energies of frames and of atoms without pair repulsion, forces, virials.

    Args:
        model: a MACE.
        graph: frames.
        forces: wanted, else None.
        stress: virials wanted, else None.
        training: the results can be differentiated by the model's weights, once.

    Returns:
        None where the model is not of the kind that the kernels evaluate as a whole, see
        :func:`shape_of`, or where there are no kernels.
    """
    shape = shape_of(model)
    if shape is None:
        return None
    own = weights(model)
    native = kernels(graph.positions, graph.unit_shifts, graph.cell, *own)
    if native is None:
        return None
    call = native, shape, *inputs(model, graph), (forces, stress)
    if training:
        return WholeModel.apply(*call, *own)
    return evaluate(*call, [w.detach().contiguous() for w in own])[0]


def inputs(model: torch.nn.Module, graph: Graph) -> tuple[Frames, Zero]:
    """What :class:`WholeModel` takes beside shape and weights."""
    frames = Frames(
        graph.positions.detach(),
        graph.species,
        graph.edge_index,
        graph.unit_shifts,
        graph.cell,
        graph.frame,
        graph.reverse,
    )
    scale, shift = model.scale_shift.scale.item(), model.scale_shift.shift.item()
    return frames, Zero(model.E0, scale, shift)


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """All weights in the order of :class:`WholeModel`."""
    found = [model.node_embedding.weight]
    layers = zip(model.interactions, model.products, model.readouts, strict=True)
    for interaction, product, readout in layers:
        # By the modules' own dictionaries: attribute by attribute takes as long as small kernels.
        maps = interaction._modules
        found += [maps[name]._parameters["weight"] for name in ("linear_up", "linear", "skip")]
        found.append(product._modules["linear"]._parameters["weight"])
        found += maps["radial_MLP"]._modules["weights"]._parameters.values()
        found += readout.weights()
        found += product._modules["weights"]._parameters.values()
    return found


def shape_of(model: torch.nn.Module) -> Shape | None:
    """What the kernels are told of a model, if it is of the kind that they evaluate as a whole.

    That is: one head, Bessel functions of the distance itself, messages over their mean number.
    """
    dtype = model.node_embedding.weight.dtype
    shapes = _shapes.setdefault(model, {})
    if dtype not in shapes:
        shapes[dtype] = _shape(model, dtype)
    return shapes[dtype]


def _shape(model: torch.nn.Module, dtype: torch.dtype) -> Shape | None:
    if (
        len(model.heads) > 1
        or model.radial_basis.bessel is None
        or not 0 < model.architecture.max_ell <= MAX_ELL
        or any(interaction.density is not None for interaction in model.interactions)
        or any(product.basis.tables is None for product in model.products)
    ):
        return None
    return Shape(
        [_layer(t, model, dtype) for t in range(len(model.interactions))],
        len(model.elements),
        model.architecture.num_channels,
        model.architecture.max_ell,
        tuple(model.radial_basis.bessel),
        dtype,
    )


def _layer(t: int, model: torch.nn.Module, dtype: torch.dtype) -> Layer:
    interaction, product, readout = model.interactions[t], model.products[t], model.readouts[t]
    max_ell = model.architecture.max_ell
    lmax_in = interaction.n_l1 - 1
    rows = dim(lmax_in), dim(max_ell), product.basis.n_outputs
    columns = product.columns.double().cpu().numpy()
    one, elements = (0,), (0,) * len(model.elements)
    return Layer(
        rows=rows,
        residual=interaction.residual,
        a_basis=a_basis_native.tables(lmax_in, max_ell, dtype),
        b_basis=product.basis.tables,
        columns=np.where(np.abs(columns) > NEGLIGIBLE, columns, 0.0),
        product_paths=[w.shape[1] for w in product.weights.values()],
        maps=(
            interaction.linear_up.map.shape(rows[0], one),
            interaction.linear.map.shape(len(Paths.build(lmax_in, max_ell).rows), one),
            interaction.skip.map.shape(rows[0] if interaction.residual else rows[1], elements),
            product.linear.map.shape(rows[2], one),
        ),
        radial=(_widths(interaction.radial_MLP.weights), interaction.radial_MLP.factors),
        readout=(_widths(readout.weights()), readout.factors()),
    )


def _widths(weights) -> list[int]:
    return [len(weights[0]), *(w.shape[1] for w in weights)]
