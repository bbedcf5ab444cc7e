"""Labelling a list of frames: what the store lacks is computed, each frame by itself."""

import contextlib
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import (
    CHARGE,
    FRAME_ID,
    LABEL_COMPUTED,
    LABEL_REASON,
    LABEL_RUNG,
    LABEL_SECONDS,
    LABEL_STATUS,
    LABEL_THEORY,
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
    SPIN,
    LabelStatus,
)
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.claims import STALE_AFTER, Claims
from mace_core.label.engines import engine_for
from mace_core.label.host import processor
from mace_core.label.keeping import claim, keep
from mace_core.label.session import START_LIMIT, Session, WorkerDied, WorkerTimeout
from mace_core.label.store import LabelStore, Record
from mace_core.label.theory import engine_version, versions
from mace_core.label.verdict import verdict

#: Output files of failed attempts that are larger than this stay behind (bytes).
KEPT_FILE_SIZE = 20_000_000
#: Of every engine's retry ladder.
FIRST_RUNG = "default"
_WAIT = 0.5  # seconds between looks at frames that others are computing


@dataclass
class Labelled:
    """The outcome of one frame of a call."""

    record: Record
    computed: bool  # by this call


def check_engine(settings: LabellerBase, elements: Iterable[str] = ()) -> None:
    """Whether frames of these elements can be labelled at all: a moment, before any compute.

    Raises:
        UserError: a package is missing, or the engine does not know a setting or an element.
    """
    _check_installed(settings)
    session = Session(threads=1)
    try:
        _start(session, settings, elements)
    finally:
        session.close()


def label_frames(
    frames: Iterable[Atoms],
    settings: LabellerBase,
    store: LabelStore,
    *,
    retry_failed: bool = False,
    threads: int = 1,
    report: Callable[[Collection[Labelled], int], None] = lambda done, total: None,
    stale_after: float = STALE_AFTER,
    rungs: Sequence[str] | None = None,
    scratch: Path | None = None,
) -> list[Labelled]:
    """Label frames, whatever happens to single ones of them.

    Each outcome goes into the store as soon as it is known; what lies there already, converged
    or failed, is not computed again. Any number of calls may work on the same frames at once, on
    any number of machines: each frame is computed by one of them. A record that was damaged since
    it was written is an outcome too.

    Args:
        frames: made canonical here.
        settings: of the labeller.
        store: of that labeller's level of theory.
        retry_failed: compute again what failed before, or was damaged (what is left of the record
            is set aside). Labels in quarantine are finished: they are not computed again.
        threads: of the engine.
        report: called with what is done and the number of different frames, after each frame and
            about once a second: it must not look at all that is done every time.
        stale_after: seconds after which the claim of a process that stopped counts no more.
        rungs: of the engine's retry ladder, in place of all of them.
        scratch: folder in which the attempts run; the system's one for temporary files if None.

    Returns:
        One outcome a frame, in their order.

    Raises:
        UserError: the engine cannot be started, or a label cannot be stored (the disk is full).
    """
    asked = [canonical(atoms) for atoms in frames]
    pending = {atoms.info[FRAME_ID]: atoms for atoms in asked}
    total = len(pending)
    done: dict[str, Labelled] = {}
    earlier: dict[str, Record] = {}  # failures that are to be tried again

    def settled(frame_id: str) -> bool:
        record = store.get(frame_id)
        if record is None or (frame_id in earlier and record.sha256 == earlier[frame_id].sha256):
            return False
        done[frame_id] = Labelled(record, computed=False)
        del pending[frame_id]
        return True

    if retry_failed:
        for frame_id in pending:
            record = store.get(frame_id)
            if record is not None and record.energy is None:
                earlier[frame_id] = record
    if not all([settled(frame_id) for frame_id in list(pending)]):
        _check_installed(settings)

    claims = Claims(store.folder, stale_after)

    def meanwhile() -> None:
        claims.beat()
        report(done.values(), total)

    ladder = engine_for(settings).RUNGS if rungs is None else tuple(rungs)
    bench = _Bench(settings, store, ladder, lambda: Session(threads, meanwhile, scratch))
    try:
        while pending:
            idle = True
            for frame_id in list(pending):
                if settled(frame_id):
                    continue
                if not claim(claims, frame_id, store, len(pending[frame_id])):
                    continue
                idle = False
                store.refresh()
                if not settled(frame_id):  # it may have been written before the claim was ours
                    store.set_aside(frame_id)
                    record = bench.label(pending[frame_id], earlier.get(frame_id))
                    computed = keep(store, record, meanwhile)
                    del pending[frame_id]
                    done[frame_id] = Labelled(store.get(frame_id) or record, computed)
                claims.release(frame_id)
                meanwhile()
            if idle and pending:
                meanwhile()
                time.sleep(_WAIT)
    finally:
        claims.abandon()
        bench.close()
    return [done[atoms.info[FRAME_ID]] for atoms in asked]


def labelled_frame(atoms: Atoms, outcome: Labelled) -> Atoms:
    """A frame with its outcome, as ``label/batch_{b}.extxyz`` holds it.

    Labels that it carried before, of whatever origin, are gone.
    """
    record = outcome.record
    frame = canonical(atoms)
    for key in (REF_ENERGY, REF_STRESS):
        frame.info.pop(key, None)
    frame.arrays.pop(REF_FORCES, None)
    frame.info |= {
        LABEL_STATUS: str(record.status),
        LABEL_REASON: record.reason,
        LABEL_COMPUTED: outcome.computed,
        LABEL_SECONDS: record.wall_seconds,
        LABEL_RUNG: record.rung,
        LABEL_THEORY: f"theory-{record.theory_id}",  # bare hex digits may be read as a number
    }
    if record.converged:
        labels = record.to_atoms()
        frame.info |= {
            key: labels.info[key] for key in (REF_ENERGY, REF_STRESS) if key in labels.info
        }
        frame.arrays[REF_FORCES] = labels.arrays[REF_FORCES]
    return frame


def later_rungs(records: Iterable[Record]) -> dict[str, int]:
    """How many converged labels each later rung of the retry ladder gave."""
    return dict(
        Counter(
            record.rung
            for record in records
            if record.converged and record.attempts and record.attempts[-1]["rung"] != FIRST_RUNG
        )
    )


class _Bench:
    """A worker where there is need of one, replaced when it had to be killed."""

    def __init__(
        self,
        settings: LabellerBase,
        store: LabelStore,
        rungs: Sequence[str],
        start: Callable[[], Session],
    ):
        self.settings, self.store, self.rungs, self.start = settings, store, rungs, start
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
            self.session = self.start()
            _start(self.session, self.settings, ())
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


def _check_installed(settings: LabellerBase) -> None:
    """Raise :class:`UserError` for a package that the engine needs and that is not there."""
    versions(settings)
    for module, package in settings.REQUIRES.items():
        if find_spec(module) is None:
            raise UserError(
                f"labeller.engine: {settings.engine!r} needs the Python module {module!r}, "
                "which is not installed",
                mend=settings.INSTALL or f"pip install {package}",
            )


def _start(session: Session, settings: LabellerBase, elements: Iterable[str]) -> None:
    """Have the worker import and check its engine."""
    job = {"settings": settings.model_dump(mode="json"), "elements": sorted(set(elements))}
    try:
        answer = session.ask(job, START_LIMIT)
    except (WorkerDied, WorkerTimeout) as err:
        raise UserError(
            f"labeller.engine: {settings.engine!r} cannot be started: {err}",
            mend="see whether the engine's package can be imported in this environment",
        ) from err
    if "ready" not in answer:
        raise UserError(answer["what"], where=answer["where"], mend=answer["mend"])


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
