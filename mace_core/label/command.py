"""`maceloop label`: a file of frames in, a file of labelled frames out."""

import signal
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from mace_core.config import load_settings
from mace_core.config.labellers import LabellerBase
from mace_core.conventions import LabelStatus
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.ladder import later_rungs
from mace_core.label.run import Labelled, label_frames, labelled_frame
from mace_core.label.store import LabelStore
from mace_core.label.theory import versions
from mace_core.progress import Progress
from mace_core.storage import read_json


def label_file(
    frames: Path,
    config: Path,
    out: Path,
    store: Path | None = None,
    batch: str | None = None,
    *,
    retry_failed: bool = False,
    threads: int = 1,
) -> None:
    """Label a file, or every N-th frame of it (``batch`` = "b/N"), and write ``out``.

    Raises:
        UserError: it could not work at all. Frames that failed raise nothing.
    """
    settings = load_settings(config)
    asked = read_frames(frames, _slice(batch))
    labels = LabelStore(store or settings.campaign.label_store, settings.labeller)
    _check_planned(config, settings.labeller, labels)
    # A scheduler's SIGTERM ends it as Ctrl-C does: the worker is stopped, the claims are let go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Progress(_title(config, batch), len(asked), "frame") as progress:
        outcomes = label_frames(
            asked,
            settings.labeller,
            labels,
            retry_failed=retry_failed,
            threads=threads,
            report=lambda done, _: progress.update(len(done), lambda: _tally(done)),
        )
        progress.line(f"{len(asked)} frames", _tally(outcomes))
    labelled = [
        labelled_frame(atoms, outcome) for atoms, outcome in zip(asked, outcomes, strict=True)
    ]
    write_frames(out, labelled)


def _title(config: Path, batch: str | None) -> str:
    """E.g. ``gen 2 · labels 0/4``: the generation is known from a plan."""
    generation = read_json(config)["generation"] if config.suffix == ".json" else None
    return ("" if generation is None else f"gen {generation} · ") + f"labels {batch or ''}".strip()


def _tally(done: Collection[Labelled]) -> str:
    """What a reader would not expect, e.g. ``2 from the store · 1 timeout``."""
    counts = Counter(str(outcome.record.status) for outcome in done)
    counts.pop(LabelStatus.CONVERGED, None)
    stored = sum(not outcome.computed for outcome in done)
    parts = [f"{stored} from the store"] if stored else []
    parts += [f"{n} {status}" for status, n in sorted(counts.items())]
    rungs = later_rungs(outcome.record for outcome in done)
    return " · ".join(parts + [f"{n} by rung {rung}" for rung, n in sorted(rungs.items())])


def _slice(batch: str | None) -> str:
    """As an index of frames: only these are read, where a hundred batches share a long file."""
    if batch is None:
        return ":"
    first, _, step = batch.partition("/")
    if not (first.isdecimal() and step.isdecimal() and int(first) < int(step)):
        raise UserError(f"--batch {batch!r} is no b/N with 0 ≤ b < N", mend="e.g. --batch 0/4")
    return f"{int(first)}::{int(step)}"


def _check_planned(config: Path, settings: LabellerBase, labels: LabelStore) -> None:
    """Labels of one campaign come from one level of theory, program versions included."""
    planned = read_json(config).get("theory") if config.suffix == ".json" else None
    if planned in (None, labels.theory_id):
        return
    installed = ", ".join(f"{k}=={v}" for k, v in versions(settings).items())
    raise UserError(
        f"this generation was planned at level of theory {planned}; with {installed} it would be "
        f"{labels.theory_id}, and their labels must not be mixed",
        where=str(config),
        mend=f"install the versions in {labels.folder.parent / planned / 'theory.json'}, "
        "or start a new campaign",
    )
