"""Couplings of several equal factors: the columns of the product basis.

Batatia et al., arXiv 2206.07697, eq. 11: B = Σ U · A ⊗ … ⊗ A with generalised Clebsch–Gordan
coefficients U, built by coupling one factor after the other. The columns η stand in mace-torch's
order with its normalisation, so that product weights mean the same thing in both.

All factors are the same A, so only the part of U that is symmetric under their exchange acts.
Hence the coupling is done on homogeneous polynomials in the components of A: sums over sorted
monomials, which is the full tensor product summed over all orders of the same factors.
"""

import functools
from itertools import combinations_with_replacement

import numpy as np

from mace_core.ops.clebsch_gordan import clebsch_gordan


def dim(max_ell: int) -> int:
    """Number of (l, m) components up to ``max_ell``."""
    return (max_ell + 1) ** 2


def l_slices(max_ell: int) -> list[slice]:
    """Where each l lies among the (l, m) components."""
    return [slice(l * l, (l + 1) ** 2) for l in range(max_ell + 1)]


def monomials(n: int, degree: int) -> np.ndarray:
    """All products of ``degree`` out of ``n`` variables: [n_monomials, degree], each row sorted."""
    rows = list(combinations_with_replacement(range(n), degree))
    return np.array(rows, dtype=np.int64).reshape(-1, degree)


@functools.lru_cache(maxsize=64)
def coupling(max_ell: int, L: int, nu: int) -> np.ndarray:
    """The couplings of ν equal factors 0e + 1o + 2e + … to (L, parity (−1)^L), as polynomials.

    Args:
        max_ell: largest degree of the factors.
        L: degree of the output.
        nu: number of factors.

    Returns:
        [2 L + 1, M, n_paths] over the M :func:`monomials` of degree ν in (max_ell + 1)²
        variables; n_paths may be 0. Columns may be zero or linearly dependent, as in mace-torch.
    """
    target = (L, (-1) ** L)
    paths = [poly for irrep, poly in _paths(max_ell, nu, nu == 4, target) if irrep == target]
    if not paths:
        return np.zeros((2 * L + 1, len(monomials(dim(max_ell), nu)), 0))
    return np.stack(paths, axis=-1)


def _paths(max_ell: int, nu: int, natural: bool, target=None) -> list:
    """((l, parity), [2 l + 1, M]) for each path that ends in ``target``, sorted by (l, parity).

    ``natural`` keeps only intermediate irreps with parity (−1)^l, as mace-torch does for ν = 4.
    """
    slices = l_slices(max_ell)
    if nu == 1:
        return [((l, (-1) ** l), np.eye(dim(max_ell))[s]) for l, s in enumerate(slices)]
    times = _times_variable(dim(max_ell), nu - 1)
    n_out = len(monomials(dim(max_ell), nu))
    found = []
    for (l_left, p_left), left in _paths(max_ell, nu - 1, natural):
        for l_right, right in enumerate(slices):
            for l_out in range(abs(l_left - l_right), l_left + l_right + 1):
                irrep = (l_out, p_left * (-1) ** l_right)
                if irrep != (target or irrep) or (natural and irrep[1] != (-1) ** l_out):
                    continue
                cg = clebsch_gordan(l_out, l_left, l_right) * (2 * l_out + 1) ** 0.5
                block = np.einsum("ijk,jm->kim", cg, left)
                poly = np.zeros((2 * l_out + 1, n_out))
                for k, variable in enumerate(range(right.start, right.stop)):
                    poly[:, times[:, variable]] += block[k]
                found.append((irrep, poly))
    return sorted(found, key=lambda item: item[0])


@functools.lru_cache(maxsize=16)
def _times_variable(n: int, degree: int) -> np.ndarray:
    """[M, n]: which monomial of degree + 1 each monomial becomes when multiplied by a variable."""
    place = {tuple(row): i for i, row in enumerate(monomials(n, degree + 1).tolist())}
    return np.array(
        [
            [place[tuple(sorted((*row, variable)))] for variable in range(n)]
            for row in monomials(n, degree).tolist()
        ]
    )
