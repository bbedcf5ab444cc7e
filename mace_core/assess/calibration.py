"""From a committee's spread to an error in eV/Å: split conformal prediction on whole frames.

A frame's score is its largest atomic force error over its largest atomic spread. The factor is the
⌈(n + 1)·coverage⌉-th smallest score of n frames that the committee never trained on; then, for a
new frame exchangeable with them, P(error ≤ factor × spread) ≥ ⌈(n + 1)·coverage⌉ / (n + 1),
whatever the distribution and however poor the committee.

The normalised score is that of Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free
predictive inference for regression", J. Am. Stat. Assoc. 113, 1094 (2018), section 5.2; the method
is that of Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005). Frames and
not atoms are the units: the atoms of one frame are not exchangeable with those of another.

Where the newest audit has too few frames, older ones join with weights below 1
(:mod:`mace_core.assess.likeness`), and the factor is the weighted quantile of Tibshirani, Foygel
Barber, Candès and Ramdas, "Conformal prediction under covariate shift" (NeurIPS 2019), in which
the new frame weighs 1. With fewer than :data:`LEAST_FRAMES` frames nothing is calibrated: the
factor is then an assumption, and says so.

What is not exact: the audit of generation g calibrates the committee of g + 1, and walkers of g + 1
go elsewhere. So the coverage of every factor is measured on the audit of the generation that used
it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.assess.interval import quantile_interval
from mace_core.assess.likeness import Spreads, with_older
from mace_core.assess.scores import scores
from mace_core.errors import UserError

#: Fewer frames calibrate nothing: the interval of a factor from 4 frames spans more than fourfold
#: (for a scatter of 0.4 in the logarithm of scores), from 3 tenfold.
LEAST_FRAMES = 5

#: Factor of a committee that is not calibrated. The 90th percentile of error over spread was 2.1,
#: 3.6 and 5.0 for three kinds of committees that were measured (docs/decisions.md, 2026-12-01).
ASSUMED_FACTOR = 3.0


def is_calibrated(calibration: dict[str, Any]) -> bool:
    """Whether a factor was measured; files of earlier versions have measured ones only."""
    return calibration.get("calibrated", True)


def weight_needed(coverage: float) -> float:
    """Sum of weights below which older audits join the newest one.

    The largest of n scores bounds n / (n + 1) of new frames. Half again as many misses as asked for
    are borne before scores of another committee are taken in: 6 frames are enough for a coverage
    of 0.9, where 9 reach it.
    """
    misses = 1.5 * (1 - coverage)
    return 1 / misses - 1


def conformal_factor(
    values: np.ndarray, coverage: float, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """The factor and the level that it reaches.

    The smallest score at which the weights of the scores up to it, over the sum of all weights and
    the new frame's 1, reach ``coverage``. Where none does, the largest score is the factor, and its
    level is lower. A frame with an error but no spread is bounded by no factor: it lowers the
    level.

    Args:
        values: scores, [n].
        coverage: asked, in (0, 1).
        weights: of the scores, in (0, 1], [n]; by default all 1.

    Returns:
        The factor, and the share of new frames that it bounds at least.

    Raises:
        UserError: no score is finite: the members of the committee are the same.
    """
    order = np.argsort(values, kind="stable")
    ordered = np.asarray(values, dtype=float)[order]
    weight = np.ones(len(ordered)) if weights is None else np.asarray(weights, dtype=float)[order]
    finite = int(np.isfinite(ordered).sum())
    if finite == 0:
        raise UserError(
            "the committee cannot be calibrated: it has errors but no spread on every frame"
            if len(ordered)
            else "the committee cannot be calibrated: no frame with forces is held out",
            mend="see that the members were trained from different seeds"
            if len(ordered)
            else "raise data.valid_fraction, or label more frames",
        )
    if np.all(weight == 1):
        k = min(_rank(len(ordered), coverage), finite)
        return float(ordered[k - 1]), k / (len(ordered) + 1)
    reached = np.cumsum(weight) / (weight.sum() + 1)
    k = min(int(np.searchsorted(reached, coverage - 1e-9)), finite - 1)
    return float(ordered[k]), float(reached[k])


def calibrate(
    sets: Iterable[tuple[int, Sequence[Atoms]]],
    coverage: float,
    kind: str = "audit",
    spread_now: Spreads | None = None,
) -> dict[str, Any]:
    """The ``calibration`` object of the contract.

    Args:
        sets: generation and its scored frames, newest first. Older ones join where the newest has
            too few (:func:`weight_needed`).
        coverage: asked.
        kind: what the frames are: audit, or validation frames.
        spread_now: the newest committee's largest spread of each of the older frames, eV/Å; by
            default older frames are not taken.

    Returns:
        A measured factor; with fewer than :data:`LEAST_FRAMES` frames an assumed one, which is not
        below the largest score seen (``calibrated`` is false then, and ``level`` null).

    Raises:
        UserError: there are frames, and none of their scores is finite.
    """
    remaining = iter(sets)
    newest, frames = next(remaining, (None, []))
    values = scores(frames)
    used = [newest] if len(values) else []
    weights = np.ones(len(values))
    if spread_now is not None:
        values, weights, older = with_older(values, remaining, weight_needed(coverage), spread_now)
        used += older
    numbers = ", ".join(str(g) for g in sorted(used))
    source = f"{kind} of generation{'s' if len(used) > 1 else ''} {numbers}"
    found = {
        "factor": ASSUMED_FACTOR,
        "factor_low": None,
        "factor_high": None,
        "calibrated": False,
        "coverage": coverage,
        "level": None,
        "n_frames": len(values),
        "generations": sorted(used),
        "source": "the committee cannot be calibrated on "
        f"{len(values)} frame{'' if len(values) == 1 else 's'}, {LEAST_FRAMES} are needed"
        + (f" ({source})" if used else ""),
    }
    if not len(values):
        return found
    factor, level = conformal_factor(values, coverage, weights)
    if len(values) < LEAST_FRAMES:
        largest = float(values[np.isfinite(values)].max())
        return found | {"factor": max(ASSUMED_FACTOR, largest)}
    limits = quantile_interval(values, weights, coverage)
    if limits is not None:
        found |= {"factor_low": min(limits[0], factor), "factor_high": max(limits[1], factor)}
    return found | {"factor": factor, "calibrated": True, "level": level, "source": source}


def following(
    sets: Iterable[tuple[int, Sequence[Atoms]]],
    coverage: float,
    present: dict[str, Any],
    spread_now: Spreads,
) -> tuple[dict[str, Any], list[str]]:
    """The calibration for the next generation, and sentences where the audit gave none.

    Args:
        sets: as in :func:`calibrate`, audits.
        coverage: asked.
        present: the calibration in use: it stays where the audits calibrate nothing.
        spread_now: as in :func:`calibrate`.
    """
    found = calibrate(sets, coverage, spread_now=spread_now)
    if found["calibrated"]:
        return found, []
    n = found["n_frames"]
    if n == 0:
        return present, ["no audit frame was labelled: the calibration stays as it was"]
    if is_calibrated(present):
        return present, [
            f"{n} audit frames are too few to calibrate on, {LEAST_FRAMES} are needed: the "
            "calibration stays as it was"
        ]
    return found | {"factor": max(found["factor"], present["factor"])}, []


def measured_coverage(
    frames: Sequence[Atoms], calibration: dict[str, Any]
) -> dict[str, Any] | None:
    """How often the factor in use bounded the error, on frames measured afterwards.

    Returns:
        None without frames; else the ``measured_coverage`` object of the contract, whose
        ``expected`` is None for an assumed factor.
    """
    values = scores(frames)
    if not len(values):
        return None
    covered = int((values <= calibration["factor"]).sum())
    return {
        "covered": covered,
        "n_frames": len(values),
        "share": covered / len(values),
        "expected": calibration.get("level") if is_calibrated(calibration) else None,
    }


def _rank(n: int, coverage: float) -> int:
    # Rounded first: (9 + 1) · 0.9 must not become 10 by a rounding error above 9.
    return math.ceil(round((n + 1) * coverage, 9))
