import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mace_tools import TOLERANCE, orthogonal, wigner_up_to

from mace_core.ops.a_basis import Edges, Paths, a_basis
from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import dim

CASES = [(0, 3), (1, 3), (2, 2), (1, 1), (0, 0)]


def inputs(lmax_in, max_ell, n_atoms, edges_per_atom, channels=2, seed=0):
    """Random operands; ``edges_per_atom`` [n_atoms]."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    receivers = torch.repeat_interleave(torch.arange(n_atoms), torch.tensor(edges_per_atom))
    n_edges = len(receivers)
    senders = torch.randint(n_atoms, (n_edges,), generator=generator)
    paths = Paths.build(lmax_in, max_ell)
    h, Y = normal(n_atoms, dim(lmax_in), channels), normal(n_edges, dim(max_ell))
    R = normal(n_edges, len(paths.paths), channels)
    return paths, h, Y, R, receivers, senders


def run(paths, h, Y, R, receivers, senders):
    return a_basis(
        h,
        Y,
        [R[:, own] for own in paths.of_l1],
        Edges.build(receivers, senders, len(h)),
        [torch.tensor(c) for c in paths.couplings],
        torch.tensor(paths.rows),
    )


def naive(paths, h, Y, R, receivers, senders):
    """The equation, edge by edge and path by path; rows ordered (l3, m3, path)."""
    out = {}
    for p, (l1, l2, l3) in enumerate(paths.paths):
        C = torch.tensor(clebsch_gordan(l1, l2, l3) * np.sqrt(2 * l3 + 1))
        block = torch.zeros(len(h), 2 * l3 + 1, h.shape[2], dtype=h.dtype)
        for e in range(len(receivers)):
            hj = h[senders[e], l1 * l1 : (l1 + 1) ** 2]
            y = Y[e, l2 * l2 : (l2 + 1) ** 2]
            block[receivers[e]] += torch.einsum("abm,ak,b,k->mk", C, hj, y, R[e, p])
        for m in range(2 * l3 + 1):
            out[l3, m, p] = block[:, m]
    return torch.stack([out[key] for key in sorted(out)], dim=1)


@pytest.mark.parametrize("lmax_in, max_ell", CASES)
@pytest.mark.parametrize("edges_per_atom", [[3, 3, 3], [2, 0, 5], [0, 0, 0], [0]])
def test_is_the_equation(lmax_in, max_ell, edges_per_atom):
    operands = inputs(lmax_in, max_ell, len(edges_per_atom), edges_per_atom)
    torch.testing.assert_close(
        run(*operands), naive(*operands), atol=TOLERANCE["exact"], rtol=TOLERANCE["exact"]
    )


def test_paths_in_the_order_of_mace_torch():
    assert Paths.build(1, 2).paths == [
        (0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 2, 1), (0, 2, 2), (1, 1, 2),
    ]  # fmt: skip


@given(st.sampled_from(CASES), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=30)
def test_equivariant(case, seed, improper):
    lmax_in, max_ell = case
    paths, h, Y, R, *ij = inputs(lmax_in, max_ell, 4, [2, 3, 0, 4], seed=seed % 1000)
    Q = orthogonal(seed, improper)
    D = wigner_up_to(max_ell, Q)
    turned = run(paths, torch.einsum("ab,nbk->nak", wigner_up_to(lmax_in, Q), h), Y @ D.T, R, *ij)
    A = run(paths, h, Y, R, *ij)
    start = 0
    for l3, n_paths in enumerate(paths.of_l3):
        rows = slice(start, start + (2 * l3 + 1) * n_paths)
        start = rows.stop
        before = A[:, rows].unflatten(1, (2 * l3 + 1, n_paths))
        after = turned[:, rows].unflatten(1, (2 * l3 + 1, n_paths))
        block = D[l3 * l3 : (l3 + 1) ** 2, l3 * l3 : (l3 + 1) ** 2]
        torch.testing.assert_close(
            after, torch.einsum("ab,nbpk->napk", block, before), atol=1e-10, rtol=1e-10
        )


@pytest.mark.parametrize("lmax_in, max_ell, per_atom", [(0, 2, [2, 1]), (1, 1, [2, 2])])
def test_first_and_second_derivatives(lmax_in, max_ell, per_atom):
    paths, h, Y, R, *ij = inputs(lmax_in, max_ell, len(per_atom), per_atom, channels=1)
    operands = [x.requires_grad_() for x in (h, Y, R)]

    def function(h, Y, R):
        return run(paths, h, Y, R, *ij)

    assert torch.autograd.gradcheck(function, operands)
    assert torch.autograd.gradgradcheck(function, operands)
