"""CP2K's input file, from the settings and a frame."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.units import Bohr

from mace_core.config.labellers import CP2KLabeller
from mace_core.config.labellers.cp2k import FUNCTIONALS, PARAMETRISATIONS
from mace_core.label.engines.base import Guess
from mace_core.label.engines.cells import kpoint_grid

COORDINATES, FORCES, STRESS = "coordinates.txt", "forces.txt", "stress.txt"
#: Å; beyond it the pairs of D3 are left out (CP2K's own 10.6 Å leaves out 1 meV/atom in crystals).
D3_CUTOFF = 16.0
#: Steps of the inner loop of orbital transformation, after which the preconditioner is made anew.
INNER = 20

Section = dict[str, Any]


def input_text(
    s: CP2KLabeller,
    frame: Atoms,
    cell: np.ndarray,
    positions: np.ndarray,
    rung: str,
    guess: Guess = Guess.USUAL,
) -> str:
    """The whole input.

    Args:
        s: settings.
        frame: gives species, charge, spin and periodicity.
        cell: [3, 3] Å, rows are the cell vectors.
        positions: [n, 3] Å, in that cell.
        rung: one of :func:`rungs`.
        guess: from what the SCF starts.
    """
    periodic = bool(frame.pbc.all())
    tree: Section = {
        "GLOBAL": {"PROJECT": "label", "RUN_TYPE": "ENERGY_FORCE", "PRINT_LEVEL": "MEDIUM"},
        "FORCE_EVAL": {
            "METHOD": "QUICKSTEP",
            "STRESS_TENSOR": "ANALYTICAL" if periodic else "NONE",
            "PRINT": {
                "FORCES ON": {"FILENAME": f"={FORCES}", "NDIGITS": 12},
                **({"STRESS_TENSOR ON": {"FILENAME": f"={STRESS}"}} if periodic else {}),
            },
            "DFT": _dft(s, frame, cell, rung, guess),
            "SUBSYS": _subsystem(s, frame, cell, positions),
        },
    }
    for path, text in s.extra.items():
        _insert(tree, path, text)
    return "\n".join(_lines(tree)) + "\n"


def rungs(s: CP2KLabeller) -> tuple[str, ...]:
    """The retry ladder. Orbital transformation knows neither smearing nor k-points."""
    if s.electronic_temperature or s.kspacing or s.kpts:
        return ("default", "damped", "kerker")
    return ("default", "full_all", "diagonalization")


def basis_of(s: CP2KLabeller, element: str) -> str | None:
    """The name of an element's basis set."""
    return s.basis if isinstance(s.basis, str) else s.basis.get(element)


def potential_of(s: CP2KLabeller, element: str) -> str | None:
    """The name of an element's pseudopotential."""
    return s.potential if isinstance(s.potential, str) else s.potential.get(element)


def _dft(s: CP2KLabeller, frame: Atoms, cell: np.ndarray, rung: str, guess: Guess) -> Section:
    periodic = bool(frame.pbc.all())
    spin = frame.info["spin"]
    polarised = bool(spin or s.uks)
    dft: Section = {
        # Links to the files, made by the engine.
        "BASIS_SET_FILE_NAME": [f"basis_{n}" for n in range(len(s.basis_files))],
        "POTENTIAL_FILE_NAME": "potentials",
        "CHARGE": frame.info["charge"],
        "MULTIPLICITY": spin + 1,
        "UKS": "ON" if polarised else "OFF",
        "MGRID": {"CUTOFF": f"[Ry] {s.cutoff}", "REL_CUTOFF": f"[Ry] {s.rel_cutoff}"},
        "QS": {"METHOD": "GPW", "EPS_DEFAULT": s.eps_default},
        "SCF": _scf(s, rung, polarised, spin),
        "XC": _xc(s),
    }
    if not periodic:
        # The wavelet solver has no images: Genovese et al., J. Chem. Phys. 125, 074105 (2006).
        dft["POISSON"] = {"PERIODIC": "NONE", "POISSON_SOLVER": "WAVELET"}
    elif s.kpts or s.kspacing:
        grid = s.kpts or kpoint_grid(cell, s.kspacing)
        if max(grid) > 1:
            dft["KPOINTS"] = {"SCHEME": f"MONKHORST-PACK {' '.join(map(str, grid))}"}
    if guess == Guess.OTHER:
        if "KPOINTS" in dft:
            dft["SCF"]["MIXING ON"]["ALPHA"] /= 2
        else:
            dft["SCF"]["SCF_GUESS"] = "CORE"
    return dft


def _scf(s: CP2KLabeller, rung: str, polarised: bool, spin: int) -> Section:
    """The way to the solution: the only part that differs from rung to rung."""
    scf: Section = {"SCF_GUESS": "ATOMIC", "EPS_SCF": s.eps_scf, "PRINT": {"RESTART OFF": {}}}
    if "diagonalization" not in rungs(s) or rung == "diagonalization":
        more, alpha, mixing = {
            "default": (1, 0.4, {"METHOD": "BROYDEN_MIXING", "NBROYDEN": 8}),
            "damped": (3, 0.1, {"METHOD": "BROYDEN_MIXING", "NBROYDEN": 12}),
            "kerker": (5, 0.1, {"METHOD": "KERKER_MIXING", "BETA": 1.5}),
            "diagonalization": (3, 0.2, {"METHOD": "BROYDEN_MIXING", "NBROYDEN": 8}),
        }[rung]
        scf["MAX_SCF"] = more * s.max_scf
        scf["DIAGONALIZATION ON"] = {"ALGORITHM": "STANDARD"}
        scf["MIXING ON"] = {"ALPHA": alpha, **mixing}
        if s.electronic_temperature:
            # One number for each spin: CP2K 2023.1 dies of -1 for both together.
            scf["ADDED_MOS"] = f"{s.added_mos} {s.added_mos}" if polarised else s.added_mos
            temperature = f"[K] {s.electronic_temperature}"
            smear = {"METHOD": "FERMI_DIRAC", "ELECTRONIC_TEMPERATURE": temperature}
            # Otherwise smearing lets the spins find their own balance: MULTIPLICITY is ignored.
            scf["SMEAR ON"] = smear | ({"FIXED_MAGNETIC_MOMENT": spin} if spin else {})
        return scf
    inner = min(INNER, s.max_scf)
    more = 1 if rung == "default" else 3
    scf["MAX_SCF"] = inner
    scf["OUTER_SCF ON"] = {"EPS_SCF": s.eps_scf, "MAX_SCF": -(-more * s.max_scf // inner) - 1}
    scf["OT ON"] = (
        {"MINIMIZER": "DIIS", "PRECONDITIONER": "FULL_SINGLE_INVERSE"}
        if rung == "default"
        else {"MINIMIZER": "CG", "PRECONDITIONER": "FULL_ALL", "ENERGY_GAP": 0.001}
    )
    return scf


def _xc(s: CP2KLabeller) -> Section:
    xc: Section = {}
    if s.xc in FUNCTIONALS:
        xc[f"XC_FUNCTIONAL {s.xc}"] = {}
    elif s.xc in PARAMETRISATIONS:
        xc["XC_FUNCTIONAL"] = {"PBE": {"PARAMETRIZATION": PARAMETRISATIONS[s.xc]}}
    elif s.xc:
        xc["XC_FUNCTIONAL"] = {name: {} for name in s.xc.split("+")}
    if s.dispersion:
        pairs = {
            "TYPE": {"d3bj": "DFTD3(BJ)", "d3zero": "DFTD3"}[s.dispersion],
            "PARAMETER_FILE_NAME": "dispersion",
            "REFERENCE_FUNCTIONAL": s.dispersion_functional or s.xc,
            "R_CUTOFF": f"[angstrom] {D3_CUTOFF}",
        }
        xc["VDW_POTENTIAL"] = {"POTENTIAL_TYPE": "PAIR_POTENTIAL", "PAIR_POTENTIAL": pairs}
    return xc


def _subsystem(s: CP2KLabeller, frame: Atoms, cell: np.ndarray, positions: np.ndarray) -> Section:
    # In Bohr, because CP2K's own Å is that of another CODATA year than ASE's.
    vectors = {
        name: "[bohr] " + " ".join(f"{x:.12f}" for x in vector)
        for name, vector in zip("ABC", np.asarray(cell) / Bohr, strict=True)
    }
    symbols = frame.get_chemical_symbols()
    atoms = [
        f"{symbol} " + " ".join(f"{x:.12f}" for x in r)
        for symbol, r in zip(symbols, positions / Bohr, strict=True)
    ]
    kinds = {
        f"KIND {element}": {
            "ELEMENT": element,
            "BASIS_SET": basis_of(s, element),
            "POTENTIAL": potential_of(s, element),
        }
        for element in sorted(set(symbols))
    }
    return {
        "CELL": {**vectors, "PERIODIC": "XYZ" if frame.pbc.all() else "NONE"},
        "COORD": {"UNIT": "bohr", "": atoms},
        "PRINT": {"ATOMIC_COORDINATES ON": {"FILENAME": f"={COORDINATES}"}},
        **kinds,
    }


def _insert(tree: Section, path: str, text: str) -> None:
    """Put raw text at the end of a section, which is made where there is none."""
    section = tree
    for part in path.split("/"):
        name = part.upper()
        found = next(
            (key for key in section if name in (key.upper(), key.split(" ")[0].upper())), part
        )
        section = section.setdefault(found, {})
    section.setdefault("", []).extend(text.splitlines())


def _lines(section: Section, indent: str = "") -> list[str]:
    lines = []
    for key, value in section.items():
        if isinstance(value, dict):
            name = key.split(" ")[0]
            lines += [f"{indent}&{key}", *_lines(value, indent + "  "), f"{indent}&END {name}"]
        else:
            items = value if isinstance(value, list) else [value]
            lines += [f"{indent}{key} {item}".rstrip() for item in items]
    return lines
