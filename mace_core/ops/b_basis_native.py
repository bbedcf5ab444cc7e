"""The B-basis on the native kernels, with its first and second derivatives.

G(A, W, g) = Σ g B(A, W), with coefficients W of the terms. B = ∂G/∂g; the gradient of ⟨v, ∂G/∂A⟩ is
that of G's derivative in the direction v, and that of ⟨Q, ∂G/∂W⟩ is that of G with Q in place of W
(``training_b_basis.h``).
"""

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

#: Head variables for which kernels are compiled: correlation − 1.
MAX_HEAD_VARIABLES = 3


def tables(
    heads: np.ndarray, head_of_term: np.ndarray, tails: np.ndarray, n_variables: int, n_outputs: int
) -> Struct:
    """``BTables``.

    Args:
        heads: [n_heads, ν] output and variables.
        head_of_term: [T].
        tails: [T] variable.
        n_variables: of A, without the constant.
        n_outputs: rows of B.
    """
    by_output = np.argsort(heads[:, 0], kind="stable")
    heads, head_of_term = heads[by_output], np.argsort(by_output)[head_of_term]
    order = np.argsort(head_of_term, kind="stable")
    head_first = np.searchsorted(head_of_term[order], np.arange(len(heads) + 1))
    output_first = np.searchsorted(heads[:, 0], np.arange(n_outputs + 1))
    arrays = [output_first, heads[:, 1:], head_first, order, tails[order]]
    sizes = [n_variables, n_outputs, len(heads), heads.shape[1] - 1, len(tails)]
    return Struct(
        [int(n) for n in sizes], [np.ascontiguousarray(a, dtype=np.int32) for a in arrays]
    )


class BBasisNative(torch.autograd.Function):
    """B [n_atoms, n_outputs, C] from A, W, the atoms of each element, and the tables."""

    @staticmethod
    def forward(ctx, A, W, counts, table, n_outputs):
        A, W = contiguous(A, W)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(A, W)
        ctx.run, ctx.counts, ctx.table = kernels(A, W).b_basis, tuple(counts), table
        B = A.new_empty(len(A), n_outputs, A.shape[2])
        _call(ctx, A, W, None, None, None, None, B)
        return B

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return (None,) * 5
        how = ctx.run, ctx.counts, ctx.table, wanted(ctx)
        return *BBasisGradient.of(*ctx.saved_tensors, g, *how), None, None, None


class BBasisGradient(Gradient):
    """∂G/∂A, ∂G/∂W; None where not wanted."""

    @staticmethod
    def forward(ctx, A, W, g, run, counts, table, which):
        g = g.contiguous()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(A, W, g)
        ctx.run, ctx.counts, ctx.table = run, counts, table
        results = empty_like(which, A, W)
        _call(ctx, A, W, g, None, *results, None)
        return tuple(results)

    @staticmethod
    @last_derivative
    def backward(ctx, v, Q):
        A, W, g = ctx.saved_tensors
        v, Q = contiguous(v, Q)
        for_A, for_W, for_g = wanted(ctx)
        results = [None, None, None]
        if v is not None:
            results = empty_like((for_A, for_W, for_g), A, W, g)
            _call(ctx, A, W, g, v, *results)
        if Q is not None:
            of_A, of_g = empty_like((for_A, for_g), A, g)
            _call(ctx, A, Q, g, None, of_A, None, of_g)
            results = [_sum(results[0], of_A), results[1], _sum(results[2], of_g)]
        return *results, None, None, None, None


def _call(ctx, A, *others) -> None:
    counts = ctx.counts
    ctx.run(
        ctx.table.address,
        len(counts),
        integers(counts).address,
        A.shape[2],
        *pointers(A, *others),
    )


def _sum(x: torch.Tensor | None, y: torch.Tensor | None) -> torch.Tensor | None:
    return y if x is None else x if y is None else x + y
