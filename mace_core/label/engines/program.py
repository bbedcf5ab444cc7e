"""Engines that run an external program: input files in, output files out."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from abc import abstractmethod
from functools import cache
from pathlib import Path

from ase import Atoms

from mace_core.errors import UserError
from mace_core.label.engines.base import Engine, Guess, Result

#: Tells a program from what its SCF is to start: a :class:`Guess`.
GUESS_VARIABLE = "MACELOOP_GUESS"


class ProgramEngine(Engine):
    """One run of a program in the attempt's own folder, which is the current directory.

    prepare → run → judge → parse. The worker that calls this leads a session of its own, which is
    killed with all that it started when time is up, so that nothing here watches the program.
    """

    #: What the program prints, errors included.
    OUTPUT = "program.out"

    @abstractmethod
    def command(self, rung: str, guess: Guess = Guess.USUAL) -> str:
        """The command line, as a shell would read it; run without a shell."""

    @abstractmethod
    def prepare(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> None:
        """Write the input files.

        Raises:
            Refused: the frame is not for this engine.
        """

    @abstractmethod
    def judge(self, exit_code: int) -> None:
        """Read from the program's own words whether it is to be believed.

        Raises:
            NotConverged: the SCF did not converge.
            Refused: it ended with an error; the message says which.
        """

    @abstractmethod
    def parse(self, frame: Atoms) -> Result:
        """What it computed, in our units and in the frame's order of atoms."""

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        self.prepare(frame, rung, guess)
        self.judge(self.run(rung, guess=guess))
        return self.parse(frame)

    def run(self, rung: str, stdin: str | None = None, guess: Guess = Guess.USUAL) -> int:
        """Run the program to its end; its exit code (negative: killed by that signal).

        Args:
            rung: of the retry ladder.
            stdin: file that it reads from.
            guess: from what its SCF starts; it finds that in $MACELOOP_GUESS too.
        """
        with (
            open(stdin or os.devnull, "rb") as source,
            open(self.OUTPUT, "wb") as output,
        ):
            return subprocess.run(
                shlex.split(self.command(rung, guess)),
                stdin=source,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                env=os.environ | {GUESS_VARIABLE: str(guess)},
            ).returncode


def killed_by(exit_code: int) -> str | None:
    """E.g. ``signal 9 (SIGKILL)``; also where a shell or mpirun in between says 128 + 9."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number not in signal.valid_signals():
        return None
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        return f"signal {number}"


def find_program(command: str, setting: str, mend: str) -> Path:
    """The file that a command line starts.

    Args:
        command: as the user wrote it.
        setting: its key, e.g. ``labeller.command``.
        mend: how to get the program.

    Raises:
        UserError: there is none of that name.
    """
    words = shlex.split(command)
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise UserError(
            f"{setting}: {words[0] if words else command!r} is not on PATH and no executable file",
            mend=mend,
        )
    return Path(found)


def output_of(command: str, limit: float = 60.0) -> str:
    """What a command prints, with errors; its exit code does not matter.

    Asked once a process, and again where PATH leads to another program or its file has changed.
    Run in a folder of its own, because programs without input leave files behind.
    """
    # Of every word, because it may be mpirun that starts the program.
    found = [path for word in shlex.split(command) if (path := shutil.which(word))]
    return _output(command, tuple((path, os.stat(path).st_mtime_ns) for path in found), limit)


@cache
def _output(command: str, programs: tuple[tuple[str, int], ...], limit: float) -> str:
    """``programs``, with the times of their last change, tell those of one name apart."""
    with tempfile.TemporaryDirectory(prefix="maceloop-ask-") as folder:
        try:
            return subprocess.run(
                shlex.split(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                timeout=limit,
                check=False,
            ).stdout.decode(errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            return ""
