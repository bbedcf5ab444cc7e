"""Farthest-point sampling of any number of rows, in cells where one pass over all would not end.

Comparing every candidate with every labelled and every picked frame is exact, and quadratic where
the three grow together. Above :data:`BUDGET` distances the space is cut into cells of like rows,
labelled and new, and each cell is sampled by itself. As distances only shrink while rows are
picked, each cell's picks come by falling weight × distance; merged in that order, the first n
are those of the whole, but for what picks near a border would have said about the other side.
"""

from dataclasses import dataclass, replace

import numpy as np

from mace_core.select.diversity import Pick, farthest_points, nearest

#: Distances up to which everything is compared with everything: about 4 s with 256 features.
BUDGET = 10**8
#: Rows of a cell, labelled and new, at most.
CELL = 4096
#: Labelled rows nearest to a cut that the cell beyond it knows too.
OVERLAP = 256


@dataclass(frozen=True)
class Cell:
    """Like rows, and the reference rows that they are compared with."""

    rows: np.ndarray  # [n] indices of the features
    reference: np.ndarray  # [m] indices of the reference rows among them
    lent: np.ndarray  # [l] indices of the reference rows nearest to its borders, from beyond

    @property
    def known(self) -> np.ndarray:
        return np.concatenate([self.reference, self.lent])


@dataclass(frozen=True)
class Sample:
    """What was picked, and what lies too near to what.

    Attributes:
        picks: by falling weight × distance.
        near_reference: row → index of the reference row whose near-duplicate it is.
        near_pick: row that was not picked → index of the picked row.
    """

    picks: list[Pick]
    near_reference: dict[int, int]
    near_pick: dict[int, int]


def sample(
    features: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray,
    n: int,
    min_distance: float,
) -> Sample:
    """:func:`~mace_core.select.diversity.farthest_points`, in cells above :data:`BUDGET`.

    In cells, ``min_distance`` holds between rows of one cell, and from the reference rows that the
    cell knows; across a border two may be nearer. Without reference rows, and with equal weights,
    no row is farther from the picks than twice what farthest-point sampling of n / n_cells rows
    leaves; what was measured is a few per cent more than with n (docs/scale.md).

    Args:
        features: [n_rows, n_features].
        reference: [n_reference, n_features].
        weights: [n_rows], not negative.
        n: rows to pick at most.
        min_distance: near-duplicates are closer than this.
    """
    cells = divide(features, reference, n)
    picks, near_reference = [], {}
    for cell in cells:
        rows, known = features[cell.rows], reference[cell.known]
        near_reference |= _near(rows, known, min_distance, cell.rows, cell.known)
        found = farthest_points(rows, known, weights[cell.rows], n, min_distance)
        picks += [replace(pick, index=int(cell.rows[pick.index])) for pick in found]
    if len(cells) > 1:
        picks = _merged(picks, weights)[:n]
    near_pick = {}
    place = {pick.index: k for k, pick in enumerate(picks)}
    for cell in cells:
        rest = np.array([k for k in cell.rows.tolist() if k not in place], dtype=int)
        ours = sorted(place.keys() & set(cell.rows.tolist()), key=place.__getitem__)
        ours = np.array(ours, dtype=int)
        near_pick |= _near(features[rest], features[ours], min_distance, rest, ours)
    return Sample(picks, near_reference, near_pick)


def divide(features: np.ndarray, reference: np.ndarray, n: int) -> list[Cell]:
    """Cells whose rows are like each other; a single one within :data:`BUDGET`.

    A cell of more than :data:`CELL` rows is cut across the direction in which its rows differ
    most, at the widest gap in the middle half of them. So sizes are bounded, clusters stay whole,
    and rows that are the same stay together. Every row of the features is in one cell.
    """
    n_rows = len(features)
    none = np.array([], dtype=int)
    whole = Cell(np.arange(n_rows), np.arange(len(reference)), none)
    if n_rows * (len(reference) + min(n, n_rows)) <= BUDGET:
        return [whole]
    todo, done = [whole], []
    while todo:
        cell = todo.pop()
        if not len(cell.rows):
            continue
        if len(cell.rows) + len(cell.reference) <= CELL:
            done.append(cell)
            continue
        rows, known = _along_axis(features[cell.rows], reference[cell.reference])
        where = _cut(np.concatenate([rows, known]))
        if where is None:  # all the same: one of them says what all would
            done.append(Cell(cell.rows, cell.reference[:1], cell.lent))
            continue
        by_distance = np.argsort(np.abs(known - where), kind="stable")
        for inside, known_inside in ((rows < where, known < where), (rows > where, known > where)):
            beyond = by_distance[~known_inside[by_distance]][:OVERLAP]
            lent = np.concatenate([cell.lent, cell.reference[beyond]])
            todo.append(Cell(cell.rows[inside], cell.reference[known_inside], lent))
    return done


def _along_axis(rows: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [n], [m] along the direction of the largest spread, in units of the largest row.

    A few power iterations on the covariance, from the row farthest from the mean on.
    """
    together = np.concatenate([rows, known])
    size = np.abs(together).max() or 1.0
    together = (together - together.mean(axis=0)) / size
    axis = together[np.argmax(np.einsum("ij,ij->i", together, together))]
    for _ in range(5):
        axis = axis / (np.linalg.norm(axis) or 1.0)
        axis = together.T @ (together @ axis)
    along = together @ (axis / (np.linalg.norm(axis) or 1.0))
    return along[: len(rows)], along[len(rows) :]


def _cut(along: np.ndarray) -> float | None:
    """Where to part the coordinates: never between equal ones; None where all are equal."""
    ordered = np.sort(along)
    gaps = np.diff(ordered)
    quarter = len(gaps) // 4
    k = quarter + int(np.argmax(gaps[quarter : len(gaps) - quarter]))
    if gaps[k] < _SAME:  # most rows are the same: cut beside them
        apart = np.flatnonzero(gaps >= _SAME)
        if not len(apart):
            return None
        k = int(apart[np.argmin(np.abs(apart - len(gaps) / 2))])
    return float(ordered[k] + ordered[k + 1]) / 2


#: Rows whose coordinates differ by less may be the same, but for rounding.
_SAME = 1e-9


def _merged(picks: list[Pick], weights: np.ndarray) -> list[Pick]:
    """The cells' picks in the order of the whole: first those without any known row."""

    def order(pick: Pick) -> tuple[bool, float, int]:
        far = np.isinf(pick.distance)
        return not far, -weights[pick.index] * (1.0 if far else pick.distance), pick.index

    return sorted(picks, key=order)


def _near(rows, others, min_distance, row_index, other_index) -> dict[int, int]:
    """The near-duplicates among the rows, and of which of the others, both by the given indices."""
    distance, k = nearest(rows, others)
    close = np.flatnonzero((distance < min_distance) | (distance == 0))
    return {int(row_index[i]): int(other_index[k[i]]) for i in close}
