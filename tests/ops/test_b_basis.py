import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mace_tools import TOLERANCE, orthogonal, wigner_up_to
from test_coupling import dense_U

from mace_core.ops.b_basis import BBasis, Terms
from mace_core.ops.coupling import dim


def setup(max_ell, max_L, correlation, counts, channels=3, seed=0):
    """Random A and product weights, and the polynomial."""
    generator = torch.Generator().manual_seed(seed)
    terms = Terms.build(max_ell, max_L, correlation)
    A = torch.randn(sum(counts), dim(max_ell), channels, generator=generator, dtype=torch.float64)
    weights = torch.randn(
        len(counts), terms.columns.shape[1], channels, generator=generator, dtype=torch.float64
    )
    basis = BBasis(terms, dim(max_ell), dim(max_L), torch.float64)
    return terms, basis, A, weights


def evaluate(terms, basis, A, weights, counts):
    return basis(A, torch.tensor(terms.columns) @ weights, counts)


def naive(max_ell, max_L, n_paths, A, weights, counts):
    """Σ_ν Σ_η W_z,η U_η A ⊗ … ⊗ A with the dense U, not symmetrised."""
    species = np.repeat(np.arange(len(counts)), counts)
    out = torch.zeros(len(A), dim(max_L), A.shape[2], dtype=A.dtype)
    start = 0
    for (L, nu), n in n_paths.items():
        U = torch.tensor(dense_U(max_ell, L, nu))
        block = weights[:, start : start + n]
        start += n
        for i, z in enumerate(species):
            for k in range(A.shape[2]):
                value = U
                for _ in range(nu):
                    value = torch.einsum("oi...,i->o...", value, A[i, :, k])
                out[i, L * L : (L + 1) ** 2, k] += value @ block[z, :, k]
    return out


@pytest.mark.parametrize(
    "max_ell, max_L, correlation",
    [(3, 1, 3), (2, 2, 3), (2, 0, 2), (1, 1, 4), (2, 1, 1), (0, 0, 3), (1, 2, 2)],
)
def test_is_the_dense_product(max_ell, max_L, correlation):
    counts = [2, 0, 1]
    terms, basis, A, weights = setup(max_ell, max_L, correlation, counts)
    torch.testing.assert_close(
        evaluate(terms, basis, A, weights, counts),
        naive(max_ell, max_L, terms.n_paths, A, weights, counts),
        atol=TOLERANCE["symmetry"],
        rtol=TOLERANCE["symmetry"],
    )


def test_few_terms():
    """Symmetrising collapses 16³ products for each output to some hundred monomials in all."""
    assert len(Terms.build(3, 1, 3).outputs) == 410
    assert BBasis(Terms.build(3, 1, 3), 16, 4, torch.float64).n_heads < 160


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20)
def test_equivariant(seed, improper):
    counts = [1, 3]
    terms, basis, A, weights = setup(3, 2, 3, counts, seed=seed % 1000)
    Q = orthogonal(seed, improper)
    turned = evaluate(
        terms, basis, torch.einsum("ab,nbk->nak", wigner_up_to(3, Q), A), weights, counts
    )
    expected = torch.einsum(
        "ab,nbk->nak", wigner_up_to(2, Q), evaluate(terms, basis, A, weights, counts)
    )
    torch.testing.assert_close(turned, expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("max_ell, max_L, correlation", [(1, 1, 3), (2, 0, 2)])
def test_first_and_second_derivatives(max_ell, max_L, correlation):
    counts = [1, 0, 1]
    terms, basis, A, weights = setup(max_ell, max_L, correlation, counts, channels=1)
    coefficients = torch.tensor(terms.columns) @ weights
    operands = [A.requires_grad_(), coefficients.requires_grad_()]

    def function(A, coefficients):
        return basis(A, coefficients, counts)

    assert torch.autograd.gradcheck(function, operands)
    assert torch.autograd.gradgradcheck(function, operands)
