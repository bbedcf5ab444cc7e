"""One label end to end: the real worker, the real ladder, a store that is thrown away."""

import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.conventions import LabelStatus
from mace_core.errors import UserError
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore, Record

#: What to do about a label that failed, by how it did.
_MENDS = {
    LabelStatus.UNCONVERGED: "see whether the structure, its charge and its spin are meant so, or "
    "take labeller settings that converge",
    LabelStatus.TIMEOUT: "raise labeller.time_limit, or take a cheaper level of theory",
    LabelStatus.REJECTED: "see what the engine did to the frame",
    LabelStatus.QUARANTINED: "relax the structure, or raise the limit that the reason names",
    LabelStatus.FAILED: "read the engine's output",
}


@dataclass(frozen=True)
class Trial:
    """What one label cost.

    Attributes:
        n_atoms: of the frame.
        seconds: wall time of the label, all rungs.
        cpu_seconds: of the worker.
        start: seconds to start the worker.
        peak: bytes, of the largest process.
        sentence: all of it for a reader.
    """

    n_atoms: int
    seconds: float
    cpu_seconds: float
    start: float
    peak: float
    sentence: str


def trial_label(config: Config, frames: Sequence[Atoms]) -> Trial:
    """Label the smallest frame.

    Raises:
        UserError: it did not converge; the engine's output is kept, and the message says where.
    """
    frame = min(frames, key=len)
    name = f"{frame.get_chemical_formula()}, {len(frame)} atom{'s' if len(frame) > 1 else ''}"
    folder = Path(tempfile.mkdtemp(prefix="maceloop-doctor-"))
    keep = False
    try:
        store = LabelStore(folder, config.labeller)
        began = time.monotonic()
        (outcome,) = label_frames([frame], config.labeller, store)
        start = max(0.0, time.monotonic() - began - outcome.record.wall_seconds)
        record = outcome.record
        if not record.converged:
            outputs = store.outputs(record.frame_id)
            keep = outputs.is_dir()
            raise UserError(
                f"one label was tried ({name}) and ended as {record.status}: {record.reason}",
                where=f"labeller.engine: {config.labeller.engine}"
                + (f"; what it wrote: {outputs}" if keep else ""),
                mend=_MENDS[LabelStatus(record.status)],
            )
        peak = float(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
        return Trial(
            n_atoms=len(frame),
            seconds=record.wall_seconds,
            cpu_seconds=record.cpu_seconds,
            start=start,
            peak=peak,
            sentence=_sentence(name, record, start, peak),
        )
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _sentence(name: str, record: Record, start: float, peak: float) -> str:
    stress = ", stress" if record.stress is not None else ""
    return (
        f"one label end to end ({name}): energy, forces{stress} in {record.wall_seconds:.2f} s, "
        f"{record.cpu_seconds:.2f} s of CPU, {peak / 1e9:.2f} GB at most; {start:.1f} s to start "
        f"the worker; rung {record.rung}; thrown away"
    )
