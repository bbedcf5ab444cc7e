"""Real spherical harmonics of directions: e3nn's, in order, axes and normalisation."""

import torch

from mace_core.ops.backend import Gradient, empty_like, kernels, last_derivative, pointers, wanted

#: Highest degree that the native kernels know.
MAX_ELL = 4


def spherical_harmonics(max_ell: int, vectors: torch.Tensor) -> torch.Tensor:
    """Y_lm(v̂) for l = 0 … ``max_ell``, with Σ_m Y_lm² = 2 l + 1.

    Args:
        max_ell: largest degree.
        vectors: [n, 3] of any length but zero.

    Returns:
        [n, (max_ell + 1)²].
    """
    if 0 < max_ell <= MAX_ELL and kernels(vectors) is not None:
        return _Harmonics.apply(vectors, max_ell)
    return _torch(vectors, max_ell)


def _torch(vectors: torch.Tensor, max_ell: int) -> torch.Tensor:
    # Here, because it imports torch._dynamo: 1.5 s that a process on native kernels need not spend.
    from e3nn import o3

    degrees = list(range(max_ell + 1))
    return o3.spherical_harmonics(degrees, vectors, normalize=True, normalization="component")


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vectors, max_ell):
        vectors = vectors.contiguous()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors)
        ctx.kernels, ctx.max_ell = kernels(vectors), max_ell
        Y = vectors.new_empty(len(vectors), (max_ell + 1) ** 2)
        ctx.kernels.harmonics_forward(max_ell, len(vectors), *pointers(vectors, Y))
        return Y

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return None, None
        run = ctx.kernels.harmonics_backward
        return _HarmonicsGradient.of(*ctx.saved_tensors, g, run, ctx.max_ell), None


class _HarmonicsGradient(Gradient):
    @staticmethod
    def forward(ctx, vectors, g, run, max_ell):
        g = g.contiguous()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, g)
        ctx.run, ctx.max_ell = run, max_ell
        result = torch.empty_like(vectors)
        run(max_ell, len(vectors), *pointers(vectors, g, result, None, None))
        return result

    @staticmethod
    @last_derivative
    def backward(ctx, u):
        if u is None:
            return (None,) * 4
        vectors, g = ctx.saved_tensors
        for_vectors, for_g = wanted(ctx)
        (of_g,) = empty_like([for_g], g)
        if for_g:
            u = u.contiguous()
            ctx.run(ctx.max_ell, len(vectors), *pointers(vectors, None, None, u, of_g))
        # The curvature of Y, which no training needs.
        of_vectors = _curvature(vectors, g, u, ctx.max_ell) if for_vectors else None
        return of_vectors, of_g, None, None


def _curvature(vectors, g, u, max_ell):
    """Gradient of ⟨u, ∂⟨g, Y⟩/∂vectors⟩ with respect to the vectors, in torch."""
    with torch.enable_grad():
        v = vectors.detach().requires_grad_()
        (of_v,) = torch.autograd.grad(_torch(v, max_ell), v, g, create_graph=True)
        return torch.autograd.grad(of_v, v, u)[0]
