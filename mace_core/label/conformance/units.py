"""Names for a factor between what a labeller returned and what the energy says."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase.units import Bohr, GPa, Hartree, Rydberg, kcal, kJ, mol

#: Returned force / (−dE/dx), and what it means.
FORCES: Mapping[str, float] = {
    "their sign is flipped (they are the gradient)": -1.0,
    "they are in Hartree/Bohr": Bohr / Hartree,
    "they are in Hartree/Bohr, with the sign of the gradient": -Bohr / Hartree,
    "they are in Ry/Bohr": Bohr / Rydberg,
    "they are in eV/Bohr": Bohr,
    "they are multiplied by Å in Bohr instead of divided": 1 / Bohr**2,
    "they are in Hartree/Å": 1 / Hartree,
    "they are in kcal/mol/Å": mol / kcal,
    "they are in kJ/mol/Å": mol / kJ,
    "the energy is in Hartree": Hartree,
    "the energy is in Ry": Rydberg,
    "the energy is in kcal/mol": kcal / mol,
    "the energy is in kJ/mol": kJ / mol,
    "the energy is per atom": np.nan,  # filled in by the number of atoms
}
#: Returned stress / ((1/V) dE/dε).
STRESS: Mapping[str, float] = {
    "its sign is flipped (it is the pressure's)": -1.0,
    "it is in GPa": 1 / GPa,
    "it is in GPa, with the pressure's sign": -1 / GPa,
    "it is in kbar": 10 / GPa,
    "it is in kbar, with the pressure's sign": -10 / GPa,
    "it is in Hartree/Bohr³": Bohr**3 / Hartree,
    "it is in Ry/Bohr³": Bohr**3 / Rydberg,
    "it is in eV/Bohr³": Bohr**3,
    "it is the virial (−V·stress, eV)": np.nan,
    "it is not divided by the volume": np.nan,
}
#: Shares: how well the factor must explain the numbers, and how near it must be to the named one.
_EXPLAINED, _NEAR = 0.05, 0.03


def factor(returned: Sequence[float], expected: Sequence[float]) -> float | None:
    """The one factor between two sets of numbers, or None where there is none."""
    r, e = np.asarray(returned, dtype=float), np.asarray(expected, dtype=float)
    if not (np.isfinite(r).all() and np.isfinite(e).all()) or not e.any() or not r.any():
        return None
    ratio = float(r @ e / (e @ e))
    rest = np.linalg.norm(r - ratio * e) / np.linalg.norm(r)
    return ratio if rest < _EXPLAINED else None


def named(ratio: float | None, names: Mapping[str, float], **more: float) -> str:
    """What a factor means, in words; empty where it is none of the known ones.

    Args:
        ratio: returned / expected.
        names: of the factors.
        more: those that depend on the frame, by the start of their name with ``_`` for a space.
    """
    if ratio is None:
        return ""
    own = {key.replace("_", " "): value for key, value in more.items()}
    for name, value in names.items():
        value = next((v for key, v in own.items() if name.startswith(key)), value)
        if abs(ratio / value - 1) < _NEAR:
            return f"{name} (returned / expected = {ratio:.4g})"
    return ""
