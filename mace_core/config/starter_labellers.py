"""A first labeller for a structure, by engine: what suits its elements and its kind.

What only the user can know stands in as a name that `maceloop doctor` finds missing.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms


@dataclass(frozen=True)
class Subject:
    """What a starting labeller depends on.

    Attributes:
        elements: symbols, in order.
        kind: "none", "partial" or "full": how the structure is periodic.
        metal: all of its elements are metals.
    """

    elements: tuple[str, ...]
    kind: str
    metal: bool

    @property
    def crystal(self) -> bool:
        return self.kind == "full"


def subject_of(structures: Sequence[Atoms]) -> Subject:
    """Elements and kind of all structures of a file."""
    elements = tuple(sorted({str(s) for atoms in structures for s in atoms.symbols}))
    pbc = [bool(p) for atoms in structures for p in atoms.pbc]
    kind = "full" if all(pbc) else "partial" if any(pbc) else "none"
    return Subject(elements, kind, all(_is_metal(element) for element in elements))


def _is_metal(element: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.core import Element

        return bool(Element(element).is_metal)


def _smeared(subject: Subject, key: str, metal: float, other: float, kind: str) -> dict[str, Any]:
    """Smearing of crystals.

    One of non-metals may be a metal all the same (TiN), and one that is none is not hurt by a
    narrow one.
    """
    if not subject.crystal:
        return {}
    if subject.metal:
        return {"smearing": "marzari-vanderbilt", key: metal}
    return {"smearing": kind, key: other}


def _espresso(subject: Subject) -> dict[str, Any]:
    folder = os.environ.get("ESPRESSO_PSEUDO", "pseudopotentials")
    return {
        "engine": "espresso",
        "pseudo_dir": folder,
        "pseudopotentials": {e: _upf(Path(folder), e) for e in subject.elements},
        "ecutwfc": 60,
        **_smeared(subject, "degauss", metal=0.02, other=0.005, kind="gaussian"),  # Ry
    }


def _upf(folder: Path, element: str) -> str:
    """The element's file in a folder, as the common tables name them (Al.upf, Al_ONCV_….upf)."""
    names = sorted(path.name for path in folder.glob("*") if path.suffix.lower() == ".upf")
    starts = tuple(f"{element.lower()}{mark}" for mark in "._-")
    return next((name for name in names if name.lower().startswith(starts)), f"{element}.upf")


def _gpaw(subject: Subject) -> dict[str, Any]:
    smearing = _smeared(subject, "width", metal=0.2, other=0.05, kind="fermi-dirac")  # eV
    return {"engine": "gpaw", "ecut": 500, "xc": "PBE", **smearing}


def _cp2k(subject: Subject) -> dict[str, Any]:
    settings: dict[str, Any] = {"engine": "cp2k", "xc": "PBE", "basis": "DZVP-MOLOPT-SR-GTH"}
    if subject.crystal:
        settings["kspacing"] = 0.25
    if subject.crystal and subject.metal:
        settings["electronic_temperature"] = 1000
    return settings


def _vasp(subject: Subject) -> dict[str, Any]:
    metal = subject.crystal and subject.metal
    smearing = {"ISMEAR": 1, "SIGMA": 0.2} if metal else {"ISMEAR": 0, "SIGMA": 0.05}
    return {
        "engine": "vasp",
        "command": "vasp_std",
        "version": "YOURS",
        "incar": {"ENCUT": 520, "EDIFF": 1e-6, "PREC": "Accurate", "LREAL": False, **smearing},
        "kspacing": 0.25,
        "potcars": {element: element for element in subject.elements},
    }


#: Labeller of a subject, by engine.
LABELLERS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "pyscf": lambda _: {"engine": "pyscf", "xc": "pbe", "basis": "def2-svp"},
    "tblite": lambda _: {"engine": "tblite", "method": "GFN2-xTB"},
    "emt": lambda _: {"engine": "emt"},
    "espresso": _espresso,
    "gpaw": _gpaw,
    "cp2k": _cp2k,
    "vasp": _vasp,
    "ase": lambda _: {
        "engine": "ase",
        "calculator": "your_package.module:Calculator",
        "kwargs": {},
    },
    "command": lambda _: {
        "engine": "command",
        "command": "python label.py {in} {out}",
        "files": ["label.py"],
    },
}

#: What to look at first, in a comment of the configuration.
HINTS = {
    "espresso": "the cutoff is that of your pseudopotentials; Fe, Co, Ni, Cr, Mn: nspin, "
    "starting_magnetization",
    "gpaw": "Fe, Co, Ni, Cr, Mn in crystals: spinpol, magmoms",
    "cp2k": "cutoff: forces below 200 Ry are 1 meV/Å off and more; insulators with large cells: "
    "take kspacing out (Γ)",
    "vasp": "version: what your OUTCAR says; POTCARs: $PMG_VASP_PSP_DIR or potcar_dir. Not run by "
    "this project's tests: see docs/labels.md",
    "ase": "calculator and kwargs are yours; $charge, $spin, $multiplicity: the frame's",
    "command": "label.py is yours: docs/labels.md says what it reads and writes",
}
