"""The A-basis: what an atom collects from its neighbours (arXiv 2206.07697, eq. 8 and 9).

    A[i, (l3 m3 p), k] = Σ_j R[ij, p, k] Σ C[l1 m1 l2 m2 | l3 m3] Y[ij, l2 m2] h[j, l1 m1, k]

over the edges ij that i receives. A path p is a triple (l1, l2 → l3) of natural parity.
"""

import functools
from itertools import chain

import torch

from mace_core.ops.a_basis_native import ABasis
from mace_core.ops.backend import kernels
from mace_core.ops.edges import Edges
from mace_core.ops.paths import Paths

__all__ = ["Edges", "Paths", "a_basis"]


def a_basis(
    h: torch.Tensor,
    Y: torch.Tensor,
    R: torch.Tensor | list[torch.Tensor],
    edges: Edges,
    couplings: list[torch.Tensor],
    rows: torch.Tensor,
) -> torch.Tensor:
    """The A-basis; natively twice differentiable, in torch as often as needed.

    Args:
        h: [n_atoms, (l1 m1), C] features of the senders.
        Y: [n_edges, (l2 m2)] spherical harmonics of the edges.
        R: [n_edges, n_paths, C] radial functions in the order of :class:`Paths` (with
            ``edges.pair``, [n_pairs, …]), or a list of those of the paths from each l1.
        edges: sorted by receiver.
        couplings: :attr:`Paths.couplings` as tensors.
        rows: :attr:`Paths.rows` as a tensor.

    Returns:
        [n_atoms, n_rows, C], rows ordered (l3, m3, path).
    """
    if kernels(h, Y, *([R] if isinstance(R, torch.Tensor) else R)) is None:
        return _torch(h, Y, R, edges, couplings, rows)
    if not isinstance(R, torch.Tensor):
        R = torch.cat(R, dim=1).index_select(1, _from_l1(len(R) - 1, _lmax(Y)))
    return ABasis.apply(h, Y, R, edges)


def _torch(h, Y, R, edges, couplings, rows):
    """In plain torch.

    The sum over neighbours and m1 is one matrix product for each atom and l1, in the order of the
    edges. Beyond the result it needs memory for n_edges × Σ_p (2 l1 + 1) × C, not for each row.
    """
    if isinstance(R, torch.Tensor):
        of_l1 = _paths(len(couplings) - 1, _lmax(Y)).of_l1
        R = [R[:, own] for own in of_l1] if len(of_l1) > 1 else [R]
    R = [edges.of_pairs(radial) for radial in R]
    h_senders = h.index_select(0, edges.senders)
    parts = []
    for l1, (radial, coupling) in enumerate(zip(R, couplings, strict=True)):
        if coupling.shape[1] == 0:
            continue  # no path starts from this l1
        own = h_senders[:, l1 * l1 : (l1 + 1) ** 2]
        weighted = (radial.unsqueeze(2) * own.unsqueeze(1)).flatten(1, 2)
        n_weighted = weighted.shape[1]
        coupled = (Y @ coupling).view(len(Y), n_weighted, coupling.shape[1] // n_weighted)
        parts.append(
            torch.bmm(edges.by_receiver(coupled).transpose(1, 2), edges.by_receiver(weighted))
        )
    if len(couplings) == 1:
        return parts[0]  # paths are (0, l → l): the rows are in order
    return torch.cat(parts, dim=1).index_select(1, rows)


@functools.cache
def _paths(lmax_in: int, max_ell: int) -> Paths:
    return Paths.build(lmax_in, max_ell)


def _lmax(Y: torch.Tensor) -> int:
    return round(Y.shape[1] ** 0.5) - 1


@functools.cache
def _from_l1(lmax_in: int, max_ell: int) -> torch.Tensor:
    """[n_paths] sorts the paths of all l1, one after the other, to the order of Paths."""
    return torch.tensor(list(chain(*_paths(lmax_in, max_ell).of_l1))).argsort()
