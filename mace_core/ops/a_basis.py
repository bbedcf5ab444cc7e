"""The A-basis: what an atom collects from its neighbours (arXiv 2206.07697, eq. 8 and 9).

    A[i, (l3 m3 p), k] = Σ_j R[ij, p, k] Σ C[l1 m1 l2 m2 | l3 m3] Y[ij, l2 m2] h[j, l1 m1, k]

over the edges ij that i receives. A path p is a triple (l1, l2 → l3) of natural parity.
"""

from dataclasses import dataclass

import numpy as np
import torch

from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import dim, l_slices


@dataclass(frozen=True)
class Paths:
    """The couplings of senders' features (up to ``lmax_in``) with Y (up to ``max_ell``).

    Attributes:
        paths: (l1, l2, l3), sorted by l3, then l1, then l2: mace-torch's order of radial weights.
        paths_of_l: number of paths into each l3.
        coupling: [D_Y, n_rows · D_h], the Clebsch–Gordan coefficients times √(2 l3 + 1).
        path_of_row: [n_rows]; rows are ordered (l3, m3, path).
    """

    paths: list[tuple[int, int, int]]
    paths_of_l: list[int]
    coupling: np.ndarray
    path_of_row: np.ndarray

    @classmethod
    def build(cls, lmax_in: int, max_ell: int) -> "Paths":
        paths = [
            (l1, l2, l3)
            for l3 in range(max_ell + 1)
            for l1 in range(lmax_in + 1)
            for l2 in range(max_ell + 1)
            if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
        ]
        of_l = [sum(path[2] == l for path in paths) for l in range(max_ell + 1)]
        slices = l_slices(max(lmax_in, max_ell))
        blocks, path_of_row = [], []
        for l3 in range(max_ell + 1):
            block = np.zeros((2 * l3 + 1, of_l[l3], dim(max_ell), dim(lmax_in)))
            first = sum(of_l[:l3])
            for p, (l1, l2, _) in enumerate(paths[first : first + of_l[l3]]):
                cg = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5
                block[:, p, slices[l2], slices[l1]] = cg.transpose(2, 1, 0)
            blocks.append(block.reshape(-1, dim(max_ell), dim(lmax_in)))
            path_of_row += list(range(first, first + of_l[l3])) * (2 * l3 + 1)
        coupling = np.concatenate(blocks).transpose(1, 0, 2).reshape(dim(max_ell), -1)
        return cls(paths, of_l, coupling, np.array(path_of_row))


def a_basis(
    h: torch.Tensor,
    Y: torch.Tensor,
    R: torch.Tensor,
    receivers: torch.Tensor,
    senders: torch.Tensor,
    coupling: torch.Tensor,
    path_of_row: torch.Tensor,
) -> torch.Tensor:
    """The A-basis, in plain torch; differentiable as often as needed.

    Args:
        h: [n_atoms, D_h, C] features of the senders.
        Y: [n_edges, D_Y] spherical harmonics of the edges.
        R: [n_edges, n_paths, C] radial functions.
        receivers: [n_edges].
        senders: [n_edges].
        coupling: :attr:`Paths.coupling` as a tensor.
        path_of_row: :attr:`Paths.path_of_row` as a tensor.

    Returns:
        [n_atoms, n_rows, C], rows ordered (l3, m3, path). Memory beyond that is
        n_edges × n_rows × C. The sum over neighbours runs in the order of the edges.
    """
    n_atoms, dim_h, channels = h.shape
    rows = len(path_of_row)
    coupled = (Y @ coupling).view(-1, rows, dim_h)
    messages = torch.bmm(coupled, h.index_select(0, senders))  # [n_edges, rows, C]
    messages = messages * R.index_select(1, path_of_row)
    return h.new_zeros(n_atoms, rows, channels).index_add(0, receivers, messages)
