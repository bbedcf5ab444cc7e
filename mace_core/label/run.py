"""Labelling a list of frames: what the store lacks is computed, each frame by itself."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import (
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
)
from mace_core.frames import canonical
from mace_core.label.claims import STALE_AFTER, Claims
from mace_core.label.engines import Guess, engine_for
from mace_core.label.keeping import claim, keep
from mace_core.label.ladder import Ladder
from mace_core.label.session import Session
from mace_core.label.start import check_installed
from mace_core.label.store import LabelFolder, Record

_WAIT = 0.5  # seconds between looks at frames that others are computing


@dataclass
class Labelled:
    """The outcome of one frame of a call."""

    record: Record
    computed: bool  # by this call


def label_frames(
    frames: Iterable[Atoms],
    settings: LabellerBase,
    store: LabelFolder,
    *,
    retry_failed: bool = False,
    threads: int = 1,
    report: Callable[[Collection[Labelled], int], None] = lambda done, total: None,
    stale_after: float = STALE_AFTER,
    rungs: Sequence[str] | None = None,
    scratch: Path | None = None,
    guess: Guess = Guess.USUAL,
) -> list[Labelled]:
    """Label frames, whatever happens to single ones of them.

    Each outcome goes into the store as soon as it is known; what lies there already, converged
    or failed, is not computed again. Any number of calls may work on the same frames at once, on
    any number of machines: each frame is computed by one of them. A record that was damaged since
    it was written is an outcome too.

    Args:
        frames: made canonical here.
        settings: of the labeller.
        store: of that labeller's level of theory; its ``rechecks`` for another guess.
        retry_failed: compute again what failed before, or was damaged (what is left of the record
            is set aside). Labels in quarantine are finished: they are not computed again.
        threads: of the engine.
        report: called with what is done and the number of different frames, after each frame and
            about once a second: it must not look at all that is done every time.
        stale_after: seconds after which the claim of a process that stopped counts no more.
        rungs: of the engine's retry ladder, in place of all of them.
        scratch: folder in which the attempts run; the system's one for temporary files if None.
        guess: from what the SCF starts.

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
        check_installed(settings)

    claims = Claims(store.folder, stale_after)

    def meanwhile() -> None:
        claims.beat()
        report(done.values(), total)

    rungs = engine_for(settings).RUNGS if rungs is None else tuple(rungs)
    ladder = Ladder(settings, store, rungs, lambda: Session(threads, meanwhile, scratch), guess)
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
                    record = ladder.label(pending[frame_id], earlier.get(frame_id))
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
        ladder.close()
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
