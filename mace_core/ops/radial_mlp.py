"""A network of SiLU layers without bias: the radial functions of all edges.

It is most of the work of a training step, so it has kernels of its own (``training_mlp.h``) for the
result, its gradients, and the gradients of those.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mace_core.ops.backend import contiguous, kernels, last_derivative, pointer, wanted

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
        return _MLP.apply(x, *weights, tuple(factors))
    *hidden, last = [w * f for w, f in zip(weights, factors, strict=True)]
    for weight in hidden:
        x = torch.nn.functional.silu(x @ weight)
    return x @ last


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        *tensors, factors = inputs
        x, *weights = contiguous(*tensors)
        ctx.set_materialize_grads(False)
        shape = _Shape(weights, factors)
        z = x.new_empty(len(x) * shape.hidden + _BEYOND) if any(ctx.needs_input_grad) else None
        result = x.new_empty(len(x), shape.widths[-1])
        kernels(x).mlp_forward(shape.address, len(x), pointer(x), pointer(z), pointer(result))
        ctx.save_for_backward(x, z, *weights)
        ctx.factors = factors
        return result

    @staticmethod
    def backward(ctx, g):
        x, z, *weights = ctx.saved_tensors
        if g is None:
            return (None,) * (len(weights) + 2)
        return *_MLPGradient.apply(x, *weights, g, z, ctx.factors, wanted(ctx)), None


class _MLPGradient(torch.autograd.Function):
    """Gradients with respect to x and the weights; None where not wanted."""

    @staticmethod
    def forward(ctx, *inputs):
        x, *weights, g, z, factors, which = inputs
        (g,) = contiguous(g)
        ctx.set_materialize_grads(False)
        shape = _Shape(weights, factors)
        b = torch.empty_like(z)
        of_x = torch.empty_like(x) if which[0] else None
        of_weights = [torch.zeros_like(w) for w in weights] if any(which[1:]) else None
        kernels(x).mlp_backward(
            shape.address, len(x), *map(pointer, (x, z, g, b, of_x)), _addresses(of_weights)[0]
        )
        ctx.save_for_backward(x, *weights, g, z, b)
        ctx.factors = factors
        return of_x, *(of_weights or [None] * len(weights))

    @staticmethod
    @last_derivative
    def backward(ctx, u, *Q):
        x, *weights, g, z, b = ctx.saved_tensors
        if u is None and all(q is None for q in Q):
            return (None,) * (len(weights) + 5)
        u, *Q = contiguous(u, *Q)
        for_x, *for_weights, for_g = wanted(ctx)[: len(weights) + 2]
        if any(q is not None for q in Q):
            Q = [torch.zeros_like(w) if q is None else q for q, w in zip(Q, weights, strict=True)]
        else:
            Q = None
        shape = _Shape(weights, ctx.factors)
        of_g = torch.empty_like(g)
        of_x = torch.empty_like(x) if for_x else None
        of_weights = [torch.zeros_like(w) for w in weights] if any(for_weights) else None
        Q_address, _keep_Q = _addresses(Q)
        weights_address, _keep_weights = _addresses(of_weights)
        kernels(x).mlp_double_backward(
            shape.address,
            len(x),
            *map(pointer, (x, z, g, b, u)),
            Q_address,
            pointer(of_g),
            pointer(of_x),
            weights_address,
        )
        of_weights = of_weights or [None] * len(weights)
        return of_x, *of_weights, of_g if for_g else None, None, None, None


class _Shape:
    """``MLPShape``."""

    def __init__(self, weights: Sequence[torch.Tensor], factors: Sequence[float]):
        dtype = np.float32 if weights[0].dtype == torch.float32 else np.float64
        self.widths = np.array([len(weights[0]), *(w.shape[1] for w in weights)], dtype=np.int64)
        self.hidden = int(self.widths[1:-1].sum())
        address, self._weights = _addresses(weights)
        self._factors = np.array(factors, dtype=dtype)
        words = [len(weights), self.widths.ctypes.data, address, self._factors.ctypes.data]
        self._words = np.array(words, dtype=np.int64)
        self.address = self._words.ctypes.data


def _addresses(tensors: Sequence[torch.Tensor] | None) -> tuple[int | None, np.ndarray | None]:
    """Address of an array of pointers to the tensors' data, and that array, to be kept alive."""
    if tensors is None:
        return None, None
    array = np.array([x.data_ptr() for x in tensors], dtype=np.int64)
    return array.ctypes.data, array
