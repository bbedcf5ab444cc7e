"""What goes wrong in every long campaign, provoked: how does it look as a label?"""

import time
from pathlib import Path

import numpy as np
import psutil

from mace_core.conventions import LabelStatus
from mace_core.errors import UserError
from mace_core.label.conformance import tolerances as t
from mace_core.label.conformance.derivatives import moved
from mace_core.label.conformance.findings import Finding, Verdict, failed, ok, skipped
from mace_core.label.conformance.probe import Probe, Subject
from mace_core.label.conformance.repeats import repeated
from mace_core.label.conformance.watch import left_running, programs, small_disk, watched
from mace_core.label.start import check_engine
from mace_core.label.store import Record

_NOTHING_LEFT = (
    "start programs as plain children: what forks away from its parent and its session survives "
    "time limits and killed jobs"
)


def unconverged(subject: Subject, probe: Probe) -> Finding:
    """An SCF that is not given the steps it needs."""
    short = probe.settings.unconverging()
    if probe.unconverged is not None:
        (record,) = probe.outcomes([probe.unconverged])
        what = "the frame stated as one that does not converge"
    elif short is not None:
        (record,) = probe.outcomes([subject.frame], short)
        what = "an SCF of one step"
    else:
        return skipped(
            "this engine cannot be told to stop early: give a frame whose SCF does not converge "
            "by --unconverged FILE.extxyz"
        )
    if record.status == LabelStatus.UNCONVERGED:
        return ok(f"{what}: {_tried(record)}")
    if record.converged:
        if len(record.attempts) > 1 and record.frame_id == subject.label.frame_id:
            # The first rung said so, and a later one had steps enough.
            difference = abs(record.energy - subject.label.energy) / len(subject.frame)
            if difference <= t.RUNG_ENERGY:
                numbers = {"value": difference, "limit": t.RUNG_ENERGY, "unit": "eV/atom"}
                return ok(f"{what}: {_tried(record)}, to the same energy", **numbers)
        return failed(
            f"{what} was labelled as converged (energy {record.energy:.6f} eV)",
            "see in the program's output whether its SCF converged, and say so: NotConverged, "
            "ASE's SCFError, an exit code, label_status=unconverged",
        )
    return failed(
        f"{what} ended {record.status} ({record.reason}), not unconverged: the retry ladder is "
        "not climbed",
        "tell an SCF that did not converge from other errors",
    )


def killed(subject: Subject, probe: Probe) -> Finding:
    """The program, then the worker, killed in the midst of a label."""
    seen = []
    # A quick engine may be done before the watching side is scheduled, and many start no program.
    for victim, tries in (("program", 1), ("worker", t.TRIES)):
        frames = _interrupted_frames(subject)
        shots: list[str] = []

        def shoot(worker: psutil.Process, scratch: Path, victim=victim, shots=shots) -> bool:
            if not _under_way(subject, scratch):
                return False
            target = worker
            if victim == "program":
                started = programs(worker)
                if not started:
                    return False
                target = started[-1]
            shots.append(target.name())
            target.kill()
            return True

        for _ in range(tries):
            records, scratch = watched(probe, frames, shoot)
            if shots:
                break
        else:
            continue
        finding = _after_interruption(records, scratch, f"{victim} killed", (LabelStatus.FAILED,))
        if finding.verdict != Verdict.OK:
            return finding
        seen.append(f"{victim}: {finding.message}")
    if not seen:
        return skipped("it was done before it could be killed")
    return ok("; ".join(seen))


def time_limit(subject: Subject, probe: Probe) -> Finding:
    """A label that may take less time than it needs."""
    limit = 0.4 * subject.seconds if subject.seconds > t.LONG else 1e-6
    hasty = probe.settings.model_copy(update={"time_limit": limit})
    # A quick engine may have its answer ready before the waiting side is scheduled again.
    for _ in range(t.TRIES):
        started = time.monotonic()
        records, scratch = watched(probe, [subject.frame], lambda *_: True, settings=hasty)
        seconds = time.monotonic() - started
        if not records[0].converged:
            break
    else:
        return skipped(f"it was done within {limit:.2g} s, {t.TRIES} times")
    finding = _after_interruption(
        records, scratch, f"{limit:.2g} s allowed", (LabelStatus.TIMEOUT,)
    )
    return (
        ok(f"{finding.message}; over after {seconds:.1f} s")
        if finding.verdict == Verdict.OK
        else finding
    )


def full_disk(subject: Subject, probe: Probe) -> Finding:
    """No room for what the program writes: no label, or the right one."""
    seen = []
    for size in t.DISKS[1:2] if probe.quick else t.DISKS:
        with small_disk(probe, size) as (folder, interfere, kind):
            (record,), _ = watched(probe, [subject.frame], interfere, scratch=folder)
        if record.converged:
            again = repeated([subject.label], [record], "", "")
            if again.verdict != Verdict.OK:
                return failed(
                    f"on a full {kind} ({size} bytes) it returned a label, and a wrong one "
                    f"(energy off by {record.energy - subject.label.energy:.3g} eV)",
                    "let an error of writing end the program: do not catch OSError, and see "
                    "whether its files are whole before you read them",
                )
            seen.append(f"{size} bytes: needs no more, label right")
        elif record.status == LabelStatus.TIMEOUT:
            return failed(
                f"on a full {kind} ({size} bytes) it hangs until the time limit",
                "let an error of writing end the program",
            )
        else:
            seen.append(f"{size} bytes: {record.status}, {_short(record.reason)}")
    return ok(f"{kind} of " + "; of ".join(seen))


def ingredient(subject: Subject, probe: Probe) -> Finding:
    """A basis set, pseudopotential or program that is not there is named before any compute."""
    lacking = probe.settings.lacking()
    if lacking is None:
        return skipped("this engine reads no basis set, pseudopotential or program by name")
    settings, what = lacking
    elements = subject.frame.get_chemical_symbols()
    try:
        check_engine(settings, elements)
    except UserError as err:
        if err.mend:
            return ok(f"{what}: {_short(err.what)}")
        return failed(f"{what}: {err.what}, and not how to mend it", "have check() say it")
    return failed(
        f"{what} was noticed by nobody before compute", "have the engine's check() look for it"
    )


def _interrupted_frames(subject: Subject) -> list:
    """The frame, or many like it where one is done before it can be hit."""
    if subject.seconds > t.LONG:
        return [subject.frame]
    rng = np.random.default_rng(6)
    shape = subject.frame.positions.shape
    return [moved(subject.frame, rng.normal(0, 0.02, shape)) for _ in range(t.MANY)]


def _under_way(subject: Subject, scratch: Path) -> bool:
    """Whether an attempt has run for a while."""
    attempts = list(scratch.glob("maceloop-label-*/*-*/"))
    if not attempts or subject.seconds <= t.LONG:
        return bool(attempts)
    return time.time() - attempts[0].stat().st_ctime > min(0.4 * subject.seconds, 10.0)


def _after_interruption(
    records: list[Record], scratch: Path, how: str, expected: tuple[LabelStatus, ...]
) -> Finding:
    hit = [record for record in records if not record.converged]
    alive = left_running(scratch)
    if alive:
        return failed(f"{how}: still running afterwards: {', '.join(alive[:3])}", _NOTHING_LEFT)
    if not hit:
        return failed(
            f"{how}: labelled as converged all the same",
            "see the program's exit code, and whether its output is whole",
        )
    if len(hit) > 1:
        return failed(
            f"{how}: {len(hit)} frames of {len(records)} lost, not one",
            "keep nothing on disk that the next attempt trips over",
        )
    if hit[0].status not in expected:
        return failed(
            f"{how}: ended {hit[0].status} ({hit[0].reason}), not {' or '.join(expected)}",
            "tell a program that was killed from an SCF that did not converge",
        )
    spared = len(records) - 1
    return ok(
        f"{hit[0].status}, {_short(hit[0].reason)}, nothing left running"
        + (f", {spared} other frames labelled" if spared else "")
    )


def _tried(record: Record) -> str:
    return ", ".join(f"{a['rung']} {a['status']}" for a in record.attempts) + (
        f" ({_short(record.reason)})" if record.reason else ""
    )


def _short(text: str, n: int = 110) -> str:
    text = " ".join(text.split())
    return text if len(text) <= n else text[: n - 1] + "…"
