"""The radial basis: a function of the distance alone, so one slope gives all its gradients."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from mace_core.ops.backend import Gradient, Kernels, kernels, last_derivative, pointers, wanted


class Bessel(NamedTuple):
    """√(2/r_max) sin(k π r/r_max)/r for k = 1 … num_basis, times the polynomial cutoff.

    Attributes:
        r_max: cutoff, Å.
        num_basis: number of functions.
        p: order of the cutoff.
    """

    r_max: float
    num_basis: int
    p: int


def of_distance(
    function: Callable[[torch.Tensor], torch.Tensor],
    vectors: torch.Tensor,
    bessel: Bessel | None = None,
) -> torch.Tensor:
    """``function`` of the vectors' lengths.

    Args:
        function: [n, 1] → [n, m], row by row.
        vectors: [n, 3] of any length but zero.
        bessel: says that this is the function, for which there is a kernel.

    Returns:
        [n, m].
    """
    if bessel is None or (native := kernels(vectors)) is None:
        return function(torch.linalg.vector_norm(vectors, dim=1, keepdim=True))
    return _Bessel.apply(vectors, native, bessel, function)


class _Bessel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vectors, native: Kernels, bessel: Bessel, function):
        vectors = vectors.contiguous()
        n, (r_max, m, p) = len(vectors), bessel
        values, slopes = vectors.new_empty(n, m), vectors.new_empty(n, m)
        directions = torch.empty_like(vectors)
        native.bessel(n, m, r_max, p, *pointers(vectors, values, slopes, directions))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, directions, slopes)
        ctx.function = function
        return values

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return (None,) * 4
        vectors, directions, slopes = ctx.saved_tensors
        of_vectors = _BesselGradient.of(vectors, g, directions, slopes, ctx.function)
        return of_vectors, None, None, None


class _BesselGradient(Gradient):
    @staticmethod
    def forward(ctx, vectors, g, directions, slopes, function):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, g, directions, slopes)
        ctx.function = function
        return torch.linalg.vecdot(g, slopes).unsqueeze(1) * directions

    @staticmethod
    @last_derivative
    def backward(ctx, u):
        if u is None:
            return (None,) * 5
        vectors, g, directions, slopes = ctx.saved_tensors
        for_vectors, for_g = wanted(ctx)[:2]
        of_g = torch.linalg.vecdot(u, directions).unsqueeze(1) * slopes if for_g else None
        # The curvature of the function, which no training needs.
        of_vectors = _curvature(vectors, g, u, ctx.function) if for_vectors else None
        return of_vectors, of_g, None, None, None


def _curvature(vectors, g, u, function):
    """Gradient of ⟨u, ∂⟨g, f⟩/∂vectors⟩ with respect to the vectors, in torch."""
    with torch.enable_grad():
        v = vectors.detach().requires_grad_()
        values = function(torch.linalg.vector_norm(v, dim=1, keepdim=True))
        (of_v,) = torch.autograd.grad(values, v, g, create_graph=True)
        return torch.autograd.grad(of_v, v, u)[0]
