"""One side of the comparison: a process that does work when it is told to.

    python child.py SIDE

SIDE is a module beside this file: ``ours``, ``mace_torch`` or ``symmetrix_xl``. Commands come as
JSON, one a line; each is answered by one line. The three sides run in different environments, so
this file imports nothing but the standard library.
"""

import importlib
import json
import os
import re
import resource
import sys
import time
import traceback
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory() -> float:
    """Largest resident memory of this process so far, or since it was forgotten; MB."""
    if STATUS.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Worker:
    """Holds what was opened, by name."""

    def __init__(self, side: str):
        self.side = importlib.import_module(side)
        self.opened: dict = {}

    def open(self, name: str, kind: str, **options) -> dict:
        """Make a piece of work: ``kind`` is a class of the side's module."""
        self.opened[name] = getattr(self.side, kind)(**options)
        return {"peak_MB": peak_memory()}

    def check(self, name: str) -> dict:
        """What is compared before anything is timed: numbers by name."""
        return self.opened[name].check()

    def steps(self, name: str, n: int) -> dict:
        """Do ``n`` steps; seconds of CPU and of the clock for all of them."""
        step = self.opened[name].step
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(n):
            step()
        return {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "peak_MB": peak_memory(),
        }

    def forget_peak(self) -> dict:
        """The peak begins anew at the present size, where the system can do that."""
        if CLEAR.exists():
            CLEAR.write_text("5")
        return {"peak_MB": peak_memory()}

    def search_again(self, name: str) -> dict:
        """A step that looks for neighbours anew, which takes the most memory."""
        self.opened[name].search_again()
        return {"peak_MB": peak_memory()}

    def parts(self, name: str, n: int) -> dict:
        """Milliseconds of a step's parts, where the side knows them."""
        return self.opened[name].parts(n)

    def call(self, function: str, **options) -> dict:
        """A function of the side's module."""
        return getattr(self.side, function)(**options)

    def close(self, name: str) -> dict:
        del self.opened[name]
        return {}


def main() -> None:
    # What libraries print is not an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as err:
            traceback.print_exc()
            answer = {"error": f"{type(err).__name__}: {err}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
