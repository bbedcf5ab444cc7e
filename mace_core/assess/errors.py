"""What a committee's predictions are wrong by, with confidence bounds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.special import ndtr, stdtrit

from mace_core.conventions import (
    GROUP,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_STRESS,
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
)

#: Resamples of a bootstrap.
RESAMPLES = 4000
#: Most elements of one block of bootstrap weights: 32 MB.
_BLOCK = 4_000_000


def errors(frames: Sequence[Atoms], confidence: float, seed: int) -> dict[str, Any] | None:
    """The ``errors`` object of docs/contracts.md, in eV, Å and atoms.

    The force MAE is over components, of all atoms of all frames. Its bounds are each one-sided at
    ``confidence``, from a bootstrap over frames (:func:`bootstrap_bounds`); None for one frame.
    Labels may be missing: what they would give is then None, and each error counts the frames that
    have both label and prediction.

    Args:
        frames: with REF_* and MACE_*.
        confidence: of each bound, one-sided.
        seed: of the bootstrap.

    Returns:
        None without frames.
    """
    if not frames:
        return None
    with_forces = [a for a in frames if REF_FORCES in a.arrays and MACE_FORCES in a.arrays]
    rng = np.random.default_rng(seed)
    result = {"n_frames": len(frames)} | _forces(with_forces, confidence, rng)
    result |= _energies([a for a in frames if REF_ENERGY in a.info and MACE_ENERGY in a.info])
    result["stress_mae"] = _stress(
        [a for a in frames if REF_STRESS in a.info and MACE_STRESS in a.info]
    )
    result["by_element"] = _by_element(with_forces, confidence, rng)
    result["by_group"] = _by_group(with_forces, confidence, rng)
    return result


def bootstrap_bounds(
    totals: np.ndarray, counts: np.ndarray, confidence: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One-sided bounds of Σ totals / Σ counts over frames drawn at random.

    Percentiles of the ratio over resampled frames. For few frames the percentiles are taken further
    out, at Φ(±√(n / (n − 1)) · t), because a resample's spread is too small by √((n − 1) / n) and
    normal where it should be Student's: the expanded percentile interval of Hesterberg, "What
    Teachers Should Know About the Bootstrap", Am. Stat. 69, 371 (2015).

    Args:
        totals: [n_frames, k] sums of absolute errors of each frame; k quantities at once.
        counts: [n_frames, k] number of terms in each sum; a frame with 0 says nothing.
        confidence: of each bound, one-sided.
        rng: of the resamples.

    Returns:
        Lower and upper bounds, [k] each; NaN where fewer than two frames count.
    """
    n, k = totals.shape
    ratios = np.empty((RESAMPLES, k))
    step = max(1, _BLOCK // max(n, 1))
    for start in range(0, RESAMPLES, step):
        rows = slice(start, min(start + step, RESAMPLES))
        weights = rng.multinomial(n, np.full(n, 1 / n), size=rows.stop - rows.start).astype(float)
        terms = weights @ counts
        with np.errstate(invalid="ignore"):
            ratios[rows] = np.where(terms > 0, (weights @ totals) / terms, np.nan)
    low, high = np.full(k, np.nan), np.full(k, np.nan)
    for column in range(k):
        present = int((counts[:, column] > 0).sum())
        if present < 2:
            continue
        tail = ndtr(-np.sqrt(present / (present - 1)) * stdtrit(present - 1, confidence))
        low[column], high[column] = np.nanquantile(ratios[:, column], [tail, 1 - tail])
    return low, high


def _forces(frames: Sequence[Atoms], confidence: float, rng: np.random.Generator) -> dict[str, Any]:
    if not frames:
        names = ("force_mae", "force_mae_low", "force_mae_high", "force_rmse", "max_force_error")
        return dict.fromkeys(names)
    deltas = [a.arrays[MACE_FORCES] - a.arrays[REF_FORCES] for a in frames]
    every = np.concatenate(deltas)
    totals = np.array([[np.abs(delta).sum()] for delta in deltas])
    counts = np.array([[delta.size] for delta in deltas], dtype=float)
    low, high = bootstrap_bounds(totals, counts, confidence, rng)
    return {
        "force_mae": float(np.abs(every).mean()),
        "force_mae_low": _number(low[0]),
        "force_mae_high": _number(high[0]),
        "force_rmse": float(np.sqrt((every**2).mean())),
        "max_force_error": float(np.linalg.norm(every, axis=1).max()),
    }


def _by_element(
    frames: Sequence[Atoms], confidence: float, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Force MAE of the atoms of each element; ``n`` is the number of these atoms."""
    if not frames:
        return {}
    elements = sorted({int(z) for a in frames for z in np.unique(a.numbers)})
    totals, counts = np.zeros((2, len(frames), len(elements)))
    for row, atoms in enumerate(frames):
        absolute = np.abs(atoms.arrays[MACE_FORCES] - atoms.arrays[REF_FORCES]).sum(axis=1)
        for column, z in enumerate(elements):
            totals[row, column] = absolute[atoms.numbers == z].sum()
            counts[row, column] = 3 * np.count_nonzero(atoms.numbers == z)
    _, high = bootstrap_bounds(totals, counts, confidence, rng)
    return {
        chemical_symbols[z]: {
            "force_mae": float(totals[:, column].sum() / counts[:, column].sum()),
            "force_mae_high": _number(high[column]),
            "n": int(counts[:, column].sum()) // 3,
        }
        for column, z in enumerate(elements)
    }


def _by_group(
    frames: Sequence[Atoms], confidence: float, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Force MAE of the frames of each walker group; ``n`` is the number of these frames."""
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        if atoms.info.get(GROUP) is not None:
            groups.setdefault(str(atoms.info[GROUP]), []).append(atoms)
    result = {}
    for group, members in sorted(groups.items()):
        found = _forces(members, confidence, rng)
        result[group] = {key: found[key] for key in ("force_mae", "force_mae_high")}
        result[group]["n"] = len(members)
    return result


def _energies(frames: Sequence[Atoms]) -> dict[str, float | None]:
    """Energy errors a atom, as they are and after the constant shift.

    Two levels of theory, or two sets of E0s, differ by a constant an element: the shift is the
    least-squares fit of one constant for each element to the errors, which for frames of one
    composition is one constant. It would fit anything where there are no more frames than
    constants to fit: centred errors are None then.
    """
    names = ("energy_mae", "energy_mae_centred", "energy_shift")
    if not frames:
        return dict.fromkeys(names)
    sizes = np.array([len(a) for a in frames])
    delta = np.array([a.info[MACE_ENERGY] - a.info[REF_ENERGY] for a in frames]) / sizes
    elements = np.unique(np.concatenate([a.numbers for a in frames]))
    shares = np.array([[(a.numbers == z).mean() for z in elements] for a in frames])
    constants, _, rank, _ = np.linalg.lstsq(shares, delta, rcond=None)
    shift = shares @ constants
    fitted = len(frames) > rank
    return {
        "energy_mae": float(np.abs(delta).mean()),
        "energy_mae_centred": float(np.abs(delta - shift).mean()) if fitted else None,
        "energy_shift": float(shift.mean()) if fitted else None,
    }


def _stress(frames: Sequence[Atoms]) -> float | None:
    """MAE over the six components, eV/Å³."""
    if not frames:
        return None
    pairs = [(_voigt(a.info[MACE_STRESS]), _voigt(a.info[REF_STRESS])) for a in frames]
    return float(np.mean([np.abs(predicted - reference) for predicted, reference in pairs]))


def _voigt(stress: Any) -> np.ndarray:
    stress = np.asarray(stress, dtype=float)
    return full_3x3_to_voigt_6_stress(stress.reshape(3, 3)) if stress.size == 9 else stress


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
