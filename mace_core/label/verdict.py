"""Whether what an engine returned is a label of the frame that was asked for.

Whether that label is plausible is another question: :mod:`mace_core.label.sanity`.
"""

from typing import Any

import numpy as np
from ase import Atoms

from mace_core.conventions import LabelStatus

#: Å; by how much an atom may have moved on its way through an engine and its file formats.
MOVED = 1e-4


def verdict(answer: dict[str, Any], frame: Atoms) -> tuple[LabelStatus, str]:
    """Status and, unless converged, the reason.

    Args:
        answer: energy (eV), forces [n, 3] (eV/Å), stress [6] (eV/Å³), and of the atoms that were
            computed numbers [n] and positions [n, 3] (Å).
        frame: the frame that was asked for.
    """
    missing = [key for key in ("energy", "forces") if answer[key] is None]
    if missing:
        return LabelStatus.FAILED, f"the engine returned no {' and no '.join(missing)}"
    problem = _atoms_changed(answer, frame) or _not_numbers(answer, len(frame))
    return (LabelStatus.REJECTED, problem) if problem else (LabelStatus.CONVERGED, "")


def _atoms_changed(answer: dict[str, Any], frame: Atoms) -> str:
    """Forces in another order, or of other atoms, would be learnt as those of these ones."""
    numbers, positions = np.array(answer["numbers"]), np.array(answer["positions"])
    if sorted(numbers) != sorted(frame.numbers):
        return f"composition changed: {len(numbers)} atoms computed, {len(frame)} asked for"
    if (numbers != frame.numbers).any():
        return "atoms were reordered by the engine"
    moved = np.abs(positions - frame.positions).max(initial=0.0)
    if not moved <= MOVED:
        return f"atoms were reordered or moved by the engine (by {moved:.3g} Å)"
    return ""


def _not_numbers(answer: dict[str, Any], n_atoms: int) -> str:
    shapes = {"energy": (), "forces": (n_atoms, 3), "stress": (6,)}
    for key, shape in shapes.items():
        if answer[key] is None:
            continue
        value = np.array(answer[key], dtype=float)
        if value.shape != shape:
            return f"{key} has shape {value.shape}, not {shape}"
        if not np.isfinite(value).all():
            return f"{key} is not a finite number"
    return ""
