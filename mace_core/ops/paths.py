"""The couplings that make the A-basis: paths (l1, l2 → l3) of natural parity."""

from dataclasses import dataclass

import numpy as np

from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import dim, l_slices


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
