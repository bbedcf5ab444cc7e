"""The A-basis: what an atom collects from its neighbours (arXiv 2206.07697, eq. 8 and 9).

    A[i, (l3 m3 p), k] = Σ_j R[ij, p, k] Σ C[l1 m1 l2 m2 | l3 m3] Y[ij, l2 m2] h[j, l1 m1, k]

over the edges ij that i receives. A path p is a triple (l1, l2 → l3) of natural parity.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import dim, l_slices


class Edges(NamedTuple):
    """Edges sorted by receiver.

    Attributes:
        senders: [n_edges].
        slots: [n_edges] receiver · width + the edge's rank among the receiver's edges.
        n_atoms: number of receivers.
        width: largest number of edges that an atom receives.
    """

    senders: torch.Tensor
    slots: torch.Tensor
    n_atoms: int
    width: int

    @classmethod
    def build(cls, receivers: torch.Tensor, senders: torch.Tensor, n_atoms: int) -> "Edges":
        """From sorted ``receivers`` [n_edges] and their ``senders``."""
        counts = torch.bincount(receivers, minlength=n_atoms)
        width = int(counts.max()) if n_atoms else 0
        first = counts.cumsum(0) - counts
        rank = torch.arange(len(receivers), device=receivers.device) - first[receivers]
        return cls(senders, receivers * width + rank, n_atoms, width)

    def by_receiver(self, x: torch.Tensor) -> torch.Tensor:
        """[n_edges, rows, n] → [n_atoms, width · rows, n], zero where an atom has fewer edges."""
        if len(x) != self.n_atoms * self.width:
            x = x.new_zeros(self.n_atoms * self.width, *x.shape[1:]).index_copy(0, self.slots, x)
        return x.reshape(self.n_atoms, self.width * x.shape[1], x.shape[2])


@dataclass(frozen=True)
class Paths:
    """The couplings of senders' features (up to ``lmax_in``) with Y (up to ``max_ell``).

    Attributes:
        paths: (l1, l2, l3), sorted by l3, then l1, then l2: mace-torch's order of radial weights.
        of_l1: for each l1, which paths start from it.
        of_l3: number of paths into each l3.
        couplings: for each l1 [D_Y, n_paths · (2 l1 + 1) · n_rows], over its paths and its rows:
            the Clebsch–Gordan coefficients times √(2 l3 + 1), zero between different paths.
        rows: [n_rows] sorts the rows of all l1, one after the other, to the order (l3, m3, path).
    """

    paths: list[tuple[int, int, int]]
    of_l1: list[list[int]]
    of_l3: list[int]
    couplings: list[np.ndarray]
    rows: np.ndarray

    @classmethod
    def build(cls, lmax_in: int, max_ell: int) -> "Paths":
        """All paths; mace-torch sorts them the same way."""
        paths = [
            (l1, l2, l3)
            for l3 in range(max_ell + 1)
            for l1 in range(lmax_in + 1)
            for l2 in range(max_ell + 1)
            if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
        ]
        slices = l_slices(max_ell)
        of_l1, couplings, labels = [], [], []
        for l1 in range(lmax_in + 1):
            own = [p for p, path in enumerate(paths) if path[0] == l1]
            own_rows = [(paths[p][2], m3, p) for p in own for m3 in range(2 * paths[p][2] + 1)]
            table = np.zeros((dim(max_ell), len(own), 2 * l1 + 1, len(own_rows)))
            row = 0
            for k, p in enumerate(own):
                _, l2, l3 = paths[p]
                cg = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5
                table[slices[l2], k, :, row : row + 2 * l3 + 1] = cg.transpose(1, 0, 2)
                row += 2 * l3 + 1
            of_l1.append(own)
            couplings.append(table.reshape(dim(max_ell), -1))
            labels += own_rows
        of_l3 = [sum(path[2] == l for path in paths) for l in range(max_ell + 1)]
        order = sorted(range(len(labels)), key=lambda i: labels[i])
        return cls(paths, of_l1, of_l3, couplings, np.array(order))


def a_basis(
    h: torch.Tensor,
    Y: torch.Tensor,
    R: list[torch.Tensor],
    edges: Edges,
    couplings: list[torch.Tensor],
    rows: torch.Tensor,
) -> torch.Tensor:
    """The A-basis in plain torch; differentiable as often as needed.

    The sum over neighbours and m1 is one matrix product for each atom and l1, in the order of the
    edges. Beyond the result it needs memory for n_edges × Σ_p (2 l1 + 1) × C, not for each row.

    Args:
        h: [n_atoms, (l1 m1), C] features of the senders.
        Y: [n_edges, (l2 m2)] spherical harmonics of the edges.
        R: for each l1 [n_edges, n_paths, C] radial functions of its paths.
        edges: sorted by receiver.
        couplings: :attr:`Paths.couplings` as tensors.
        rows: :attr:`Paths.rows` as a tensor.

    Returns:
        [n_atoms, n_rows, C], rows ordered (l3, m3, path).
    """
    h_senders = h.index_select(0, edges.senders)
    parts = []
    for l1, (radial, coupling) in enumerate(zip(R, couplings, strict=True)):
        own = h_senders[:, l1 * l1 : (l1 + 1) ** 2]
        weighted = (radial.unsqueeze(2) * own.unsqueeze(1)).flatten(1, 2)
        n_weighted = weighted.shape[1]
        coupled = (Y @ coupling).view(len(Y), n_weighted, coupling.shape[1] // n_weighted)
        parts.append(
            torch.bmm(edges.by_receiver(coupled).transpose(1, 2), edges.by_receiver(weighted))
        )
    if len(parts) == 1:
        return parts[0]  # paths are (0, l → l): the rows are in order
    return torch.cat(parts, dim=1).index_select(1, rows)
