"""Claims: who computes which frame right now, so that no label is paid for twice.

A claim is a file beside the frame's record, created exclusively. It names its process (machine,
pid, start time), and its modification time is the process's heartbeat. On its own machine a claim
lives as long as its process; seen from another one it is dead when its heartbeat has stood still
for :data:`STALE_AFTER` seconds (as watched here, so that clocks need not agree).

Claims of one frame are numbered: a dead claim n is taken over by creating claim n + 1
exclusively. Nothing is removed on the way, so of many processes that find the same dead claim
one wins, on NFS too. All claims of a frame go when its record is written; whoever then still
gets a claim sees the record and lets go.
"""

import contextlib
import os
import socket
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from mace_core.storage import read_json, write_json

HEARTBEAT = 5.0  # seconds
STALE_AFTER = 120.0  # seconds without a heartbeat


class Claims:
    """The claims of one process in one folder.

    Args:
        folder: where the records lie.
        stale_after: seconds without a heartbeat after which a claim is dead.
    """

    def __init__(self, folder: str | Path, stale_after: float = STALE_AFTER):
        self.folder = Path(folder)
        self.stale_after = stale_after
        self.token = uuid.uuid4().hex
        self._held: dict[str, Path] = {}
        self._seen: dict[Path, tuple[int, float]] = {}  # mtime in ns, since when
        self._last_beat = 0.0

    def acquire(self, frame_id: str) -> bool:
        """Claim a frame, unless a live process holds it."""
        number = 0
        while True:
            path = self._path(frame_id, number)
            if self._create(path):
                self._held[frame_id] = path
                return True
            claim = self._read(path)
            # Gone meanwhile: released with its record written; the caller looks again.
            if claim is None or self._alive(path, claim):
                return False
            number += 1

    def release(self, frame_id: str) -> None:
        """Let go of a frame that is done (its record is written): removes all its claims."""
        mine = self._held.pop(frame_id)
        paths = []
        while (path := self._path(frame_id, len(paths))).exists():
            paths.append(path)
        # The highest first: a lower one that is left behind is dead and can be taken over.
        for path in reversed(paths):
            path.unlink(missing_ok=True)
        mine.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Say that no held frame is under way any more, though none of them is done."""
        for path in self._held.values():
            # On a full disk it goes unsaid: the claim then dies with its process.
            with contextlib.suppress(OSError):
                write_json(path, {**self._identity(), "abandoned": True})
        self._held.clear()

    def beat(self) -> None:
        """Heartbeat of all held claims, at most every :data:`HEARTBEAT` seconds."""
        if time.monotonic() - self._last_beat < HEARTBEAT:
            return
        self._last_beat = time.monotonic()
        for path in self._held.values():
            with contextlib.suppress(OSError):
                os.utime(path)

    def _path(self, frame_id: str, number: int) -> Path:
        return self.folder / (f"{frame_id}.claim" + (f".{number}" if number else ""))

    def _create(self, path: Path) -> bool:
        return write_json(path, self._identity(), exclusive=True)

    def _identity(self) -> dict[str, Any]:
        pid = os.getpid()
        return {
            "token": self.token,
            "machine": _machine(),
            "pid": pid,
            "process_started": psutil.Process(pid).create_time(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            with open(path) as handle:  # opening it makes NFS ask for its true mtime
                mtime = os.fstat(handle.fileno()).st_mtime_ns
            claim = read_json(path)
        except FileNotFoundError:
            return None
        except ValueError:
            claim = {}
        if self._seen.get(path, (None,))[0] != mtime:
            self._seen[path] = (mtime, time.monotonic())
        return claim

    def _alive(self, path: Path, claim: dict[str, Any]) -> bool:
        if claim.get("abandoned"):
            return False
        if claim.get("machine") == _machine():
            return _runs(claim["pid"], claim["process_started"])
        return time.monotonic() - self._seen[path][1] < self.stale_after


def _machine() -> str:
    """A name under which a pid means one process: host, boot and pid namespace."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace}".strip()


def _runs(pid: int, started: float) -> bool:
    """Whether that very process still runs; a zombie does not."""
    try:
        process = psutil.Process(pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 2.0
        )
    except psutil.NoSuchProcess:
        return False
