"""Couplings of a file in another basis give the same function."""

import pytest
import torch

from mace_core.convert.basis import column_map, full_coupling, symmetric_part
from mace_core.errors import UserError
from mace_core.ops.coupling import coupling, dim

CASES = [(1, 0, 1), (1, 1, 3), (2, 0, 2), (2, 1, 3), (2, 2, 2), (3, 0, 3)]


def function(U, W, x, L, nu):
    """Σ U W x … x by plain contraction."""
    out = U.reshape(2 * L + 1, *U.shape[-1 - nu :])
    for _ in range(nu):
        out = torch.einsum("i...aq,a->i...q", out.movedim(1, -2), x)
    return out @ W


@pytest.mark.parametrize("max_ell, L, nu", CASES)
def test_full_couplings_are_the_polynomials(max_ell, L, nu):
    U = full_coupling(max_ell, L, nu)
    table = torch.tensor(coupling(max_ell, L, nu))
    assert torch.allclose(symmetric_part(U, dim(max_ell), L, nu), table, rtol=0, atol=1e-14)
    assert column_map(U, max_ell, L, nu, "here") is None


@pytest.mark.parametrize("max_ell, L, nu", CASES)
@pytest.mark.parametrize("kind", ["signs", "recombined", "fewer"])
def test_weights_follow_the_columns(max_ell, L, nu, kind):
    torch.manual_seed(0)
    U = full_coupling(max_ell, L, nu)
    q = U.shape[-1]
    if kind == "signs":
        signs = torch.where(torch.rand(q) < 0.5, -1.0, 1.0).double()
        signs[0] = -1.0
        theirs = U * signs
    elif kind == "recombined":
        theirs = U @ torch.randn(q, q).double()
    else:  # a basis of the same space without redundant columns
        flat = U.reshape(-1, q)
        rank = int(torch.linalg.matrix_rank(flat))
        theirs = torch.linalg.svd(flat, full_matrices=False).U[:, :rank].reshape(*U.shape[:-1], -1)
    W = torch.randn(2, theirs.shape[-1], 3).double()
    change = column_map(theirs, max_ell, L, nu, "here")
    ours = W if change is None else change(W)
    if kind == "signs":
        acts = symmetric_part(U, dim(max_ell), L, nu).abs().amax(dim=(0, 1)) > 1e-10
        assert torch.equal(ours[:, acts], (W * signs.unsqueeze(1))[:, acts])
    x = torch.randn(dim(max_ell)).double()
    for z in range(2):
        assert torch.allclose(
            function(U, ours[z], x, L, nu), function(theirs, W[z], x, L, nu), atol=1e-10
        )


def test_antisymmetric_parts_do_not_matter():
    U = full_coupling(2, 1, 2)
    noise = torch.randn_like(U)
    assert column_map(U + noise - noise.transpose(1, 2), 2, 1, 2, "here") is None


def test_other_couplings_are_refused():
    U = full_coupling(2, 1, 2).clone()
    U[0, 1, 2] += 0.1
    with pytest.raises(UserError, match="other couplings"):
        column_map(U, 2, 1, 2, "here")
    with pytest.raises(UserError, match="shape"):
        column_map(U[:, :-1], 2, 1, 2, "here")
