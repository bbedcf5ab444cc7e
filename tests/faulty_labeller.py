"""An ASE calculator for tests: EMT that fails for a share of frames, in eight ways.

Engine ``ase`` with calculator ``faulty_labeller:FaultyCalculator``, and this folder on PYTHONPATH.
"""

import hashlib
import os
import signal
import time
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import SCFError, all_changes
from ase.calculators.emt import EMT

FAULTS = (
    "unconverged",
    "exception",
    "hang",
    "killed",
    "nan",
    "reorder",
    "composition",
    "huge_forces",
)

#: What a label with each fault becomes: its status, and words of its reason.
OUTCOMES = {
    "unconverged": ("unconverged", "SCF not converged"),
    "exception": ("failed", "ValueError: no such orbital"),
    "hang": ("timeout", "time limit of"),
    "killed": ("failed", "SIGKILL"),
    "nan": ("rejected", "forces is not a finite number"),
    "reorder": ("rejected", "reordered"),
    "composition": ("rejected", "composition changed"),
    "huge_forces": ("quarantined", "labeller.max_force"),
    None: ("converged", ""),
}


def fault_of(
    atoms: Atoms, seed: int = 0, rate: float = 0.2, faults: Sequence[str] = FAULTS
) -> str | None:
    """How the label of this frame fails, or None: a function of the frame and the seed alone.

    One-atom frames never fail: they have nothing to reorder, and a campaign needs its E0s.
    """
    draw = _digest(atoms, seed)
    if len(atoms) == 1 or int(draw[:8], 16) / 16**8 >= rate:
        return None
    return faults[int(draw[8:16], 16) % len(faults)]


def _digest(atoms: Atoms, seed: int) -> str:
    content = [atoms.numbers.tolist(), np.rint(atoms.positions * 1e6).astype(int).tolist(), seed]
    return hashlib.sha256(repr(content).encode()).hexdigest()


class FaultyCalculator(EMT):
    """EMT with faults.

    Each call appends one line, ``<hash of the frame> <fault or ok>``, to the file named by the
    environment variable MACELOOP_CALL_LOG.

    Args:
        seed: of the choice of frames and of their faults.
        rate: share of frames that fail.
        faults: which kinds occur.
        delay: seconds that every call takes.
    """

    def __init__(
        self,
        seed: int = 0,
        rate: float = 0.2,
        faults: Sequence[str] = FAULTS,
        delay: float = 0.0,
        **kwargs,
    ):
        self.choice = {"seed": seed, "rate": rate, "faults": tuple(faults)}
        self.delay = delay
        super().__init__(**kwargs)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        fault = fault_of(atoms, **self.choice)
        log_call(f"{_digest(atoms, 0)[:16]} {fault or 'ok'}")
        time.sleep(self.delay)
        if fault == "unconverged":
            raise SCFError("SCF not converged")
        if fault == "exception":
            raise ValueError("no such orbital")
        if fault == "hang":
            time.sleep(3600)
        if fault == "killed":
            print("a line before the end", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "reorder":
            atoms = atoms[np.roll(np.arange(len(atoms)), 1)]
        if fault == "composition":
            atoms = atoms[:-1]
        super().calculate(atoms, properties, system_changes)
        if fault == "nan":
            self.results["forces"] = np.full((len(atoms), 3), np.nan)
        if fault == "huge_forces":
            self.results["forces"] = self.results["forces"].copy()
            self.results["forces"][0] += [800.0, 0, 0]
            self.results["forces"][1] -= [800.0, 0, 0]


def log_call(line: str) -> None:
    """Append a line to the file in MACELOOP_CALL_LOG, whole even when many processes do."""
    path = os.environ.get("MACELOOP_CALL_LOG")
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(fd, (line + "\n").encode())
        os.close(fd)
