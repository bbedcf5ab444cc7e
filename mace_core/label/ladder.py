"""One frame on an engine: the rungs of its retry ladder, in a worker that may die."""

import contextlib
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import CHARGE, FRAME_ID, SPIN, LabelStatus
from mace_core.label.engines import Guess
from mace_core.label.host import processor
from mace_core.label.session import Session, WorkerDied, WorkerTimeout
from mace_core.label.start import start
from mace_core.label.store import LabelFolder, Record
from mace_core.label.theory import engine_version
from mace_core.label.verdict import verdict

#: Output files of failed attempts that are larger than this stay behind (bytes).
KEPT_FILE_SIZE = 20_000_000
#: Of every engine's retry ladder.
FIRST_RUNG = "default"


class Ladder:
    """A worker where there is need of one, replaced when it had to be killed.

    Args:
        settings: of the labeller.
        store: where failed attempts' outputs are kept.
        rungs: to be climbed.
        new_session: makes a worker.
        guess: from what the SCF starts, on every rung.
    """

    def __init__(
        self,
        settings: LabellerBase,
        store: LabelFolder,
        rungs: Sequence[str],
        new_session: Callable[[], Session],
        guess: Guess = Guess.USUAL,
    ):
        self.settings, self.store, self.rungs = settings, store, rungs
        self.new_session, self.guess = new_session, guess
        self.session: Session | None = None

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None

    def label(self, frame: Atoms, earlier: Record | None) -> Record:
        """Climb the retry ladder until a rung converges or fails for good."""
        attempts: list[dict[str, Any]] = []
        folders: list[Path] = []
        outcome: dict[str, Any] = {}
        cpu_seconds = 0.0
        for rung in self.rungs:
            session = self._session()
            folder = session.scratch / f"{frame.info[FRAME_ID]}-{rung}"
            folder.mkdir()
            folders.append(folder)
            started, cpu_before = time.monotonic(), session.cpu_seconds()
            status, reason, outcome, cpu_after = self._attempt(session, frame, rung, folder)
            seconds = time.monotonic() - started
            cpu_seconds += max(0.0, cpu_after - cpu_before)
            reason = _one_line(reason)
            attempts.append(
                {
                    "rung": rung,
                    "status": str(status),
                    "reason": reason,
                    "seconds": round(seconds, 3),
                    **({} if self.guess == Guess.USUAL else {"guess": str(self.guess)}),
                }
            )
            if status != LabelStatus.UNCONVERGED:
                break
        if status != LabelStatus.CONVERGED:
            outcome = {}
            self._keep(frame.info[FRAME_ID], folders)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        wall_seconds = sum(attempt["seconds"] for attempt in attempts)
        core_seconds = session.threads * wall_seconds
        if earlier is not None:
            attempts = [*earlier.attempts, *attempts]
            cpu_seconds += earlier.cpu_seconds
            wall_seconds += earlier.wall_seconds
            # Records of format 1 do not say how many threads they had.
            core_seconds += earlier.core_seconds or earlier.wall_seconds
        return Record.of_frame(
            frame,
            self.store.theory_id,
            status=str(status),
            reason=reason,
            energy=outcome.get("energy"),
            forces=outcome.get("forces"),
            stress=outcome.get("stress"),
            rung=rung,
            attempts=attempts,
            wall_seconds=round(wall_seconds, 3),
            cpu_seconds=round(cpu_seconds, 3),
            threads=session.threads,
            core_seconds=round(core_seconds, 3),
            engine_version=engine_version(self.settings),
            host=socket.gethostname(),
            processor=processor(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _attempt(self, session: Session, frame: Atoms, rung: str, folder: Path):
        """Status, reason, the engine's answer, and the worker's CPU seconds so far."""
        job = {
            "directory": str(folder),
            "rung": rung,
            "guess": str(self.guess),
            "numbers": frame.numbers.tolist(),
            "positions": frame.positions.tolist(),
            "cell": frame.cell[:].tolist(),
            "pbc": frame.pbc.tolist(),
            "charge": frame.info[CHARGE],
            "spin": frame.info[SPIN],
        }
        try:
            answer = session.ask(job, self.settings.time_limit)
        except WorkerTimeout as err:
            return LabelStatus.TIMEOUT, str(err), {}, session.cpu_at_end
        except WorkerDied as err:
            return LabelStatus.FAILED, str(err), {}, session.cpu_at_end
        if answer["status"] != "computed":
            return LabelStatus(answer["status"]), answer["reason"], {}, session.cpu_seconds()
        status, reason = verdict(answer, frame)
        return status, reason, answer, session.cpu_seconds()

    def _session(self) -> Session:
        if self.session is not None and self.session.ended:
            self.close()
        if self.session is None:
            self.session = self.new_session()
            start(self.session, self.settings, ())
        return self.session

    def _keep(self, frame_id: str, folders: list[Path]) -> None:
        """Keep the outputs of failed attempts in the store, for a person to read."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        for folder in folders:
            if not any(path.stat().st_size for path in folder.rglob("*") if path.is_file()):
                continue
            rung = folder.name.removeprefix(f"{frame_id}-")
            # For people only: what cannot be copied (a full disk) must not cost the record.
            with contextlib.suppress(OSError):
                shutil.copytree(
                    folder,
                    self.store.outputs(frame_id) / f"{stamp}-{rung}",
                    ignore=_large,
                    dirs_exist_ok=True,
                )


def later_rungs(records: Iterable[Record]) -> dict[str, int]:
    """How many converged labels each later rung of the retry ladder gave."""
    return dict(
        Counter(
            record.rung
            for record in records
            if record.converged and record.attempts and record.attempts[-1]["rung"] != FIRST_RUNG
        )
    )


def _large(folder: str, names: list[str]) -> list[str]:
    """Names that :func:`shutil.copytree` leaves out: large files, links, pipes."""

    def kept(path: Path) -> bool:
        if path.is_symlink():
            return False
        return path.is_dir() or (path.is_file() and path.stat().st_size <= KEPT_FILE_SIZE)

    return [name for name in names if not kept(Path(folder) / name)]


def _one_line(reason: str) -> str:
    """Text that survives an extxyz comment line."""
    text = " ".join(reason.replace('"', "'").replace("\\", "/").split())
    return text if len(text) <= 500 else text[:497] + "..."
