"""Quantum ESPRESSO's pw.x, through its input and output files."""

import hashlib
import re
import shutil
import xml.etree.ElementTree as ET
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.units import Bohr, Hartree

from mace_core.config.labellers import EspressoLabeller
from mace_core.errors import UserError
from mace_core.label.engines.base import Guess, NotConverged, Refused, Result, check_electrons
from mace_core.label.engines.cells import boxed, kpoint_grid
from mace_core.label.engines.program import ProgramEngine, find_program, killed_by, output_of
from mace_core.label.engines.upf import Pseudopotential, read_upf

INSTALL = (
    "install it, as root 'apt-get install quantum-espresso libopenblas0-pthread', or without root "
    "'pip install qepy==7.2.0' and write labeller.command: python -m qepy --pw.x"
)
#: Of free atoms, in place of the labeller's: what makes open shells converge. The energy is that at
#: this smearing.
FREE_ATOM = {"smearing": "gaussian", "degauss": 0.005, "conv_thr": 1e-6}
#: Errors of the diagonalisation that gentler settings may avoid.
_UNSTABLE = re.compile(
    r"bands are not converged|not positive definite|cholesky|eigenvectors failed|diagonalization"
    r"|charge is wrong|negative or imaginary",
    re.IGNORECASE,
)


class EspressoEngine(ProgramEngine):
    """Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017).

    The energy is pw.x's "total energy": with smearing the generalised free energy, whose derivative
    its forces and stress are (Marzari, Vanderbilt, De Vita and Payne, Phys. Rev. Lett. 82, 3296
    (1999)). Lengths go in in Bohr and results come from its XML file in atomic units, so that no
    other constants than ours convert them.
    """

    RUNGS: ClassVar[tuple[str, ...]] = ("default", "damped", "local_TF", "conjugate_gradient")
    OUTPUT = "espresso.pwo"

    def __init__(self, settings: EspressoLabeller):
        self.settings = settings
        # The worker goes to the attempt's folder later.
        self.pseudo_dir = Path(settings.pseudo_dir).expanduser().absolute()

    def program_versions(self) -> dict[str, str]:
        return {"pw.x": self.settings.version or self._asked_version()}

    def level(self) -> dict[str, Any]:
        return {
            "pseudopotentials": {e: self._sha256(e) for e in sorted(self.settings.pseudopotentials)}
        }

    def check(self, elements: list[str]) -> None:
        s = self.settings
        version = self._asked_version()
        if s.version and s.version != version:
            raise UserError(
                f"labeller.version says pw.x {s.version}, but {s.command!r} is {version}",
                mend="correct labeller.version, or give the command of the right one",
            )
        for element in elements:
            if element not in s.pseudopotentials:
                raise UserError(
                    f"labeller.pseudopotentials: none for {element}",
                    mend=f"add {{{element}: FILE.upf}}, of the same functional as the others",
                )
        for element in s.pseudopotentials:
            self._check_file(element)
        functionals = {p.functional: e for e, p in self.pseudopotentials.items()}
        if len(functionals) > 1 and s.input_dft is None:
            said = ", ".join(f"{e}: {functional}" for functional, e in functionals.items())
            raise UserError(
                f"labeller.pseudopotentials: made for different functionals ({said})",
                mend="take files of one table, or say which functional is meant: "
                "labeller.input_dft",
            )

    def command(self, rung: str, guess: Guess = Guess.USUAL) -> str:
        return f"{self.settings.command} -in espresso.pwi"

    def other_guess(self) -> str:
        return "random wave functions, and half of the starting magnetisation where it is free"

    def prepare(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> None:
        elements = sorted(set(frame.get_chemical_symbols()))
        for element in elements:
            if element not in self.settings.pseudopotentials:
                raise Refused(f"labeller.pseudopotentials has none for {element}")
        if not frame.pbc.any() or self.settings.counts_electrons:
            check_electrons(frame)
        box = boxed(frame, self.settings.vacuum)
        # Under names of their own: pw.x looks elsewhere for a file that is not here.
        Path("pseudo").mkdir()
        for element in elements:
            Path("pseudo", self._link(element)).symlink_to(self._path(element))
        Path("espresso.pwi").write_text(self.input_text(frame, box, elements, rung, guess))

    def judge(self, exit_code: int) -> None:
        output = Path(self.OUTPUT).read_text(errors="replace")
        try:
            _judge(output, exit_code)
        except (NotConverged, Refused):
            shutil.rmtree("out", ignore_errors=True)  # wave functions help no reader
            raise

    def parse(self, frame: Atoms) -> Result:
        try:
            root = ET.parse("out/pwscf.xml").getroot()
            result = _read_results(root.find("output"))
        except (OSError, ET.ParseError, AttributeError, ValueError) as err:
            raise Refused(f"pw.x's out/pwscf.xml is missing or broken: {err}") from err
        shift = boxed(frame, self.settings.vacuum).positions - frame.positions
        result.positions -= shift
        if not frame.pbc.all():
            result.stress = None
        return result

    def input_text(
        self,
        frame: Atoms,
        box: Atoms,
        elements: list[str],
        rung: str,
        guess: Guess = Guess.USUAL,
    ) -> str:
        """pw.x's input for a frame in its box; species in the order of ``elements``."""
        from ase.io.espresso import Namelist

        namelists = Namelist(
            {
                "control": {
                    "calculation": "scf",
                    "outdir": "./out",
                    "prefix": "pwscf",
                    "pseudo_dir": "./pseudo",
                    "disk_io": "low",  # the least that writes the XML file
                    "tprnfor": True,
                    "tstress": bool(frame.pbc.all()),
                    **self.settings.control,
                },
                "system": self._system(frame, elements, guess),
                "electrons": self._electrons(frame, rung, guess),
            }
        )
        lines = [namelists.to_string().rstrip(), "ATOMIC_SPECIES"]
        lines += [f"{e} {atomic_masses[atomic_numbers[e]]} {self._link(e)}" for e in elements]
        if frame.pbc.all():
            grid = self.settings.kpts or kpoint_grid(box.cell[:], self.settings.kspacing)
            offset = int(self.settings.koffset)
            lines += ["K_POINTS automatic", f"{grid[0]} {grid[1]} {grid[2]}" + f" {offset}" * 3]
        else:
            lines += ["K_POINTS gamma"]
        lines += ["CELL_PARAMETERS bohr", *(_numbers(vector / Bohr) for vector in box.cell[:])]
        lines += ["ATOMIC_POSITIONS bohr"]
        lines += [
            f"{chemical_symbols[z]} {_numbers(r / Bohr)}"
            for z, r in zip(box.numbers, box.positions, strict=True)
        ]
        return "\n".join(lines) + "\n"

    def _system(self, frame: Atoms, elements: list[str], guess: Guess) -> dict[str, Any]:
        s = self.settings
        system: dict[str, Any] = {
            "ibrav": 0,
            "nat": len(frame),
            "ntyp": len(elements),
            "ecutwfc": s.ecutwfc,
            "ecutrho": s.ecutrho or 4 * s.ecutwfc,
            "tot_charge": frame.info["charge"],
            # A displaced atom has no symmetry; what a perfect crystal has must change nothing.
            "nosym": True,
        }
        if s.input_dft:
            system["input_dft"] = s.input_dft
        smearing = FREE_ATOM if _free_atom(frame) else {"smearing": s.smearing}
        if smearing["smearing"] == "none":
            system["occupations"] = "fixed"
        else:
            system["occupations"] = "smearing"
            system["smearing"] = smearing["smearing"]
            system["degauss"] = smearing.get("degauss", s.degauss)
        spin = frame.info["spin"]
        if spin or (s.nspin == 2 and frame.pbc.all()):
            system["nspin"] = 2
            valence = sum(self.pseudopotentials[e].valence for e in frame.get_chemical_symbols())
            for k, element in enumerate(elements, 1):
                start = s.starting_magnetization.get(element, min(1.0, spin / valence))
                if guess == Guess.OTHER and not spin:
                    start /= 2
                system[f"starting_magnetization({k})"] = start
            if spin:
                system["tot_magnetization"] = spin
        if s.dispersion:
            system["vdw_corr"] = "grimme-d2" if s.dispersion == "d2" else "grimme-d3"
        if s.dispersion in ("d3zero", "d3bj"):
            system["dftd3_version"] = 3 if s.dispersion == "d3zero" else 4
            system["dftd3_threebody"] = False
        for key, value in s.system.items():
            name, _, element = key.rstrip(")").partition("(")
            if not element:
                system[name] = value
            elif element in elements:
                system[f"{name}({elements.index(element) + 1})"] = value
        return system

    def _electrons(self, frame: Atoms, rung: str, guess: Guess) -> dict[str, Any]:
        """Only the way to the solution differs between rungs."""
        s = self.settings
        electrons: dict[str, Any] = {
            "conv_thr": s.conv_thr,
            "electron_maxstep": s.electron_maxstep,
            "mixing_beta": s.mixing_beta,
            "diagonalization": "david",
            **s.electrons,
        }
        if _free_atom(frame):
            electrons |= {"conv_thr": max(s.conv_thr, FREE_ATOM["conv_thr"])}
            electrons |= {"mixing_beta": min(s.mixing_beta, 0.2), "mixing_mode": "local-TF"}
        if rung != "default":
            electrons |= {
                "mixing_beta": min(s.mixing_beta, 0.2),
                "mixing_ndim": 12,
                "electron_maxstep": max(100, 2 * s.electron_maxstep),
                "startingwfc": "atomic+random",
            }
        if rung in ("local_TF", "conjugate_gradient"):
            electrons |= {"mixing_mode": "local-TF"}
        if rung == "conjugate_gradient":
            electrons |= {"diagonalization": "cg", "mixing_beta": min(s.mixing_beta, 0.1)}
            electrons |= {"electron_maxstep": max(200, 4 * s.electron_maxstep)}
        if guess == Guess.OTHER:
            electrons["startingwfc"] = "random"
        return electrons

    @cached_property
    def pseudopotentials(self) -> dict[str, Pseudopotential]:
        """Headers of the files, by element."""
        return {e: read_upf(self._path(e)) for e in self.settings.pseudopotentials}

    def _check_file(self, element: str) -> None:
        path = self._path(element)
        said = self.pseudopotentials[element]
        if said.element != element:
            raise UserError(
                f"labeller.pseudopotentials: {path.name} is one of {said.element}, not {element}",
                mend=f"give a file for {element}",
            )
        if not said.norm_conserving and self.settings.ecutrho is None:
            raise UserError(
                f"labeller.ecutrho: {path.name} is ultrasoft or PAW, whose density needs more than "
                "4 × ecutwfc",
                mend="give ecutrho, 8 to 12 × ecutwfc",
            )

    def _path(self, element: str) -> Path:
        path = self.pseudo_dir / self.settings.pseudopotentials[element]
        if not path.is_file():
            raise UserError(
                f"labeller.pseudopotentials: no file {path}",
                mend=f"put the pseudopotential of {element} there, or correct labeller.pseudo_dir",
            )
        return path

    def _sha256(self, element: str) -> str:
        return hashlib.sha256(self._path(element).read_bytes()).hexdigest()

    def _link(self, element: str) -> str:
        return f"{element}.{self._sha256(element)[:16]}.UPF"

    def _asked_version(self) -> str:
        command = self.settings.command
        find_program(command, "labeller.command", INSTALL)
        said = output_of(command)
        found = re.search(r"Program PWSCF\s+v\.([\d.]+)", said)
        if found is None:
            raise UserError(
                f"labeller.command: {command!r} does not run pw.x; it says: "
                f"{' '.join(said.split())[-300:] or 'nothing'}",
                mend=INSTALL,
            )
        return found[1].rstrip(".")


def _judge(output: str, exit_code: int) -> None:
    """pw.x says JOB DONE also where it gave up."""
    gave_up = re.search(r"convergence NOT achieved after\s+(\d+)", output)
    if gave_up:
        raise NotConverged(f"pw.x: SCF not converged in {gave_up[1]} iterations")
    error = re.search(r"Error in routine\s+(.*?):\s*\n\s*(.*?)\s*\n\s*%%%", output, re.DOTALL)
    if error:
        what = f"pw.x: {' '.join(error[2].split())} (in {' '.join(error[1].split())})"
        raise NotConverged(what) if _UNSTABLE.search(what) else Refused(what)
    if (by := killed_by(exit_code)) is not None:
        raise Refused(f"pw.x was killed by {by}, perhaps for want of memory")
    achieved = "convergence has been achieved" in output and "JOB DONE" in output
    if exit_code or not achieved:
        raise Refused(
            f"pw.x ended with exit code {exit_code} before its end; "
            f"last output: {' '.join(output.split())[-200:]}"
        )


def _read_results(output: ET.Element) -> Result:
    """From the <output> of pw.x's XML file (Hartree atomic units).

    Raises:
        NotConverged: it says so there.
        AttributeError, ValueError: something is missing.
    """
    if output.find("convergence_info/scf_conv/convergence_achieved").text.strip() != "true":
        raise NotConverged("pw.x: SCF not converged, says its XML file")
    atoms = output.findall("atomic_structure/atomic_positions/atom")
    forces = _array(output.find("forces")).reshape(-1, 3)
    stress = output.find("stress")
    if stress is not None:
        # pw.x's is positive under pressure.
        stress = -_array(stress)[[0, 4, 8, 5, 2, 1]] * (Hartree / Bohr**3)
    return Result(
        energy=float(output.find("total_energy/etot").text) * Hartree,
        forces=forces * (Hartree / Bohr),
        stress=stress,
        numbers=np.array([atomic_numbers[atom.get("name")] for atom in atoms]),
        positions=np.array([_array(atom) for atom in atoms]) * Bohr,
    )


def _array(element: ET.Element) -> np.ndarray:
    return np.array(element.text.split(), dtype=float)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.12f}" for value in values)


def _free_atom(frame: Atoms) -> bool:
    return len(frame) == 1 and not frame.pbc.any()
