"""The driver's end: children that work in turn, and what their times say."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
#: One thread for everything that could start more.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def environment_of(python: str) -> dict[str, str]:
    """Ours, on one thread; what is added to Python's path here is not the peer's."""
    foreign = {} if python == sys.executable else {"PYTHONPATH": ""}
    return {**os.environ, **ONE_THREAD, **foreign}


class ChildError(RuntimeError):
    """A child could not do what it was told to."""


class Child:
    """A side in a process of its own.

    Args:
        python: of the side's environment.
        side: module beside ``child.py``.
        log: file for what it prints.
        environment: variables beside those of :data:`ONE_THREAD`, or instead of them.
    """

    def __init__(
        self, python: str, side: str, log: Path, environment: Mapping[str, str] | None = None
    ):
        self.side, self.log = side, log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [python, str(HERE / "child.py"), side],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env={**environment_of(python), **(environment or {})},
            )

    def tell(self, do: str, **options: Any) -> None:
        """Give a command; :meth:`answer` waits for it."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which its answer says

    def answer(self) -> dict:
        """Raises: ChildError if the command failed or the process ended."""
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"it ended ({self.process.wait()})"}
        if "error" in answer:
            raise ChildError(f"{self.side}: {answer['error']} (see {self.log})")
        return answer

    def do(self, do: str, **options: Any) -> dict:
        """Give a command and wait for the answer."""
        self.tell(do, **options)
        return self.answer()

    def end(self) -> None:
        with suppress(BrokenPipeError):  # it has ended, with a command unread
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_) -> None:
        self.end()


@dataclass(frozen=True)
class Times:
    """Milliseconds of a step, one number a round."""

    cpu: list[float]
    wall: list[float]

    def summary(self) -> dict[str, float]:
        """Of the CPU's time, and the least by the clock."""
        return {
            "min": min(self.cpu),
            "median": statistics.median(self.cpu),
            "wall_min": min(self.wall),
        }


def alternate(
    sides: Sequence[Child], name: str, rounds: int, seconds: float, warm_up: int = 4
) -> list[Times]:
    """Time steps of the work ``name`` on all sides in turn.

    Each side does in a round as many steps as take about ``seconds``, so that a slow moment of the
    machine falls on all of them alike.

    Args:
        sides: that have opened it.
        name: of the work.
        rounds: that are timed.
        seconds: of a side in a round.
        warm_up: steps before, beside those that find out how long one takes.
    """
    counts = []
    for side in sides:
        side.do("steps", name=name, n=warm_up)
        n, spent = 1, 0.0
        while True:
            spent = side.do("steps", name=name, n=n)["cpu"]
            if spent > seconds / 4 or n >= 1000:
                break
            n *= 4
        counts.append(max(1, round(n * seconds / max(spent, 1e-9))))
    times = [Times([], []) for _ in sides]
    for _ in range(rounds):
        for side, n, of_side in zip(sides, counts, times, strict=True):
            spent = side.do("steps", name=name, n=n)
            of_side.cpu.append(1e3 * spent["cpu"] / n)
            of_side.wall.append(1e3 * spent["wall"] / n)
    return times


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Largest differences of what both sides say; of ``losses`` as a share of the largest."""
    found = {}
    for key in sorted({*ours} & {*theirs}):
        a, b = np.atleast_1d(ours[key]), np.atleast_1d(theirs[key])
        if a.shape != b.shape:
            raise ChildError(f"{key}: {a.shape} numbers and {b.shape}")
        size = np.abs(b).max() if key == "losses" else 1.0
        found[key] = float(np.abs(a - b).max() / size)
    return found


def disagreement(found: Mapping[str, float], tolerance: float) -> str:
    """Which of the differences are too large, or not numbers; empty if none is."""
    wrong = [f"{key} {value:.1e}" for key, value in found.items() if not value <= tolerance]
    return ", ".join(wrong)


def run_once(command: Sequence[str]) -> dict[str, float]:
    """Run a script that ends with a line of JSON; its numbers, ``clock`` since its start."""
    start = time.perf_counter()
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        env=environment_of(command[0]),
    )
    if done.returncode:
        raise ChildError(f"{command[0]}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "clock": found["clock"] - start}
