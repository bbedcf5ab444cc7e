"""ASE's EMT as a labelling engine that takes its time and counts its calls.

$LABEL_SECONDS is the time, $LABEL_MB memory that it takes from a process's second call on. While
there is a file $LABEL_HOLD, a process's second call waits.
"""

import os
import time
from pathlib import Path

from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

from mace_core.frames import frame_id

CALLS = []


class CountingEMT(EMT):
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        CALLS.append(b"")
        if len(CALLS) == 2 and "LABEL_MB" in os.environ:
            CALLS.append(b"x" * (int(os.environ["LABEL_MB"]) << 20))
        hold = Path(os.environ.get("LABEL_HOLD", ""))
        while len(CALLS) > 1 and hold.is_file():
            time.sleep(0.05)
        # In steps: a process that is stopped and goes on has as much left as before.
        for _ in range(round(20 * float(os.environ.get("LABEL_SECONDS", 0.2)))):
            time.sleep(0.05)
        super().calculate(atoms, properties, system_changes)
        with open(os.environ["MACELOOP_CALL_LOG"], "a") as log:
            log.write(frame_id(atoms) + "\n")
