"""A run of the labeller that is watched from outside, and interfered with."""

import contextlib
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from mace_core.label.conformance import tolerances as t
from mace_core.label.conformance.probe import Probe
from mace_core.label.store import Record

_LOOK = 0.005  # seconds


def watched(
    probe: Probe, frames: list, interfere: Callable[[psutil.Process, Path], bool], **options: Any
) -> tuple[list[Record], Path]:
    """Label frames, with ``interfere(worker, scratch)`` called again and again until it is True.

    Returns:
        The records and the folder in which the attempts ran.
    """
    scratch = options.pop("scratch", None) or probe.new_folder()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            worker = _worker(scratch)
            with contextlib.suppress(psutil.Error, ProcessLookupError, FileNotFoundError):
                if worker is not None and interfere(worker, scratch):
                    return
            time.sleep(_LOOK)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return probe.outcomes(frames, scratch=scratch, **options), scratch
    finally:
        over.set()
        watcher.join()


#: Open MPI's daemons, which a program starts beside itself and may outlive unharmed.
_HELPERS = ("orted", "prted")


def programs(worker: psutil.Process) -> list[psutil.Process]:
    """What the engine has started: the worker's descendants without its guard, a fork of it."""
    own = worker.cmdline()
    return [
        child
        for child in worker.children(recursive=True)
        if child.cmdline() != own and child.name() not in _HELPERS
    ]


def left_running(scratch: Path) -> list[str]:
    """Programs of an ended run that still run, after :data:`tolerances.GONE` seconds."""
    patience = time.monotonic() + t.GONE
    while True:
        found = [f"{p.info['name']} (pid {p.info['pid']})" for p in _belonging(scratch)]
        if not found or time.monotonic() > patience:
            return found
        time.sleep(0.1)


@contextlib.contextmanager
def small_disk(probe: Probe, size: int) -> Iterator[tuple[Path, Callable, str]]:
    """A folder on a disk of ``size`` bytes, what to call with the worker, and what it is.

    A file system in memory where that may be mounted; else a limit on the size of each file.
    """
    folder = probe.new_folder()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
        if os.geteuid() == 0
        else False
    )

    def limited(worker: psutil.Process, _: Path) -> bool:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, size))
        return True

    try:
        if mounted:
            yield folder, lambda *_: True, "disk"
        else:
            yield folder, limited, "limit of a file's size"
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def _worker(scratch: Path) -> psutil.Process | None:
    """The worker whose scratch folder lies in ``scratch``."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(word.startswith(f"--scratch={scratch}/") for word in process.cmdline()):
                return process
    return None


def _belonging(scratch: Path) -> Iterator[psutil.Process]:
    """Processes that work in a folder of the run, or have its name from their parents."""
    for process in psutil.process_iter(["pid", "name"]):
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            places = [process.cwd(), *process.environ().values(), *process.cmdline()]
            if any(str(scratch) in place for place in places):
                yield process
