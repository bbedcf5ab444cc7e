"""The A-basis on the native kernels, with its first and second derivatives.

F(h, Y, R, g) = Σ g A(h, Y, R) is linear in each operand. A is its derivative with respect to g, the
gradients of A are the other three, and gradients of those are derivatives of F again, with
cotangents in place of operands: one kernel serves all (``training_a_basis.h``).
"""

import functools

import numpy as np
import torch

from mace_core.ops.backend import (
    Gradient,
    Struct,
    contiguous,
    empty_like,
    kernels,
    last_derivative,
    pointers,
    wanted,
)
from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import dim
from mace_core.ops.paths import Paths


class ABasis(torch.autograd.Function):
    """A [n_atoms, n_rows, C] from h, Y, R and the edges."""

    @staticmethod
    def forward(ctx, h, Y, R, edges):
        h, Y, R = contiguous(h, Y, R)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, Y, R)
        ctx.run, ctx.edges = kernels(h, Y, R).a_basis, edges
        A = h.new_empty(edges.n_atoms, _n_rows(h, Y), h.shape[2])
        _call(ctx, h, Y, R, None, None, None, None, None, None, None, A)
        return A

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return None, None, None, None
        return *ABasisGradient.of(*ctx.saved_tensors, g, ctx.run, ctx.edges, wanted(ctx)), None


class ABasisGradient(Gradient):
    """∂F/∂h, ∂F/∂Y, ∂F/∂R; None where not wanted."""

    @staticmethod
    def forward(ctx, h, Y, R, g, run, edges, which):
        g = g.contiguous()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, Y, R, g)
        ctx.run, ctx.edges = run, edges
        results = empty_like(which, h, Y, R)
        _call(ctx, h, Y, R, g, None, None, None, *results, None)
        return tuple(results)

    @staticmethod
    @last_derivative
    def backward(ctx, dh, dY, dR):
        if dh is None and dY is None and dR is None:
            return (None,) * 7
        operands = ctx.saved_tensors
        given = zip((dh, dY, dR), operands, strict=False)
        changes = [torch.zeros_like(x) if dx is None else dx.contiguous() for dx, x in given]
        results = empty_like(wanted(ctx), *operands)
        _call(ctx, *operands, *changes, *results)
        return *results, None, None, None


def _call(ctx, h, Y, R, *others) -> None:
    edges = ctx.edges
    ctx.run(
        tables(_lmax(h.shape[1]), _lmax(Y.shape[1]), h.dtype).address,
        edges.n_atoms,
        len(R),
        *pointers(edges.first, edges.senders, edges.pair),
        h.shape[2],
        *pointers(h, Y, R, *others),
    )


def _lmax(rows: int) -> int:
    return round(rows**0.5) - 1


def _n_rows(h: torch.Tensor, Y: torch.Tensor) -> int:
    paths = _paths(_lmax(h.shape[1]), _lmax(Y.shape[1]))
    return len(paths.rows)


@functools.cache
def _paths(lmax_in: int, max_ell: int) -> Paths:
    return Paths.build(lmax_in, max_ell)


@functools.cache
def tables(lmax_in: int, max_ell: int, dtype: torch.dtype) -> Struct:
    """``ATables``: each coupling k joins a pair q = (path, m1) and a row, by a sum over Y."""
    paths = _paths(lmax_in, max_ell).paths
    rows = sorted((l3, m3, p) for p, (_, _, l3) in enumerate(paths) for m3 in range(2 * l3 + 1))
    row_of = {row: index for index, row in enumerate(rows)}
    path_q, path_a, couplings = [0], [], []
    for p, (l1, l2, l3) in enumerate(paths):
        cg = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5
        for m1 in range(2 * l1 + 1):
            for m3 in range(2 * l3 + 1):
                terms = [(l2 * l2 + m2, cg[m1, m2, m3]) for m2 in np.flatnonzero(cg[m1, :, m3])]
                if terms:
                    couplings.append((row_of[l3, m3, p], path_q[-1] + m1, terms))
        path_q.append(path_q[-1] + 2 * l1 + 1)
        path_a.append(l1 * l1)
    couplings.sort(key=lambda c: c[:2])
    k_row, k_q = [c[0] for c in couplings], [c[1] for c in couplings]
    by_q = sorted(range(len(k_q)), key=lambda k: (k_q[k], k))
    terms = [(y, k, value) for k, c in enumerate(couplings) for y, value in c[2]]
    by_y = sorted(terms, key=lambda term: term[:2])
    n_rows, n_q, n_k, n_y = len(rows), path_q[-1], len(couplings), dim(max_ell)

    def values(numbers):
        return np.array(numbers, dtype=np.float32 if dtype == torch.float32 else np.float64)

    arrays = [
        path_q,
        path_a,
        _starts(k_row, n_rows),
        k_q,
        _starts([k_q[k] for k in by_q], n_q),
        by_q,
        [k_row[k] for k in by_q],
        k_row,
        _starts([k for _, k, _ in terms], n_k),
        [y for y, _, _ in terms],
        values([value for _, _, value in terms]),
        _starts([y for y, _, _ in by_y], n_y),
        [k for _, k, _ in by_y],
        values([value for _, _, value in by_y]),
    ]
    arrays = [a if isinstance(a, np.ndarray) else np.array(a, dtype=np.int32) for a in arrays]
    return Struct([n_y, dim(lmax_in), len(paths), n_rows, n_q, n_k], arrays)


def _starts(sorted_keys: list[int], n: int) -> np.ndarray:
    """[n + 1] where each key's entries begin."""
    return np.searchsorted(sorted_keys, np.arange(n + 1)).astype(np.int32)
