"""Any command: one frame as extxyz in, the same frame with its label as extxyz out."""

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.config.labellers import CommandLabeller
from mace_core.conventions import CHARGE, LABEL_REASON, LABEL_STATUS, SPIN, LabelStatus
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.engines.base import Guess, NotConverged, Refused, Result
from mace_core.label.engines.program import (
    GUESS_VARIABLE,
    ProgramEngine,
    find_program,
    killed_by,
    output_of,
)
from mace_core.label.session import tail
from mace_core.label.verdict import MOVED
from mace_core.storage import sha256_file


class CommandEngine(ProgramEngine):
    """The command reads ``{in}`` and writes ``{out}``, in the attempt's own folder.

    ``{in}`` holds one frame with ``charge`` and ``spin`` (N↑ − N↓) in info. ``{out}`` must hold the
    same atoms in the same order, in the same cell, with the label under the settings' keys: eV,
    eV/Å and, if it can, the stress as six Voigt components (xx yy zz yz xz xy) or 3×3, eV/Å³, with
    ASE's sign. It says that the SCF did not converge by one of the settings' exit codes, or by
    ``label_status=unconverged`` (and, if it likes, ``label_reason``) in the info of ``{out}``.
    """

    IN, OUT = "in.extxyz", "out.extxyz"

    def __init__(self, settings: CommandLabeller):
        self.settings = settings
        self.home = Path.cwd()  # what relative paths are relative to
        self.RUNGS = ("default", *(f"retry_{n}" for n in range(1, len(settings.command))))

    def program_versions(self) -> dict[str, str]:
        command = self.settings.version_command
        if not command:
            return {}
        find_program(command, "labeller.version_command", "give a command that runs here")
        said = output_of(shlex.join(self._at_home(shlex.split(command)))).strip()
        if not said:
            raise UserError(
                f"labeller.version_command: {command!r} printed nothing",
                mend="give one that prints a version, or write it into labeller.version",
            )
        return {"command": " ".join(said.split())}

    def level(self) -> dict[str, Any]:
        hashes = {}
        for name in self.settings.files:
            if not (self.home / name).is_file():
                raise UserError(
                    f"labeller.files: no such file: {name}",
                    mend=f"give a path relative to {self.home}, or an absolute one",
                )
            hashes[Path(name).name] = sha256_file(self.home / name)
        return {"files": hashes} if hashes else {}

    def other_guess(self) -> str:
        return f"{GUESS_VARIABLE}=other, if the command heeds it"

    def check(self, elements: list[str]) -> None:
        for command in self.settings.command:
            find_program(
                command,
                "labeller.command",
                f"install it, or give its path, absolute or relative to {self.home}",
            )
            for word in shlex.split(command)[1:]:
                if word.endswith((".py", ".sh")) and not (self.home / word).is_file():
                    raise UserError(
                        f"labeller.command: no such file: {word}",
                        mend=f"give a path relative to {self.home}, or an absolute one",
                    )
        self.level()
        self.program_versions()

    def command(self, rung: str, guess: Guess = Guess.USUAL) -> str:
        line = self.settings.command[self.RUNGS.index(rung)]
        here = Path.cwd()
        values = {
            # Before the bare ones, for those who write the suffix themselves.
            "{in}.extxyz": str(here / self.IN),
            "{out}.extxyz": str(here / self.OUT),
            "{in}": str(here / self.IN),
            "{out}": str(here / self.OUT),
            "{threads}": os.environ.get("OMP_NUM_THREADS", "1"),
            "{rung}": rung,
            "{guess}": str(guess),
        }
        words = self._at_home(shlex.split(line))
        for name, value in values.items():
            words = [word.replace(name, value) for word in words]
        return shlex.join(words)

    def prepare(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> None:
        asked = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        asked.info = {CHARGE: frame.info[CHARGE], SPIN: frame.info[SPIN]}
        write_frames(self.IN, [asked])

    def judge(self, exit_code: int) -> None:
        said = tail(Path(self.OUTPUT))
        said = f"; last output: {said}" if said else ""
        if exit_code in self.settings.unconverged_exit_codes:
            raise NotConverged(f"the command says so by exit code {exit_code}{said}")
        if (by := killed_by(exit_code)) is not None:
            raise Refused(f"the command was killed by {by}{said}")
        if exit_code:
            raise Refused(f"the command ended with exit code {exit_code}{said}")
        if not Path(self.OUT).is_file():
            raise Refused(f"the command ended with exit code 0 and wrote no {{out}}{said}")

    def parse(self, frame: Atoms) -> Result:
        answer = self._answer()
        status = str(answer.info.get(LABEL_STATUS, LabelStatus.CONVERGED))
        if status != LabelStatus.CONVERGED:
            reason = str(
                answer.info.get(LABEL_REASON, f"the command wrote {LABEL_STATUS}={status}")
            )
            raise (NotConverged if status == LabelStatus.UNCONVERGED else Refused)(reason)
        if frame.pbc.any() and not np.allclose(answer.cell[:], frame.cell[:], rtol=0, atol=MOVED):
            raise Refused("the cell in {out} is not the cell in {in}")
        s = self.settings
        stress = _found(answer, s.stress_key) if frame.pbc.all() else None
        if np.size(stress) == 9:
            stress = np.reshape(stress, (3, 3)).flat[[0, 4, 8, 5, 2, 1]]
        return Result(
            energy=self._label(answer, "energy", s.energy_key),
            forces=self._label(answer, "forces", s.forces_key),
            stress=stress,
            numbers=answer.numbers,
            positions=answer.positions,
        )

    def _answer(self) -> Atoms:
        try:
            frames = read_frames(self.OUT)
        except UserError as err:
            raise Refused(f"{{out}} is no extxyz: {err.what}") from err
        if len(frames) != 1:
            raise Refused(f"{{out}} holds {len(frames)} frames, not one")
        return frames[0]

    def _label(self, answer: Atoms, name: str, key: str) -> Any:
        value = _found(answer, key)
        if value is None:
            there = [*answer.info, *answer.arrays, *getattr(answer.calc, "results", {})]
            raise Refused(
                f"{{out}} has no {key!r} (it has {', '.join(there)}): "
                f"have the command write it, or set labeller.{name}_key"
            )
        return value

    def _at_home(self, words: list[str]) -> list[str]:
        """Words that name files where maceloop was started, as absolute paths."""
        return [
            str(self.home / word)
            if (os.sep in word or n) and "{" not in word and (self.home / word).is_file()
            else word
            for n, word in enumerate(words)
        ]


def _found(answer: Atoms, key: str) -> Any:
    """A value under ``key``; ASE moves the bare energy, forces and stress into a calculator."""
    for place in (answer.info, answer.arrays, getattr(answer.calc, "results", {})):
        if key in place:
            return place[key]
    return None
