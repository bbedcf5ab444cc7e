"""Scores of older audits for a calibration that has too few new ones: which, and of what weight.

The scores of an earlier generation are those of another committee. How far they tell of the newest
one is asked of the newest committee itself, on the same frames: κ is the ratio of its spread there
to the spread recorded then. What all frames of that audit have in common (the newest committee is
surer of all of them, since it trained on them) cancels in a score, so that κ is divided by its
median over the audit. A frame weighs min(κ, 1/κ): 1 where both committees see it alike in relation
to the others, little where one of them was far surer of it than the other.

Weights below 1 on scores that may be of another distribution are those of Barber, Candès, Ramdas
and Tibshirani, "Conformal prediction beyond exchangeability", Ann. Stat. 51, 816 (2023): the loss
of coverage is at most the weighted sum of the distances between the distributions. So as few of
them are taken as are needed, the most alike first.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from ase import Atoms

from mace_core.assess.scores import NO_SPREAD, scores_and_spreads

#: Older frames that the newest committee is asked about, at most.
MOST_OLDER = 40

Spreads = Callable[[Sequence[Atoms]], Sequence[float]]


def alike(now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Weights in [0, 1] of one audit's frames, from two committees' largest spreads of each.

    Args:
        now: eV/Å, the newest committee's, [n].
        then: eV/Å, of the committee whose scores they are, [n].

    Returns:
        [n]; 0 where either has no spread.
    """
    known = (now > NO_SPREAD) & (then > NO_SPREAD)
    weights = np.zeros(len(now))
    if known.any():
        kappa = now[known] / then[known]
        kappa = kappa / np.median(kappa)
        weights[known] = np.minimum(kappa, 1 / kappa)
    return weights


def with_older(
    newest: np.ndarray,
    older: Iterable[tuple[int, Sequence[Atoms]]],
    needed: float,
    spread_now: Spreads,
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The newest scores, and as many older ones as are needed.

    Args:
        newest: scores, [n].
        older: generation and its scored audit frames, newest first; looked at only where needed.
        needed: sum of the weights.
        spread_now: the newest committee's largest spread of each frame, eV/Å.

    Returns:
        Scores and weights, the newest first, [m]; generations that an older score is of.
    """
    values, weights, used = list(newest), [1.0] * len(newest), []
    asked = 0
    remaining = iter(older)
    while sum(weights) < needed - 1e-9 and asked < MOST_OLDER:
        generation, frames = next(remaining, (None, []))
        if generation is None:
            break
        frames, found, then = scores_and_spreads(frames)
        frames = frames[: MOST_OLDER - asked]
        if not frames:
            continue
        asked += len(frames)
        likeness = alike(np.array(spread_now(frames), dtype=float), then[: len(frames)])
        for k in np.argsort(-likeness, kind="stable"):
            if likeness[k] == 0 or sum(weights) >= needed - 1e-9:
                break
            values.append(found[k])
            weights.append(float(likeness[k]))
            if generation not in used:
                used.append(generation)
    return np.array(values, dtype=float), np.array(weights), used
