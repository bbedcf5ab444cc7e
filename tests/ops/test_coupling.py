from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mace_tools import TOLERANCE, orthogonal, wigner, wigner_up_to

from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import coupling, dim, monomials


def dense_U(max_ell: int, L: int, nu: int) -> np.ndarray:
    """U as the paper has it, one axis a factor, not symmetrised: [2L+1, D, …, D, n_paths]."""
    D = dim(max_ell)

    def couple(order):
        if order == 1:
            return [((l, (-1) ** l), np.eye(D)[l * l : (l + 1) ** 2]) for l in range(max_ell + 1)]
        found = []
        for (a, parity), left in couple(order - 1):
            for b in range(max_ell + 1):
                for c in range(abs(a - b), a + b + 1):
                    irrep = (c, parity * (-1) ** b)
                    if nu == 4 and irrep[1] != (-1) ** c:
                        continue
                    tensor = np.zeros((2 * c + 1, *[D] * order))
                    cg = clebsch_gordan(c, a, b) * np.sqrt(2 * c + 1)
                    tensor[..., b * b : (b + 1) ** 2] = np.einsum("ijk,j...->i...k", cg, left)
                    found.append((irrep, tensor))
        return sorted(found, key=lambda item: item[0])

    return np.stack([t for irrep, t in couple(nu) if irrep == (L, (-1) ** L)], axis=-1)


def evaluate(max_ell, L, nu, A):
    """[2L+1, n_paths] of a vector A."""
    table = coupling(max_ell, L, nu)
    return np.einsum("omq,m->oq", table, A[monomials(dim(max_ell), nu)].prod(axis=1))


@pytest.mark.parametrize(
    "max_ell, L, nu", [(3, 0, 2), (3, 1, 2), (2, 0, 3), (2, 1, 3), (2, 2, 3), (1, 0, 4), (1, 1, 4)]
)
def test_is_the_dense_product(max_ell, L, nu):
    """The polynomial is U contracted with A ⊗ … ⊗ A, U not symmetrised."""
    A = np.random.default_rng(nu).normal(size=dim(max_ell))
    dense = dense_U(max_ell, L, nu)
    for _ in range(nu):
        dense = np.einsum("oi...,i->o...", dense, A)
    np.testing.assert_allclose(evaluate(max_ell, L, nu, A), dense, atol=TOLERANCE["symmetry"])


@pytest.mark.parametrize(
    "max_ell, L, numbers", [(3, 0, (1, 4, 23)), (3, 1, (1, 6, 51)), (2, 0, (1, 3, 11))]
)
def test_as_many_paths_as_mace_torch(max_ell, L, numbers):
    assert tuple(coupling(max_ell, L, nu).shape[-1] for nu in (1, 2, 3)) == numbers


@given(
    st.sampled_from(list(product((1, 2, 3), (0, 1, 2), (1, 2, 3)))),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_equivariant(case, seed, improper):
    max_ell, L, nu = case
    A = np.random.default_rng(seed).normal(size=dim(max_ell))
    Q = orthogonal(seed, improper)
    turned = evaluate(max_ell, L, nu, wigner_up_to(max_ell, Q).numpy() @ A)
    expected = wigner(L, Q).numpy() @ evaluate(max_ell, L, nu, A)
    np.testing.assert_allclose(turned, expected, atol=1e2 * TOLERANCE["symmetry"])


def test_no_path():
    assert coupling(1, 2, 1).shape == (5, 4, 0)
    assert coupling(0, 1, 3).shape == (3, 1, 0)
