"""The couplings U of a model file, compared with ours.

U multiplies products of equal factors, so only its part that is symmetric under their exchange
acts. The columns of a file may differ from ours in sign (e3nn 0.5 changed some Clebsch–Gordan
coefficients), or be another basis of the same space (the reduced couplings of cuequivariance).
Either way the weights can be given for our columns: W_ours = S W_file with U_file = U_ours S.
"""

from collections.abc import Callable
from itertools import permutations

import torch

from mace_core.errors import UserError
from mace_core.ops.coupling import coupling, dim, monomials


def symmetric_part(U: torch.Tensor, n: int, L: int, nu: int) -> torch.Tensor:
    """Coefficients of monomials.

    Args:
        U: [2 L + 1, n, …, n, q] with ν axes n; without the first axis for L = 0.
        n: number of variables.
        L: degree of the output.
        nu: number of factors.

    Returns:
        [2 L + 1, M, q], summed over all orders of each monomial's factors.
    """
    full = U.double().reshape(2 * L + 1, n**nu, -1)
    index = torch.cartesian_prod(*[torch.arange(n)] * nu).reshape(-1, nu).sort(dim=1).values
    place = {tuple(row): i for i, row in enumerate(monomials(n, nu).tolist())}
    of_monomial = torch.tensor([place[tuple(row)] for row in index.tolist()])
    out = full.new_zeros(2 * L + 1, len(place), full.shape[2])
    return out.index_add(1, of_monomial, full)


def full_coupling(max_ell: int, L: int, nu: int) -> torch.Tensor:
    """Our couplings as a tensor over all factors, symmetric in them: U_matrix_ν of mace-torch.

    Returns:
        [2 L + 1, n, …, n, q], without the first axis for L = 0; q is at least 1.
    """
    n = dim(max_ell)
    table = torch.tensor(coupling(max_ell, L, nu))
    columns = max(table.shape[2], 1)
    full = torch.zeros(2 * L + 1, *[n] * nu, columns, dtype=torch.float64)
    for k, row in enumerate(monomials(n, nu).tolist()):
        orders = set(permutations(row))
        for order in orders:
            full[(slice(None), *order, slice(0, table.shape[2]))] = table[:, k] / len(orders)
    return full[0] if L == 0 else full


def column_map(
    U: torch.Tensor, max_ell: int, L: int, nu: int, where: str
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """How weights for the columns of ``U`` become weights for ours.

    Args:
        U: of the file.
        max_ell: largest l of the factors.
        L: degree of the output.
        nu: number of factors.
        where: it stands, for messages.

    Returns:
        A function of weights [Z, q, C]; None if they stay as they are.

    Raises:
        UserError: the columns do not lie in the space of ours.
    """
    n, close = dim(max_ell), 1e-5 if U.dtype == torch.float32 else 1e-10
    if U.shape[:-1] != (*([2 * L + 1] if L else []), *[n] * nu):
        raise UserError(f"U_matrix_{nu} has the shape {list(U.shape)}", where=where)
    theirs = symmetric_part(U, n, L, nu)
    ours = torch.tensor(coupling(max_ell, L, nu))
    if ours.shape[2] == 0:
        if theirs.abs().max() > close:
            raise UserError(f"U_matrix_{nu} is not zero where it must be", where=where)
        return None
    if ours.shape == theirs.shape:
        dots = (ours * theirs).sum(dim=(0, 1))
        signs = torch.where(dots < -close, -1.0, 1.0).double()  # of columns that are not zero
        if torch.allclose(theirs, ours * signs, rtol=0, atol=close):
            return None if (signs > 0).all() else lambda W: W * signs.unsqueeze(1)
    basis = ours.flatten(0, 1)
    S = torch.linalg.lstsq(basis, theirs.flatten(0, 1), driver="gelsd").solution
    if not torch.allclose(basis @ S, theirs.flatten(0, 1), rtol=0, atol=close):
        raise UserError(
            f"U_matrix_{nu} holds other couplings than those of the full product basis", where=where
        )
    return lambda W: torch.einsum("pq,zqc->zpc", S, W)
