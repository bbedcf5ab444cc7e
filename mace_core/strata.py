"""Strata: what a user asked for, and which one a frame belongs to.

A stratum is a structure of origin with its lineage: its rattled copies, the MD frames that descend
from them, and so on. Each composition that substitutions or vacancies make of a structure is a
stratum of its own. A frame carries its stratum's name from birth (``info["stratum"]``).
"""

import re

from ase import Atoms

from mace_core.conventions import CHARGE, CONFIG_TYPE, ISOLATED_ATOM, SPIN, STRATUM

#: ``config_type`` that names no origin, in lower case.
_NO_ORIGIN = ("", ISOLATED_ATOM.lower(), "default")

#: Characters that ASE's extxyz loses or misreads, and what stands for them.
_NOT_IN_EXTXYZ = str.maketrans("\\=", "/-")

#: What separates the elements of an array in extxyz.
_WORDS = re.compile(r"[\s,\[\]{}]+")


def stratum_of(atoms: Atoms) -> str:
    """The name of a frame's stratum.

    ``info["stratum"]`` where the frame has it. Where it has not (frames of others, and those of
    earlier versions): its ``config_type``, unless that is ``IsolatedAtom`` or ``Default`` in any
    case; else its composition, as :func:`composition_name` writes it.
    """
    for key in (STRATUM, CONFIG_TYPE):
        said = str(atoms.info.get(key, "")).strip()
        if said and (key == STRATUM or said.lower() not in _NO_ORIGIN):
            return one_line(said)
    return composition_name(atoms)


def composition_name(atoms: Atoms) -> str:
    """Hill formula, reduced where periodic, with charge (e) and spin (N(up) − N(down)) if not 0.

    For example ``H2O charge 1 spin 1``.
    """
    formula = atoms.symbols.formula
    if atoms.pbc.any():
        formula, _ = formula.reduce()
    state = [f"{key} {int(atoms.info.get(key, 0))}" for key in (CHARGE, SPIN)]
    return " ".join([formula.format("hill"), *(s for s in state if not s.endswith(" 0"))])


def composition(atoms: Atoms) -> tuple:
    """What frames of the same atoms share: sorted atomic numbers, pbc, charge and spin."""
    return (
        *sorted(atoms.numbers.tolist()),
        *atoms.pbc.tolist(),
        int(atoms.info.get(CHARGE, 0)),
        int(atoms.info.get(SPIN, 0)),
    )


def one_line(name: str) -> str:
    """A name as extxyz and JSON give it back: one line that does not read as numbers or truth."""
    name = " ".join(name.translate(_NOT_IN_EXTXYZ).split())
    if not name[:1].isalnum() or all(map(_is_value, _WORDS.split(name))):
        name = f"structure {name}".strip()
    return name


def _is_value(word: str) -> bool:
    if word.lower() in ("", "t", "f", "true", "false"):
        return True
    try:
        float(word)
    except ValueError:
        return False
    return True
