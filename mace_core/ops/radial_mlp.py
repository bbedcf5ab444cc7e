"""A network of SiLU layers without bias: the radial functions of all edges.

It is most of the work of a training step, so it has kernels of its own (``training_mlp.h``) for the
result, its gradients, and the gradients of those.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch

from mace_core.ops.backend import (
    Gradient,
    Struct,
    contiguous,
    empty_like,
    integers,
    kernels,
    last_derivative,
    pointers,
    wanted,
)

#: Numbers that the kernels may read beyond the values of the hidden layers.
_BEYOND = 64


def radial_mlp(
    x: torch.Tensor, weights: Sequence[torch.Tensor], factors: Sequence[float]
) -> torch.Tensor:
    """silu(… silu(x W_1 f_1) W_2 f_2 …) W_L f_L; natively twice differentiable.

    Args:
        x: [n, widths[0]].
        weights: [widths[l], widths[l + 1]] of each layer.
        factors: that multiply the weights.

    Returns:
        [n, widths[L]].
    """
    if kernels(x, *weights) is not None:
        return _MLP.apply(x, *weights, tuple(factors))[0]
    *hidden, last = [w * f for w, f in zip(weights, factors, strict=True)]
    for weight in hidden:
        x = torch.nn.functional.silu(x @ weight)
    return x @ last


class _MLP(torch.autograd.Function):
    """The result, and the values z of the hidden layers before their SiLU.

    Gradients depend on z. Their own gradients end there, so that one backward pass takes them
    on together with the gradients of the result.
    """

    @staticmethod
    def forward(ctx, *inputs):
        *tensors, factors = inputs
        x, *weights = contiguous(*tensors)
        ctx.set_materialize_grads(False)
        widths = (len(weights[0]), *[w.shape[1] for w in weights])
        ctx.shape = _shape(widths, factors, x.dtype, tuple(pointers(*weights)))
        ctx.kernels = kernels(x, *weights)
        z = sigma = None
        if any(ctx.needs_input_grad):
            z = x.new_empty(len(x) * sum(widths[1:-1]) + _BEYOND)
            sigma = torch.empty_like(z)
        result = x.new_empty(len(x), widths[-1])
        ctx.kernels.mlp_forward(ctx.shape.address, len(x), *pointers(x, z, sigma, result))
        ctx.save_for_backward(x, z, sigma, *weights)
        return result, z

    @staticmethod
    def backward(ctx, g, of_z):
        x, z, sigma, *weights = ctx.saved_tensors
        if g is None and of_z is None:
            return (None,) * (len(weights) + 2)
        which = wanted(ctx)
        if of_z is None:
            return *_MLPGradient.of(x, *weights, g, z, sigma, ctx.kernels, ctx.shape, which), None
        return *_both(ctx, x, z, sigma, weights, g, of_z, which), None


@last_derivative
def _both(ctx, x, z, sigma, weights, g, of_z, which):
    """The backward pass of a training step's end, from the result and from z."""
    g, of_z = contiguous(g, of_z)
    of_x, *of_weights = _empty(which, x, weights)
    b = torch.empty_like(z)
    ctx.kernels.mlp_backward(
        ctx.shape.address, len(x), *pointers(x, z, sigma, g, of_z, b, of_x), _addresses(of_weights)
    )
    return of_x, *of_weights


class _MLPGradient(Gradient):
    """Gradients with respect to x and the weights; None where not wanted."""

    @staticmethod
    def forward(ctx, *inputs):
        x, *weights, g, z, sigma, native, shape, which = inputs
        g = g.contiguous()
        ctx.set_materialize_grads(False)
        b = torch.empty_like(z)
        of_x, *of_weights = _empty(which, x, weights)
        native.mlp_backward(
            shape.address, len(x), *pointers(x, z, sigma, g, None, b, of_x), _addresses(of_weights)
        )
        ctx.save_for_backward(x, *weights, g, z, sigma, b)
        ctx.kernels, ctx.shape = native, shape
        return of_x, *of_weights

    @staticmethod
    @last_derivative
    def backward(ctx, u, *Q):
        x, *weights, g, z, sigma, b = ctx.saved_tensors
        if u is None and all(q is None for q in Q):
            return (None,) * (len(weights) + 7)
        u, *Q = contiguous(u, *Q)
        if any(q is not None for q in Q):
            Q = [torch.zeros_like(w) if q is None else q for q, w in zip(Q, weights, strict=True)]
        for_x, *which = wanted(ctx)[: len(weights) + 1]
        of_x, *of_weights = _empty([for_x and Q[0] is not None, *which], x, weights)
        of_g, of_z = torch.empty_like(g), torch.empty_like(z)
        ctx.kernels.mlp_double_backward(
            ctx.shape.address,
            len(x),
            *pointers(x, z, sigma, g, b, u),
            _addresses(Q),
            *pointers(of_g, of_x, of_z),
            _addresses(of_weights),
        )
        return of_x, *of_weights, of_g, of_z, None, None, None, None


def _empty(which, x, weights) -> list[torch.Tensor | None]:
    """Where gradients are to be written: those of the weights together or not at all."""
    return empty_like([which[0]] + [any(which[1:])] * len(weights), x, *weights)


@functools.lru_cache(maxsize=4096)
def _shape(
    widths: tuple[int, ...],
    factors: tuple[float, ...],
    dtype: torch.dtype,
    weights: tuple[int, ...],
) -> Struct:
    """``MLPShape``; ``weights`` are addresses."""
    numbers = np.array(factors, dtype=np.float32 if dtype == torch.float32 else np.float64)
    arrays = [np.array(widths, dtype=np.int64), np.array(weights, dtype=np.int64), numbers]
    return Struct([len(weights)], arrays)


def _addresses(tensors: Sequence[torch.Tensor | None]) -> int | None:
    """Address of an array of pointers to the tensors' data; null where there are none."""
    return None if tensors[0] is None else integers(tuple(pointers(*tensors))).address
