"""A worker process as its driver sees it: start, ask, kill with all that it started."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: Seconds for a worker to import its engine (a cold network file system is slow).
START_LIMIT = 600.0
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerDied(Exception):  # noqa: N818
    """The worker ended without an answer; the message says how."""


class WorkerTimeout(Exception):  # noqa: N818
    """The worker did not answer in time, and was killed."""


class Session:
    """One worker, in a session of its own, with a scratch folder of its own.

    Args:
        threads: of the engine; set before the worker imports numpy.
        while_waiting: called about once a second while the worker computes.
        root: where the scratch folder is made; the system's folder for temporary files if None.
    """

    def __init__(
        self,
        threads: int,
        while_waiting: Callable[[], None] = lambda: None,
        root: Path | None = None,
    ):
        self.scratch = Path(tempfile.mkdtemp(prefix="maceloop-label-", dir=root))
        self.threads, self.while_waiting = threads, while_waiting
        self._log = self.scratch / "worker.txt"
        self._received = b""
        self.cpu_at_end = 0.0
        self._answers, answers = os.pipe()
        try:
            with open(self._log, "wb") as log:
                self._process = subprocess.Popen(
                    # -P: no folder of the user's may hide a module of the standard library.
                    [
                        *(sys.executable, "-P", "-m", "mace_core.label.worker"),
                        f"--answers={answers}",
                        f"--scratch={self.scratch}",
                    ],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=[answers],
                    start_new_session=True,
                    env=os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)),
                )
        finally:
            os.close(answers)

    def ask(self, job: dict[str, Any], limit: float) -> dict[str, Any]:
        """The worker's answer to a job.

        Raises:
            WorkerDied: it ended without one.
            WorkerTimeout: there was none within ``limit`` seconds.
        """
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDied(self._end(job)) from None
        deadline = time.monotonic() + limit
        while b"\n" not in self._received:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self.kill()
                raise WorkerTimeout(f"no result after the time limit of {limit:g} s")
            if select.select([self._answers], [], [], min(1.0, remaining))[0]:
                chunk = os.read(self._answers, 1 << 20)
                if not chunk:
                    raise WorkerDied(self._end(job))
                self._received += chunk
            elif self._ended():
                # A forked child of the engine may hold the pipe open.
                raise WorkerDied(self._end(job))
            self.while_waiting()
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def cpu_seconds(self) -> float:
        """CPU time of the worker and of its finished children so far."""
        import psutil

        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system + times.children_user + times.children_system

    @property
    def ended(self) -> bool:
        """Whether it was killed or ended by itself, as far as it was asked."""
        return self._process.returncode is not None

    def kill(self) -> int:
        """End the worker and everything in its session; its exit code (negative: a signal)."""
        if self._process.returncode is None:
            self.cpu_at_end = self.cpu_seconds()
            # Before it is reaped, so that its number can be nobody else's.
            kill_session(self._process.pid)
            self._process.wait()
        return self._process.returncode

    def close(self) -> None:
        """Kill, and remove the scratch folder."""
        self.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _ended(self) -> bool:
        """Whether the worker itself has ended, without reaping it."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def _end(self, job: dict[str, Any]) -> str:
        """How the worker ended, and the last that it said."""
        # It closes its end of the pipe a moment before it has an exit code.
        patience = time.monotonic() + 5.0
        while not self._ended() and time.monotonic() < patience:
            time.sleep(0.01)
        code = self.kill()
        if code < 0:
            how = f"killed by signal {-code} ({signal.Signals(-code).name})"
            if -code == signal.SIGKILL:
                how += ", perhaps for want of memory"
        else:
            how = f"exit code {code}"
        output = Path(job["directory"]) / "output.txt" if "directory" in job else self._log
        last = tail(output)
        return f"the worker ended: {how}" + (f"; last output: {last}" if last else "")


def tail(path: Path, characters: int = 300) -> str:
    """The end of a text file in one line."""
    try:
        text = path.read_bytes()[-8 * characters :].decode(errors="replace")
    except OSError:
        return ""
    return " ".join(text.split())[-characters:]


def kill_session(sid: int, spare: int = 0) -> None:
    """SIGKILL every process of a session and their descendants, and see that they are gone.

    Args:
        sid: the session's id, the pid of its leader.
        spare: a pid that is left alive.
    """
    for _ in range(100):
        alive = _members(sid) - {spare}
        if not alive:
            return
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _members(sid: int) -> set[int]:
    """Living processes of a session, and descendants of theirs that left it."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():  # not Linux: the process group has to do
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(sid, signal.SIGKILL)
        return set()
    parents: dict[int, int] = {}
    members: set[int] = set()
    zombies: set[int] = set()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The command's name, in parentheses, may hold anything.
            state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        pid = int(entry.name)
        parents[pid] = int(parent)
        if state in "ZX":
            zombies.add(pid)
        if int(session) == sid:
            members.add(pid)
    found: Sequence[int] = [*members]
    while found:
        found = [pid for pid, parent in parents.items() if parent in found and pid not in members]
        members.update(found)
    return members - zombies
