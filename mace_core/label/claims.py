"""Claims: who computes which frame right now, so that no label is paid for twice.

A claim is a file beside the frame's record, created exclusively. It names its process (machine,
pid, start time), and its modification time is the process's heartbeat. On its own machine a claim
lives as long as its process; seen from another one it is dead when its heartbeat has stood still
for :data:`STALE_AFTER` seconds (as watched here, so that clocks need not agree).

Claims of one frame are numbered: a dead claim n is taken over by creating claim n + 1
exclusively. Nothing is removed on the way, so of many processes that find the same dead claim
one wins, on NFS too. All claims of a frame go when its record is written; whoever then still
gets a claim sees the record and lets go.

Claims of a frame without a record may be cleared when all of them are dead: by who has taken the
frame over, the lowest first. Whoever holds a claim and finds that one of the dead claims below it
is gone, or another one, lets go: nobody works beside a new holder of the lowest number.
"""

import contextlib
import os
import re
import socket
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from mace_core.storage import read_json, write_json

HEARTBEAT = 5.0  # seconds
STALE_AFTER = 120.0  # seconds without a heartbeat
#: Seconds without a heartbeat, by the file system's own clock, after which nobody can be there.
LONG_DEAD = 1200.0
_CLAIM = re.compile(r"([^.]+)\.claim(?:\.(\d+))?")


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
        below: dict[Path, dict[str, Any]] = {}  # dead claims that are taken over
        while True:
            path = self._path(frame_id, number)
            if self._create(path):
                if not self._unchanged(below):  # cleared meanwhile
                    path.unlink(missing_ok=True)
                    return False
                self._held[frame_id] = path
                return True
            claim = self._read(path)
            # Gone meanwhile: released with its record written; the caller looks again.
            if claim is None or self._alive(path, claim):
                return False
            below[path] = claim
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

    def found(self) -> dict[str, list[Path]]:
        """All claims in the folder by frame, those of one frame by ascending number."""
        claims: dict[str, dict[int, Path]] = {}
        for path in self.folder.glob("[!.]*.claim*"):
            if match := _CLAIM.fullmatch(path.name):
                claims.setdefault(match[1], {})[int(match[2] or 0)] = path
        return {frame_id: [some[n] for n in sorted(some)] for frame_id, some in claims.items()}

    def is_dead(self, path: Path) -> bool:
        """Whether a claim's process is surely gone, as far as one look can tell.

        On another machine it is, when the heartbeat is older than :data:`LONG_DEAD`.
        """
        claim = self._read(path)
        if claim is None:
            return False
        if claim.get("abandoned") or claim.get("machine") == _machine():
            return not self._alive(path, claim)
        return age(path) > LONG_DEAD

    def clear(self, frame_id: str) -> bool:
        """Remove all claims of a frame, if all of them are dead (see above).

        Returns:
            False if one is alive.
        """
        seen = {path: self._read(path) for path in self.found().get(frame_id, [])}
        if not seen or not all(self.is_dead(path) for path in seen):
            return False
        number = 0
        while (mine := self._path(frame_id, number)) in seen:
            number += 1
        if not self._create(mine):
            return False
        # Others may have cleared and claimed since the look; from now on nobody can.
        unchanged = self._unchanged(seen)
        for path in (*seen, mine) if unchanged else (mine,):
            path.unlink(missing_ok=True)
        return unchanged

    def beat(self) -> None:
        """Heartbeat of all held claims, at most every :data:`HEARTBEAT` seconds."""
        if time.monotonic() - self._last_beat < HEARTBEAT:
            return
        self._last_beat = time.monotonic()
        for path in self._held.values():
            with contextlib.suppress(OSError):
                os.utime(path)

    def _unchanged(self, seen: dict[Path, dict[str, Any] | None]) -> bool:
        return all(self._read(path) == claim for path, claim in seen.items())

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


def age(path: Path) -> float:
    """Seconds since a file was written, by its file system's clock.

    0 if that cannot be known: it is gone, or nothing can be written beside it.
    """
    try:
        with tempfile.TemporaryFile(dir=path.parent, prefix=".clock.", suffix=".tmp") as now:
            return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0


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
