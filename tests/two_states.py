"""An ASE calculator for tests: EMT whose SCF ends in another state for some frames.

Engine ``ase`` with calculator ``two_states:TwoStates``, and this folder on PYTHONPATH. What happens
from another starting guess is told by ``labeller.other_guess``, which is no part of the level of
theory: ``{"second": "right"}``.
"""

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import SCFError, all_changes
from ase.calculators.emt import EMT
from faulty_labeller import log_call

#: eV by which the energy of the other state is higher.
HIGHER = 3.0


def digest(atoms: Atoms) -> str:
    content = [atoms.numbers.tolist(), np.rint(atoms.positions * 1e6).astype(int).tolist()]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


class TwoStates(EMT):
    """EMT with another state above it.

    Each call appends ``<digest of the frame> first|second`` to the file in MACELOOP_CALL_LOG. While
    there is a file MACELOOP_HOLD, a second computation waits, and says so in MACELOOP_HOLD.held.

    Frames whose digests are in TWO_STATES_WRONG end in the other state from the usual guess, those
    in TWO_STATES_STUCK from any.

    Args:
        always: every frame ends in the other state from the usual guess.
        second: what the other guess leads to: "right", "wrong" (the other state once more),
            "third" (a state of its own), "fails", "killed"; empty for the usual guess.
    """

    def __init__(self, always: bool = False, second: str = "", **kwargs):
        self.always, self.second = always, second
        super().__init__(**kwargs)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if self.second:
            _wait()
        log_call(f"{digest(atoms)} {'second' if self.second else 'first'}")
        if self.second == "fails":
            raise SCFError("SCF not converged from there")
        if self.second == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, properties, system_changes)
        wrong = self.always or digest(atoms) in os.environ.get("TWO_STATES_WRONG", "")
        stuck = digest(atoms) in os.environ.get("TWO_STATES_STUCK", "")
        higher = HIGHER * ((wrong and self.second != "right") or stuck) + (self.second == "third")
        for key in ("energy", "free_energy"):
            self.results[key] += higher


def _wait() -> None:
    hold = Path(os.environ.get("MACELOOP_HOLD", ""))
    while hold.is_file():
        Path(f"{hold}.held").touch()
        time.sleep(0.05)
