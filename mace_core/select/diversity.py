"""How far frames are from each other on the model's own descriptors, and picking far ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms


def frame_features(
    frames: Sequence[Atoms], descriptors: Sequence[np.ndarray], elements: Sequence[int]
) -> np.ndarray:
    """[n_frames, n_elements · n_features]: descriptors averaged over the atoms of each element.

    An element that a frame lacks contributes zeros. Averages do not depend on a frame's size or on
    the order of its atoms.

    Args:
        frames: the frames.
        descriptors: of each frame, [n_atoms, n_features].
        elements: atomic numbers, in the order of the blocks.
    """
    rows = []
    for atoms, values in zip(frames, descriptors, strict=True):
        values = np.asarray(values, dtype=float)
        blocks = np.zeros((len(elements), values.shape[1]))
        for k, z in enumerate(elements):
            of_element = atoms.numbers == z
            if of_element.any():
                blocks[k] = values[of_element].mean(axis=0)
        rows.append(blocks.ravel())
    return np.array(rows).reshape(len(rows), -1)


def feature_scales(frames: Sequence[Atoms], features: np.ndarray, n_elements: int) -> np.ndarray:
    """[n_elements · n_features]: the unit of each feature, the same within an element's block.

    It is the spread of the block among like frames: the root mean square distance from the mean of
    all frames with the same formula. The norm of the features would not do: most of it is the same
    in all frames, and averages over more atoms vary less, so that any two frames of a large cell
    would seem alike. With its own spread as unit, each element has the same say.

    Args:
        frames: the training set.
        features: of :func:`frame_features`.
        n_elements: number of blocks.

    Returns:
        For a block without a spread (no two frames with that element have the same formula, or
        they are the same) its root mean square norm, or 1 where that is zero.
    """
    formulas = [atoms.get_chemical_formula() for atoms in frames]
    alike = np.unique(formulas, return_inverse=True)[1]
    scales = np.ones((n_elements, features.shape[1] // n_elements))
    for k, block in enumerate(np.split(features, n_elements, axis=1)):
        present = block.any(axis=1)
        squares, freedom = 0.0, 0
        for rows in _groups(block[present], alike[present]):
            squares += float(((rows - rows.mean(axis=0)) ** 2).sum())
            freedom += len(rows) - 1
        if squares > 0:
            scales[k] = np.sqrt(squares / freedom)
        elif present.any():
            scales[k] = np.sqrt((block[present] ** 2).sum(axis=1).mean())
    return scales.ravel()


def _groups(rows: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each label, in their order."""
    order = np.argsort(labels, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(labels[order])) + 1) if len(rows) else []


def nearest(features: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [n] of each row to its nearest row of ``reference``, and that row's index [n].

    Without reference rows the distances are infinite and the indices −1.
    """
    if len(reference) == 0:
        return np.full(len(features), np.inf), np.full(len(features), -1)
    distance = np.full(len(features), np.inf)
    index = np.full(len(features), -1)
    centre = reference.mean(axis=0)
    features, reference = features - centre, reference - centre
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for first in range(0, len(reference), _BLOCK):
            block = _distances(features[rows], reference[first : first + _BLOCK])
            k = block.argmin(axis=1)
            to_row = block[np.arange(len(k)), k]
            closer = to_row < distance[rows]
            distance[rows][closer], index[rows][closer] = to_row[closer], first + k[closer]
    return distance, index


#: Rows whose distances to as many others are made at once.
_BLOCK = 1024


def _distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[n_rows, n_others] distances by a matrix product: many times faster than differences.

    Where it would cancel (d² below 1e-9 of a² + b², so that its error might be above 1e-7 of d²)
    the difference is taken: rows that are the same have distance 0.
    """
    squares = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", others, others)
    found = squares - 2 * rows @ others.T
    i, j = np.nonzero(found < 1e-9 * squares)
    found[i, j] = ((rows[i] - others[j]) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(found, 0.0, out=found), out=found)


@dataclass(frozen=True)
class Pick:
    """One step of farthest-point sampling."""

    index: int  # of the row
    distance: float  # to the nearest reference or earlier pick, when it was picked
    left: int  # rows that it was picked from


def farthest_points(
    features: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray,
    n: int,
    min_distance: float,
) -> list[Pick]:
    """Farthest-point sampling: again and again the row with the largest weight × distance.

    The distance is that to the nearest of the reference rows and the rows already picked (Eldar et
    al., IEEE Trans. Image Process. 6, 1305 (1997), here with weights: a row twice as heavy counts
    as twice as far). Rows nearer than ``min_distance`` are never picked.

    Args:
        features: [n_rows, n_features], already divided by :func:`feature_scales`.
        reference: [n_reference, n_features], in the same units; where there are none the first
            pick is the heaviest row.
        weights: [n_rows], not negative.
        n: rows to pick at most.
        min_distance: near-duplicates are closer than this.
    """
    distance, _ = nearest(features, reference)
    rows = np.arange(len(features))  # those still open, with their features, weights, distances
    if len(rows):
        features = features - features.mean(axis=0)
    size = _BLOCK if len(reference) else 1  # without any, distances are infinite until a first pick
    picks: list[Pick] = []
    while len(picks) < n:
        keep = (distance >= min_distance) & (distance > 0)
        if not keep.all():
            rows, features = rows[keep], features[keep]
            weights, distance = weights[keep], distance[keep]
        if not len(rows):
            break
        best = np.argsort(-_reach(weights, distance), kind="stable")[: size + 1]
        chosen = _sure_picks(features, weights, distance, best, size, min_distance)
        chosen = chosen[: n - len(picks)]
        found = _distances(features, features[chosen])
        # Pick j closes a row that is the same or near; the row counts as open until then.
        closing = (found < min_distance) | (found == 0)
        last = np.where(closing.any(axis=1), closing.argmax(axis=1), len(chosen) - 1)
        left = np.bincount(last, minlength=len(chosen))[::-1].cumsum()[::-1]
        before = np.minimum.accumulate(found[chosen], axis=1)
        for j, k in enumerate(chosen):
            at = distance[k] if j == 0 else min(distance[k], before[j, j - 1])
            picks.append(Pick(int(rows[k]), float(at), int(left[j])))
        distance = np.minimum(distance, found.min(axis=1))
        size = min(_BLOCK, max(64, 4 * len(chosen)))
    return picks


def _reach(weights: np.ndarray, distance: np.ndarray) -> np.ndarray:
    return weights * np.where(np.isinf(distance), 1.0, distance)


def _sure_picks(
    features: np.ndarray,
    weights: np.ndarray,
    distance: np.ndarray,
    best: np.ndarray,
    size: int,
    min_distance: float,
) -> list[int]:
    """The next picks, as far as they follow from the best rows alone; at least one.

    Distances only shrink. So a pick among the best rows is right as long as it beats what the best
    of all others had at the outset: many picks then cost one matrix product, and not each of them
    a pass over all rows.

    Args:
        features: [n_rows, n_features].
        weights: [n_rows].
        distance: [n_rows], to the nearest reference or earlier pick.
        best: rows by falling weight × distance, one more than ``size`` where there are more.
        size: number of rows looked at.
        min_distance: near-duplicates are closer than this.
    """
    reach = _reach(weights[best], distance[best])
    limit = reach[size] if len(best) > size else -np.inf
    best, reach, nearest_pick = best[:size], reach[:size], distance[best[:size]]
    between = _distances(features[best], features[best])
    chosen: list[int] = []
    while not chosen or reach.max() > limit:
        k = int(np.argmax(reach))
        chosen.append(int(best[k]))
        nearest_pick = np.minimum(nearest_pick, between[k])
        closed = (nearest_pick < min_distance) | (nearest_pick == 0)
        reach = np.where(closed, -np.inf, weights[best] * nearest_pick)
    return chosen
