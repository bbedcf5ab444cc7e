"""What the stop rule needs of each audit frame, and of each walk: a row, a few numbers each.

assess.json keeps them, so that the rule can be evaluated again, over any window of generations,
without the frames.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from mace_core.conventions import (
    DISPLACEMENT,
    EXAM,
    FRAME_ID,
    GROUP,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_STRESS,
    MD_STEP,
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
    WALKER,
)
from mace_core.strata import stratum_of


def rows(
    frames: Sequence[Atoms], generation: int | None = None, steps: int | None = None
) -> list[dict[str, Any]]:
    """One row per frame with labels and predictions: the ``audit_frames`` of docs/contracts.md.

    Frames that no walker visited count as a walk of their own each.

    Args:
        frames: with REF_* and MACE_*; those without forces are left out.
        generation: in which they were audited.
        steps: MD steps of an ordinary walk: a long one is cut into pieces of that length, which
            are as different from each other as walks are (``benchmarks/audit_walks.py``).
    """
    found = []
    for k, atoms in enumerate(frames):
        if REF_FORCES not in atoms.arrays or MACE_FORCES not in atoms.arrays:
            continue
        absolute = np.abs(atoms.arrays[MACE_FORCES] - atoms.arrays[REF_FORCES]).mean(axis=1)
        spread = atoms.arrays.get(MACE_FORCES_STD)
        symbols = np.array(atoms.get_chemical_symbols())
        found.append(
            {
                FRAME_ID: str(atoms.info.get(FRAME_ID, k)),
                "generation": generation,
                "stratum": stratum_of(atoms),
                "group": atoms.info.get(GROUP),
                "walker": int(atoms.info[WALKER]) if WALKER in atoms.info else None,
                "exam": bool(atoms.info.get(EXAM, False)),
                "segment": max(int(atoms.info.get(MD_STEP, 0)) - 1, 0) // steps if steps else 0,
                "displacement": atoms.info.get(DISPLACEMENT),
                "force_mae": float(absolute.mean()),
                "spread": _mean(spread, symbols != ""),
                "by_element": {
                    str(symbol): {
                        "n": int((symbols == symbol).sum()),
                        "force_mae": float(absolute[symbols == symbol].mean()),
                        "spread": None
                        if spread is None
                        else float(spread[symbols == symbol].mean()),
                    }
                    for symbol in np.unique(symbols)
                },
                "energy_error": energy_error(atoms),
                "stress_mae": stress_error(atoms),
            }
        )
    return found


def _mean(spread: np.ndarray | None, atoms: np.ndarray) -> float | None:
    return None if spread is None else float(spread[atoms].mean())


def energy_error(atoms: Atoms) -> float | None:
    """Predicted less reference energy, eV/atom, uncentred; None without either."""
    if REF_ENERGY not in atoms.info or MACE_ENERGY not in atoms.info:
        return None
    return float(atoms.info[MACE_ENERGY] - atoms.info[REF_ENERGY]) / len(atoms)


def stress_error(atoms: Atoms) -> float | None:
    """Mean absolute error of the six components, eV/Å³; None without label or prediction."""
    if REF_STRESS not in atoms.info or MACE_STRESS not in atoms.info:
        return None
    pair = (voigt(atoms.info[MACE_STRESS]), voigt(atoms.info[REF_STRESS]))
    return float(np.abs(pair[0] - pair[1]).mean())


def voigt(stress: Any) -> np.ndarray:
    """[6] of a [6] or [3, 3] stress."""
    stress = np.asarray(stress, dtype=float)
    return full_3x3_to_voigt_6_stress(stress.reshape(3, 3)) if stress.size == 9 else stress
