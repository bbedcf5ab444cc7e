"""From a committee's spread to an error in eV/Å: split conformal prediction on whole frames.

A frame's score is its largest atomic force error over its largest atomic spread. The factor is the
⌈(n + 1)·coverage⌉-th smallest score of n frames that the committee never trained on; then, for a
new frame exchangeable with them, P(error ≤ factor × spread) ≥ ⌈(n + 1)·coverage⌉ / (n + 1),
whatever the distribution and however poor the committee.

The normalised score is that of Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free
predictive inference for regression", J. Am. Stat. Assoc. 113, 1094 (2018), section 5.2; the method
is that of Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005). Frames and
not atoms are the units: the atoms of one frame are not exchangeable with those of another.

What is not exact: the audit of generation g calibrates the committee of g + 1, and walkers of g + 1
go elsewhere. So the coverage of every factor is measured on the audit of the generation that used
it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.conventions import MACE_FORCES, MACE_FORCES_STD, REF_FORCES
from mace_core.errors import UserError


def largest_force_error(atoms: Atoms) -> float:
    """Largest |F_MACE − F_REF| of a frame's atoms, eV/Å."""
    delta = atoms.arrays[MACE_FORCES] - atoms.arrays[REF_FORCES]
    return float(np.linalg.norm(delta, axis=1).max())


def scores(frames: Iterable[Atoms]) -> np.ndarray:
    """Error over spread of each frame with REF_forces, MACE_forces and MACE_forces_std.

    Returns:
        [n_frames]; 0 where both are zero, infinite where only the spread is.
    """
    pairs = [
        (largest_force_error(atoms), float(np.max(atoms.arrays[MACE_FORCES_STD])))
        for atoms in frames
        if REF_FORCES in atoms.arrays
    ]
    error, spread = np.array(pairs, dtype=float).reshape(-1, 2).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / spread)


def frames_needed(coverage: float) -> int:
    """Least number of frames whose largest score reaches ``coverage``: n / (n + 1) ≥ coverage."""
    n = max(1, math.ceil(coverage / (1 - coverage)) - 1)  # −1: from below, past rounding
    while _rank(n, coverage) > n:
        n += 1
    return n


def conformal_factor(values: np.ndarray, coverage: float) -> tuple[float, float]:
    """The factor and the level that it reaches.

    Where too few frames are there for ``coverage``, the largest score is the factor, and the level
    is n / (n + 1). A frame with an error but no spread is bounded by no factor: it lowers the
    level.

    Args:
        values: scores, [n].
        coverage: asked, in (0, 1).

    Returns:
        The factor, and the share of new frames that it bounds at least.

    Raises:
        UserError: no score is finite: the members of the committee are the same.
    """
    ordered = np.sort(values)
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
    k = min(_rank(len(ordered), coverage), finite)
    return float(ordered[k - 1]), k / (len(ordered) + 1)


def calibrate(
    sets: Sequence[tuple[int, Sequence[Atoms]]], coverage: float, kind: str = "audit"
) -> dict[str, Any] | None:
    """The ``calibration`` object of the contract.

    Args:
        sets: generation and its scored frames, newest first. Older ones are taken in until there
            are enough frames for ``coverage``.
        coverage: asked.
        kind: what the frames are: audit, or validation frames.

    Returns:
        None if there is not one frame to calibrate on.
    """
    pooled = np.empty(0)
    used: list[int] = []
    for generation, frames in sets:
        if len(pooled) >= frames_needed(coverage):
            break
        values = scores(frames)
        if len(values):
            pooled = np.concatenate([pooled, values])
            used.append(generation)
    if not used:
        return None
    factor, level = conformal_factor(pooled, coverage)
    numbers = ", ".join(str(g) for g in sorted(used))
    return {
        "factor": factor,
        "coverage": coverage,
        "level": level,
        "n_frames": len(pooled),
        "source": f"{kind} of generation{'s' if len(used) > 1 else ''} {numbers}",
    }


def measured_coverage(
    frames: Sequence[Atoms], calibration: dict[str, Any]
) -> dict[str, Any] | None:
    """How often the factor in use bounded the error, on frames measured afterwards.

    Returns:
        None without frames; else the ``measured_coverage`` object of the contract.
    """
    values = scores(frames)
    if not len(values):
        return None
    covered = int((values <= calibration["factor"]).sum())
    return {
        "covered": covered,
        "n_frames": len(values),
        "share": covered / len(values),
        "expected": calibration["level"],
    }


def _rank(n: int, coverage: float) -> int:
    # Rounded first: (9 + 1) · 0.9 must not become 10 by a rounding error above 9.
    return math.ceil(round((n + 1) * coverage, 9))
