"""VASP, through pymatgen's readers and writers of its files."""

import hashlib
import os
import re
import shlex
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.units import GPa

from mace_core.config.labellers import VASPLabeller
from mace_core.errors import UserError
from mace_core.label.engines.base import Guess, NotConverged, Refused, Result, check_electrons
from mace_core.label.engines.cells import boxed, kpoint_grid
from mace_core.label.engines.program import ProgramEngine, find_program, killed_by
from mace_core.label.session import tail

#: What each rung changes on the way to the solution; NELM is multiplied by the number.
_RUNGS = {
    "default": (1, {}),
    "linear_mixing": (
        3,
        {"ALGO": "Normal", "AMIX": 0.1, "BMIX": 1e-4, "AMIX_MAG": 0.4, "BMIX_MAG": 1e-4},
    ),
    "all_bands": (3, {"ALGO": "All"}),
}
_FIXED = {"NSW": 0, "IBRION": -1, "ISIF": 2, "ISYM": 0, "ISTART": 0, "ICHARG": 2}
_FIXED |= {"LWAVE": False, "LCHARG": False}
_ERROR = re.compile(r"(?:VERY BAD NEWS|I REFUSE|Error|ERROR|internal error).*")


class VASPEngine(ProgramEngine):
    """Kresse and Furthmüller, Phys. Rev. B 54, 11169 (1996).

    The energy is VASP's free energy TOTEN (``e_fr_energy``), whose derivative its forces and stress
    are. POSCAR has the atoms grouped by element; results are put back into the frame's order.
    """

    RUNGS: ClassVar[tuple[str, ...]] = tuple(_RUNGS)
    OUTPUT = "vasp.out"

    def __init__(self, settings: VASPLabeller):
        self.settings = settings
        self.home = Path.cwd()  # what relative paths are relative to

    def program_versions(self) -> dict[str, str]:
        return {"vasp": self.settings.version}

    def level(self) -> dict[str, Any]:
        return {
            "potcars": {
                element: hashlib.sha256(self._potcar(element).encode()).hexdigest()
                for element in sorted(self.settings.potcars)
            }
        }

    def check(self, elements: list[str]) -> None:
        s = self.settings
        if not re.match(r"\d+\.\d", s.version):
            raise UserError(
                f"labeller.version: {s.version!r} is no version of VASP",
                mend="write the one at the head of its OUTCAR, e.g. 6.4.2",
            )
        find_program(
            s.command, "labeller.command", "load VASP's module, or give the program's path"
        )
        for element in elements:
            if element not in s.potcars:
                raise UserError(
                    f"labeller.potcars: none for {element}",
                    mend=f"add {{{element}: NAME}}{self._suggested(element)}",
                )
        for element, name in s.potcars.items():
            made_for = re.search(r"VRHFIN\s*=\s*([A-Z][a-z]?)", self._potcar(element))
            if made_for is None or made_for[1] != element:
                what = f"is for {made_for[1]}" if made_for else "names no element (VRHFIN)"
                raise UserError(
                    f"labeller.potcars.{element}: the POTCAR {name!r} {what}",
                    mend="give the right one",
                )

    def command(self, rung: str, guess: Guess = Guess.USUAL) -> str:
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        words = shlex.split(self.settings.command.replace("{threads}", threads))
        return shlex.join(
            str(self.home / word) if os.sep in word and (self.home / word).is_file() else word
            for word in words
        )

    def other_guess(self) -> str:
        return "INIWAV 0 (plane waves instead of random numbers), and half of a free MAGMOM"

    def prepare(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> None:
        from pymatgen.io.vasp.inputs import Poscar

        for element in set(frame.get_chemical_symbols()):
            if element not in self.settings.potcars:
                raise Refused(f"labeller.potcars has none for {element}")
        if not frame.pbc.any():
            check_electrons(frame)
        box = boxed(frame, self.settings.vacuum)
        structure = _structure(box[_order(frame)])
        incar, kpoints = self._inputs(structure, frame, rung, guess)
        Path("POSCAR").write_text(Poscar(structure).get_str(significant_figures=16))
        Path("INCAR").write_text(str(incar))
        if kpoints is not None:
            Path("KPOINTS").write_text(str(kpoints))
        elements = dict.fromkeys(site.specie.symbol for site in structure)
        Path("POTCAR").write_text("".join(self._potcar(element) for element in elements))

    def judge(self, exit_code: int) -> None:
        try:
            self._judge(exit_code)
        except (NotConverged, Refused):
            Path("POTCAR").unlink(missing_ok=True)  # licensed: no copy of it is kept
            raise

    def parse(self, frame: Atoms) -> Result:
        run = _vasprun()
        step = run.ionic_steps[-1]
        missing = [key for key in ("e_fr_energy", "forces", "stress") if key not in step]
        if missing:
            raise Refused(f"VASP's vasprun.xml has no {' and no '.join(missing)}")
        box, order = boxed(frame, self.settings.vacuum), _order(frame)
        back = np.argsort(order)
        computed = run.final_structure
        moved = computed.cart_coords[back] - box.positions
        cell = computed.lattice.matrix
        moved -= np.rint(moved @ np.linalg.inv(cell)) @ cell  # VASP wraps atoms into the cell
        # In kbar, with the opposite sign: positive when compressed.
        stress = -np.array(step["stress"], float) * 0.1 * GPa
        return Result(
            energy=float(step["e_fr_energy"]),
            forces=np.array(step["forces"], float)[back],
            stress=stress.flat[[0, 4, 8, 5, 2, 1]] if frame.pbc.all() else None,
            numbers=np.array([atomic_numbers[symbol] for symbol in run.atomic_symbols])[back],
            positions=frame.positions + moved,
        )

    def _inputs(
        self, structure: Any, frame: Atoms, rung: str, guess: Guess = Guess.USUAL
    ) -> tuple[Any, Any]:
        """INCAR and KPOINTS (None where INCAR has KSPACING)."""
        from pymatgen.io.vasp import sets
        from pymatgen.io.vasp.inputs import Incar, Kpoints

        s = self.settings
        kpoints, incar = None, {"EDIFF": 1e-6}
        if s.input_set:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # hints for relaxations and for other POTCARs
                chosen = getattr(sets, s.input_set)(structure, sort_structure=False)
                incar, kpoints = dict(chosen.incar), chosen.kpoints
            if incar.get("ISMEAR") == -5:  # forces of metals would be wrong
                incar |= {"ISMEAR": 0, "SIGMA": 0.05}
        more, way = _RUNGS[rung]
        incar |= s.incar | way | _FIXED | {"NELM": more * s.nelm}
        charge, spin = frame.info["charge"], frame.info["spin"]
        if guess == Guess.OTHER:
            incar["INIWAV"] = 0
            if isinstance(incar.get("MAGMOM"), list) and not spin:
                incar["MAGMOM"] = [moment / 2 for moment in incar["MAGMOM"]]
        if spin:
            incar |= {"ISPIN": 2, "NUPDOWN": spin}
        if charge:
            incar["NELECT"] = self._electrons(frame) - charge
        if not frame.pbc.all():
            kpoints = Kpoints.gamma_automatic((1, 1, 1))
        elif s.kpts or s.kspacing:
            grid = s.kpts or kpoint_grid(structure.lattice.matrix, s.kspacing)
            kpoints = Kpoints.gamma_automatic(grid)
        if kpoints is not None:
            incar.pop("KSPACING", None)
        return Incar(incar), kpoints

    def _electrons(self, frame: Atoms) -> float:
        """Valence electrons of the neutral frame."""
        valence = {}
        for element in set(frame.get_chemical_symbols()):
            found = re.search(r"ZVAL\s*=\s*([\d.]+)", self._potcar(element))
            if found is None:
                raise Refused(f"the POTCAR of {element} does not say how many electrons (ZVAL)")
            valence[element] = float(found[1])
        return sum(valence[symbol] for symbol in frame.get_chemical_symbols())

    def _judge(self, exit_code: int) -> None:
        said = Path(self.OUTPUT).read_text(errors="replace")
        error = _ERROR.search(said)
        last = error[0].strip() if error else tail(Path(self.OUTPUT))
        if (by := killed_by(exit_code)) is not None:
            raise Refused(f"VASP was killed by {by}; it said: {last}")
        if exit_code:
            raise Refused(f"VASP ended with exit code {exit_code}; it said: {last}")
        run = _vasprun()
        outcar = Path("OUTCAR").read_text(errors="replace") if Path("OUTCAR").is_file() else ""
        if "General timing and accounting" not in outcar:
            raise Refused(f"VASP ended early, its OUTCAR is not complete; it said: {last}")
        steps, limit = len(run.ionic_steps[-1]["electronic_steps"]), run.parameters["NELM"]
        reached = "EDIFF is reached" in outcar
        if "EDIFF was not reached" in outcar or (steps >= limit and not reached):
            raise NotConverged(
                f"VASP: EDIFF not reached in {steps} electronic steps (NELM {limit})"
            )
        version = str(run.vasp_version).strip()
        if not version.startswith(self.settings.version):
            raise Refused(f"labeller.version says VASP {self.settings.version}, it is {version}")

    def _potcar(self, element: str) -> str:
        """The text of an element's POTCAR, found where pymatgen would look for it."""
        from monty.io import zopen
        from monty.os.path import zpath
        from pymatgen.core import SETTINGS
        from pymatgen.io.vasp.inputs import PotcarSingle

        s = self.settings
        root = (
            s.potcar_dir or os.environ.get("PMG_VASP_PSP_DIR") or SETTINGS.get("PMG_VASP_PSP_DIR")
        )
        if not root:
            raise UserError(
                "labeller.potcar_dir is not given, and PMG_VASP_PSP_DIR is not set",
                mend="give the folder that holds POT_GGA_PAW_PBE_54 and the like "
                "(`pmg config -p` makes it of VASP's own)",
            )
        folder = PotcarSingle.functional_dir.get(s.potcar_functional, s.potcar_functional)
        name = s.potcars[element]
        base = self.home / Path(root).expanduser() / folder
        places = [base / f"POTCAR.{name}", base / name / "POTCAR"]
        for place in places:
            path = zpath(str(place))
            if os.path.isfile(path):
                with zopen(path, "rt", encoding="utf-8") as file:
                    return file.read()
        raise UserError(
            f"labeller.potcars.{element}: there is no POTCAR {name!r}: neither "
            f"{' nor '.join(map(str, places))}",
            mend="mend labeller.potcars, potcar_functional or potcar_dir",
        )

    def _suggested(self, element: str) -> str:
        from pymatgen.io.vasp import sets

        chosen = getattr(sets, self.settings.input_set or "MPStaticSet")
        name = chosen.CONFIG["POTCAR"].get(element)
        name = name["symbol"] if isinstance(name, dict) else name
        return f"; {chosen.__name__} takes {name}" if name else ""


def _order(frame: Atoms) -> list[int]:
    """Atoms grouped by element, elements as they first appear."""
    elements = list(dict.fromkeys(frame.get_chemical_symbols()))
    return sorted(range(len(frame)), key=lambda i: elements.index(frame.symbols[i]))


def _structure(atoms: Atoms):
    from pymatgen.core import Lattice, Structure

    return Structure(
        Lattice(atoms.cell[:]),
        atoms.get_chemical_symbols(),
        atoms.positions,
        coords_are_cartesian=True,
    )


def _vasprun():
    """pymatgen's reading of this folder's ``vasprun.xml``."""
    from pymatgen.io.vasp.outputs import Vasprun

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that NELM was reached is said below, as an error
            run = Vasprun(
                "vasprun.xml", parse_dos=False, parse_eigen=False, parse_potcar_file=False
            )
    except FileNotFoundError:
        said = tail(Path(VASPEngine.OUTPUT))
        raise Refused(f"VASP wrote no vasprun.xml; it said: {said}") from None
    except Exception as err:
        raise Refused(f"VASP's vasprun.xml is not complete: {err}") from err
    if not run.ionic_steps:
        raise Refused("VASP's vasprun.xml holds no finished calculation")
    return run
