"""CP2K's Quickstep, through its input and output files."""

import os
import re
import shlex
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import Bohr, GPa, Hartree

from mace_core.config.labellers import CP2KLabeller
from mace_core.errors import UserError
from mace_core.label.engines.base import Guess, NotConverged, Refused, Result, check_electrons
from mace_core.label.engines.cp2k_input import (
    COORDINATES,
    FORCES,
    STRESS,
    basis_of,
    input_text,
    potential_of,
    rungs,
)
from mace_core.label.engines.program import ProgramEngine, find_program, killed_by, output_of
from mace_core.label.session import tail
from mace_core.storage import sha256_file

INSTALL = (
    "install it, as root 'apt-get install cp2k cp2k-data', or give its path in labeller.command"
)
#: Å; least distance of an atom from the faces of the cube, so that no density reaches them.
MARGIN = 3.0
_PRESSURE = {"GPa": GPa, "bar": 1e-4 * GPa, "kbar": 0.1 * GPa}
_NUMBER = r"([-+]?\d+\.\d+(?:[eE][-+]?\d+)?)"
#: Errors that another way to the solution may avoid.
_UNSTABLE = re.compile(r"cholesky|not 100% occupied|diagonali[sz]ation failed|eigen", re.IGNORECASE)


class CP2KEngine(ProgramEngine):
    """Kühne et al., J. Chem. Phys. 152, 194103 (2020).

    The energy is CP2K's total energy; with smearing it holds the electrons' entropy, and is the one
    whose derivative the forces are. A molecule or free atom is computed with its centroid in the
    middle of a cube without periodic images. Its energy is then a function of the positions
    relative to their mean, whose derivative has no net force: what CP2K's grid leaves of one is
    taken out.
    """

    OUTPUT = "cp2k.out"

    def __init__(self, settings: CP2KLabeller):
        self.settings = settings
        self.home = Path.cwd()  # what relative paths are relative to
        self.RUNGS = rungs(settings)

    def program_versions(self) -> dict[str, str]:
        return {"cp2k": self.settings.version or self._asked_version()}

    def level(self) -> dict[str, Any]:
        s = self.settings
        files = {"basis": s.basis_files, "potential": [s.potential_file]}
        if s.dispersion:
            files["dispersion"] = ["dftd3.dat"]
        return {
            kind: [sha256_file(self._data_file(name)) for name in names]
            for kind, names in files.items()
        }

    def check(self, elements: list[str]) -> None:
        s = self.settings
        version = self._asked_version()
        if s.version and s.version != version:
            raise UserError(
                f"labeller.version says CP2K {s.version}, but {s.command!r} is {version}",
                mend="correct labeller.version, or give the command of the right one",
            )
        self.level()
        for element in elements:
            _check_entry(element, "basis", basis_of(s, element), self._files(s.basis_files))
            _check_entry(
                element, "potential", potential_of(s, element), self._files([s.potential_file])
            )
        self._check_input(elements or ["H"])

    def command(self, rung: str, guess: Guess = Guess.USUAL) -> str:
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        words = shlex.split(self.settings.command.replace("{threads}", threads))
        first = self.home / words[0]
        if os.sep in words[0] and first.is_file():
            words[0] = str(first)
        return shlex.join([*words, "-i", "label.inp"])

    def other_guess(self) -> str:
        return "SCF_GUESS CORE; with k-points, where CP2K starts from atoms only, a slower mixing"

    def prepare(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> None:
        for element in set(frame.get_chemical_symbols()):
            for key, name in (("basis", basis_of), ("potential", potential_of)):
                if name(self.settings, element) is None:
                    raise Refused(f"labeller.{key} has none for {element}")
        if self.settings.counts_electrons:
            check_electrons(frame)
        cell, positions = self._placed(frame)
        Path("label.inp").write_text(input_text(self.settings, frame, cell, positions, rung, guess))
        # Under short names: CP2K cuts long ones.
        for n, name in enumerate(self.settings.basis_files):
            Path(f"basis_{n}").symlink_to(self._data_file(name))
        Path("potentials").symlink_to(self._data_file(self.settings.potential_file))
        if self.settings.dispersion:
            Path("dispersion").symlink_to(self._data_file("dftd3.dat"))

    def judge(self, exit_code: int) -> None:
        output = Path(self.OUTPUT).read_text(errors="replace")
        # CP2K before 2023.2 goes on after this and ends with exit code 0.
        if "SCF run NOT converged" in output or "SCF loop FAILED to converge" in output:
            raise NotConverged(f"CP2K: SCF run NOT converged{_last_change(output)}")
        abort = _abort(output)
        if abort:
            raise (NotConverged if _UNSTABLE.search(abort) else Refused)(f"CP2K: {abort}")
        if (by := killed_by(exit_code)) is not None:
            raise Refused(f"CP2K was killed by {by}")
        if exit_code or "PROGRAM ENDED AT" not in output:
            said = tail(Path(self.OUTPUT))
            raise Refused(f"CP2K ended early (exit code {exit_code}); last output: {said}")
        if "SCF run converged in" not in output:
            raise Refused("CP2K does not say that its SCF converged")

    def parse(self, frame: Atoms) -> Result:
        output = Path(self.OUTPUT).read_text(errors="replace")
        numbers, positions = _coordinates(Path(COORDINATES).read_text())
        forces = _forces(Path(FORCES).read_text()) * (Hartree / Bohr)
        _, placed = self._placed(frame)
        positions = positions - (placed - frame.positions)[0]
        stress = None
        if frame.pbc.all():
            stress = _stress(Path(STRESS).read_text())
        else:
            forces -= forces.mean(axis=0)
        return Result(_energy(output) * Hartree, forces, stress, numbers, positions)

    def _placed(self, frame: Atoms) -> tuple[np.ndarray, np.ndarray]:
        """Cell [3, 3] and positions [n, 3] in Å as CP2K gets them."""
        if frame.pbc.all():
            return frame.cell[:], frame.positions
        if frame.pbc.any():
            raise Refused(
                "periodic in part: give a slab or wire pbc 'T T T' and a cell with enough vacuum"
            )
        box = self.settings.box
        offsets = frame.positions - frame.positions.mean(axis=0)
        needed = np.ceil(20 * (np.abs(offsets).max() + MARGIN)) / 10
        if needed > box:
            raise Refused(
                f"the molecule needs a cube of {needed:.1f} Å ({MARGIN:g} Å from each face): set "
                f"labeller.box, which is {box:g} Å, before the campaign (it changes all labels)"
            )
        return np.eye(3) * box, offsets + box / 2

    def _program(self) -> Path:
        """CP2K itself, perhaps behind mpirun."""
        words = shlex.split(self.settings.command)
        word = next((word for word in words if "cp2k" in Path(word).name), " ".join(words[:1]))
        return find_program(shlex.quote(word), "labeller.command", INSTALL).absolute()

    def _asked_version(self) -> str:
        said = output_of(shlex.join([str(self._program()), "--version"]))
        found = re.search(r"CP2K version (\S+)", said)
        if not found:
            raise UserError(
                f"labeller.command: {self.settings.command!r} does not say which version of CP2K "
                f"it is: {' '.join(said.split())[:200] or 'it printed nothing'}",
                mend="mend its installation, or give labeller.version",
            )
        return found[1]

    def _data_file(self, name: str) -> Path:
        folders = [self.home, *self._data_dirs()]
        for folder in folders:
            path = folder / Path(name).expanduser()
            if path.is_file():
                return path.absolute()
        raise UserError(
            f"CP2K's data file {name!r} is in none of {', '.join(map(str, folders))}",
            mend="apt-get install cp2k-data, or give labeller.data_dir, or the file's path",
        )

    def _files(self, names: Iterable[str]) -> list[Path]:
        return [self._data_file(name) for name in names]

    def _data_dirs(self) -> list[Path]:
        given = self.settings.data_dir or os.environ.get("CP2K_DATA_DIR")
        if given:
            return [self.home / Path(given).expanduser()]
        places = [Path("/usr/share/cp2k")]
        try:
            prefix = self._program().resolve().parents[1]
        except UserError:  # where generations are planned it may be missing
            return places
        return [prefix / "share/cp2k", prefix / "share/cp2k/data", prefix / "data", *places]

    def _check_input(self, elements: list[str]) -> None:
        """Have CP2K read an input with these settings."""
        atoms = Atoms(elements, [[3.0 * n, 0, 0] for n in range(len(elements))])
        atoms.info = {"charge": 0, "spin": 0}
        for rung in self.RUNGS:
            with tempfile.TemporaryDirectory(prefix="maceloop-ask-") as folder:
                path = Path(folder) / "label.inp"
                path.write_text(
                    input_text(self.settings, atoms, np.eye(3) * 99.0, atoms.positions, rung)
                )
                said = output_of(shlex.join([str(self._program()), "--check", str(path)]))
            if "SUCCESS" not in said:
                raise UserError(
                    f"labeller: CP2K does not take the input: {_abort(said) or said[-300:]}",
                    mend="mend labeller.extra, or the setting that is named",
                )


def _check_entry(element: str, key: str, name: str | None, files: list[Path]) -> None:
    """Whether a data file has an element's basis set or potential of that name."""
    if name is None:
        raise UserError(
            f"labeller.{key}: none for {element}", mend=f"add {{{element}: …}}, or one for all"
        )
    known = []
    for path in files:
        for line in path.read_text(errors="replace").splitlines():
            words = line.split("#")[0].split()
            if len(words) > 1 and words[0].upper() == element.upper() and words[1][0].isalpha():
                known += words[1:]
    if name.upper() not in (word.upper() for word in known):
        has = f"has {', '.join(dict.fromkeys(known))}" if known else f"has nothing for {element}"
        raise UserError(
            f"labeller.{key}: {name!r} for {element} is not in "
            f"{', '.join(path.name for path in files)}, which {has}",
            mend=f"choose one of these, or another file (labeller.{key}_file"
            f"{'s' if key == 'basis' else ''})",
        )


def _abort(output: str) -> str:
    """The message in CP2K's box of stars, or nothing."""
    if "[ABORT]" not in output:
        return ""
    lines = output.split("[ABORT]", 1)[1].splitlines()[1:]
    message = []
    for line in lines:
        text = line.strip()
        if not text.startswith("*") or text.startswith("***"):
            break
        # The first columns are a drawing.
        message.append(text[1:-1][10:].strip())
    return " ".join(" ".join(message).split())


def _last_change(output: str) -> str:
    """How far the last SCF step was from convergence, for a reader."""
    steps = re.findall(r"^ +(\d+) \S.*? +\S+ +\S+ +(\S+) +-?\d+\.\d+ +\S+$", output, re.MULTILINE)
    return f" (change in step {steps[-1][0]}: {steps[-1][1]})" if steps else ""


def _energy(output: str) -> float:
    """Hartree."""
    found = re.findall(rf"ENERGY\| Total FORCE_EVAL .*\]:?\s+{_NUMBER}", output)
    if not found:
        raise Refused("CP2K's output has no total energy")
    return float(found[-1])


def _coordinates(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers [n] and positions [n, 3] in Å of the atoms that were computed."""
    rows = re.findall(
        rf"^\s*\d+\s+\d+\s+[A-Za-z]\S*\s+(\d+)\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s", text, re.M
    )
    if not rows:
        raise Refused("CP2K's output has no table of atoms")
    return np.array([int(row[0]) for row in rows]), np.array([row[1:] for row in rows], float)


def _forces(text: str) -> np.ndarray:
    """[n, 3], Hartree/Bohr. The table of CP2K to 2024 names the element, that of 2025 does not."""
    row = r"^\s*(?:FORCES\|\s+\d+|\d+\s+\d+\s+[A-Za-z]\S*)\s+"
    rows = re.findall(rf"{row}{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}", text, re.M)
    if not rows or not re.search(r"\[(a\.u\.|hartree/bohr)\]", text):
        raise Refused("CP2K's output has no table of forces in atomic units")
    return np.array(rows, float)


def _stress(text: str) -> np.ndarray:
    """[6] Voigt, eV/Å³, ASE's sign: CP2K prints pressure, which is positive when compressed."""
    unit = re.search(r"stress tensor \[(\w+)\]", text)
    rows = re.findall(rf"STRESS\|\s+[xyz]\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}", text)
    if unit is None or unit[1] not in _PRESSURE or len(rows) < 3:
        raise Refused("CP2K's output has no stress tensor in a known unit")
    tensor = np.array(rows[:3], float)
    return -(tensor + tensor.T).flat[[0, 4, 8, 5, 2, 1]] / 2 * _PRESSURE[unit[1]]
