"""The same label again: after another frame, beside another run, by a later rung."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mace_core.label.conformance import tolerances as t
from mace_core.label.conformance.derivatives import moved
from mace_core.label.conformance.findings import Finding, failed, judged, ok, skipped
from mace_core.label.conformance.probe import Probe, Subject
from mace_core.label.engines import engine_for
from mace_core.label.store import Record

_NOISE = "fix random seeds and tighten the SCF; many threads can do this too: try one"


def determinism(subject: Subject, probe: Probe) -> Finding:
    """The same frame, by another worker."""
    (again,) = probe.labels([subject.frame], anew=True)
    return repeated([subject.label], [again], "labelled twice", _NOISE)


def history(subject: Subject, probe: Probe) -> Finding:
    """The same frame, by a worker that labelled another one before."""
    _, again = probe.labels([_others(subject, 1)[0], subject.frame], anew=True)
    return repeated(
        [subject.label],
        [again],
        "labelled after another frame",
        "start each frame from a fresh guess, in its own folder: keep no density, no wave function "
        "and no calculator from the frame before",
    )


def parallel(subject: Subject, probe: Probe) -> Finding:
    """Two runs at once from one directory, each with two frames of its own."""
    frames = [subject.frame, *_others(subject, 3)]
    alone = [subject.label, *(probe.labels([atoms], anew=True)[0] for atoms in frames[1:])]
    before = set(os.listdir())
    store = probe.new_folder()
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(probe.outcomes, frames[n::2], store=store) for n in (0, 1)]
        (a, c), (b, d) = (run.result() for run in runs)
    together = [a, b, c, d]
    mend = (
        "let it write in its current directory, which is a new one for each attempt, or under "
        "unique names"
    )
    for record in together:
        if not record.converged:
            return failed(
                f"with two runs at once a frame ended {record.status}: {record.reason}", mend
            )
    finding = repeated(alone, together, "two runs at once", mend)
    left = sorted(set(os.listdir()) - before)
    if left and finding.verdict == "ok":
        return failed(
            f"it wrote into the folder where maceloop was started: {', '.join(left[:3])}", mend
        )
    return finding


def ladder(subject: Subject, probe: Probe) -> Finding:
    """Every rung of the retry ladder comes to the same label."""
    rungs = engine_for(probe.settings).RUNGS
    if len(rungs) == 1:
        return skipped("one rung: nothing is tried where the SCF does not converge")
    seen, not_converged = [], []
    for rung in rungs[1:]:
        (record,) = probe.outcomes([subject.frame], rungs=[rung])
        if record.converged:
            seen.append(record)
        else:
            not_converged.append(f"{rung} ended {record.status} ({record.reason})")
    if not seen:
        return failed(
            f"no later rung converged: {'; '.join(not_converged)}",
            "a later rung has to be gentler than the one before",
        )
    energy = max(abs(r.energy - subject.label.energy) for r in seen) / len(subject.frame)
    return judged(
        energy,
        t.RUNG_ENERGY,
        "eV/atom",
        f"{', '.join(r.rung for r in seen)} against {subject.label.rung}"
        + "".join(f"; {words}" for words in not_converged),
        "a later rung comes to another energy: "
        + ", ".join(f"{r.rung} {r.energy - subject.label.energy:+.2g} eV" for r in seen),
        "a rung may change the way to the solution, never the level of theory; or the frame has "
        "two solutions",
    )


def repeated(first: Sequence[Record], second: Sequence[Record], how: str, mend: str) -> Finding:
    """Whether labels are those that the same frames had before."""
    pairs = list(zip(first, second, strict=True))
    if all(a.energy == b.energy and a.forces == b.forces for a, b in pairs):
        return ok(f"{how}: every bit the same", value=0.0, unit="eV/atom")
    energy = max(abs(a.energy - b.energy) / len(a.numbers) for a, b in pairs)
    force = max(np.abs(np.array(a.forces) - np.array(b.forces)).max() for a, b in pairs)
    if force > t.REPEATED_FORCE:
        return failed(
            f"{how}: forces differ (and the energy by {energy:.1g} eV/atom)",
            mend,
            value=float(force),
            limit=t.REPEATED_FORCE,
            unit="eV/Å",
        )
    return judged(
        energy,
        t.REPEATED_ENERGY,
        "eV/atom",
        f"{how}; forces within {force:.1g} eV/Å",
        f"{how}: the energy differs",
        mend,
    )


def _others(subject: Subject, n: int) -> list:
    """Other frames, near the subject."""
    rng = np.random.default_rng(5)
    shape = subject.frame.positions.shape
    return [moved(subject.frame, rng.normal(0, 0.03, shape)) for _ in range(n)]
