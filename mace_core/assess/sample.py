"""Whether the audit is a sample of the potential's MD: complete, long, far from what was learnt.

A bound is that of the frames that were drawn. It says nothing of the potential where labels failed
just on the hard frames, where walks ended at once, or where they did not move.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mace_core.assess.check import Assessment, Check, audit
from mace_core.config.campaign import Config
from mace_core.conventions import FRAME_ID, FrameRole

#: Å; root mean square displacement per atom from where a walk began, below which an audit frame is
#: a training frame again. Thermal motion displaces atoms of stiff solids by 0.05 Å at 300 K.
LEAST_DISPLACEMENT = 0.02


def sample_checks(window: Sequence[Assessment], config: Config) -> list[Check]:
    """The checks, of the generations in the window."""
    checks = [_complete(window, config), _undoubted(window)]
    return checks + [check for check in (_walked(window, config), _moved(window)) if check]


def _complete(window: Sequence[Assessment], config: Config) -> Check:
    """Audit labels that failed, or were set apart, may be those of the hardest frames."""
    drawn = used = 0
    reasons: dict[str, int] = {}
    for record in window:
        n = audit(record).get("n_frames", 0)
        selection = record.get("selection") or {}
        asked = selection.get("audit", n) + selection.get("exam", 0)
        drawn, used = drawn + asked, used + min(n, asked)
        for status, count in (record.get("lost_audit") or {}).items():
            reasons[status] = reasons.get(status, 0) + count
    lost = drawn - used
    share = lost / drawn if drawn else None
    limit = config.stop.max_lost_audit
    why = ", ".join(f"{n} {status}" for status, n in sorted(reasons.items()))
    return Check(
        "audit_complete",
        "convergence",
        share is not None and share <= limit,
        share,
        limit,
        "no audit frame was drawn"
        if share is None
        else f"{used} of {drawn} audit frames have a label that counts, {1 - limit:.0%} asked"
        + (f" ({why}): those that are missing may be the hardest" if lost else ""),
    )


def _undoubted(window: Sequence[Assessment]) -> Check:
    """No audit label in doubt: the bound is without those, and would be a better one than was
    measured if it is the models that are wrong there.
    """
    doubted = [
        entry[FRAME_ID]
        for record in window
        for entry in record.get("quarantine") or []
        if entry["role"] == FrameRole.AUDIT
    ]
    audited = any(audit(record) for record in window)
    return Check(
        "audit_labels",
        "convergence",
        audited and not doubted,
        len(doubted),
        0,
        f"audit labels in quarantine, left out of the bound: {', '.join(doubted)}"
        if doubted
        else "no audit label in quarantine"
        if audited
        else "no audit",
    )


def _walked(window: Sequence[Assessment], config: Config) -> Check | None:
    """Walks that end early say nothing of the MD that was asked for."""
    told = [record.get("walkers") or {} for record in window]
    if not any(walkers.get("steps_asked") for walkers in told):
        return None  # assessed by an earlier version
    asked = sum(walkers.get("steps_asked") or 0 for walkers in told)
    done = sum(walkers.get("steps_done") or 0 for walkers in told)
    share, limit = (done / asked if asked else 0.0), config.stop.min_walked
    ends: dict[str, int] = {}
    for walkers in told:
        for end, n in (walkers.get("ends") or {}).items():
            ends[end] = ends.get(end, 0) + n
    listed = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    return Check(
        "walked",
        "convergence",
        share >= limit,
        share,
        limit,
        f"walkers did {share:.0%} of the MD steps asked for, at least {limit:.0%} needed "
        f"(ends: {listed})",
    )


def _moved(window: Sequence[Assessment]) -> Check | None:
    """Audit frames must have left the training frames from which their walks began."""
    found: list[Any] = [
        row["displacement"]
        for record in window
        for row in record.get("audit_frames") or []
        if row.get("displacement") is not None
    ]
    if not found:
        return None
    median = float(np.median(found))
    time = [(record.get("walkers") or {}).get("time_fs") for record in window]
    n = sum((record.get("walkers") or {}).get("n", 0) for record in window)
    walked = "" if None in time or not n else f", walks lasted {_fs(sum(time) / n)} in the mean"
    return Check(
        "moved",
        "convergence",
        median >= LEAST_DISPLACEMENT,
        median,
        LEAST_DISPLACEMENT,
        f"audit frames are {median:.2g} Å (median displacement per atom) from the training frame "
        f"where their walk began, at least {LEAST_DISPLACEMENT:g} needed{walked}"
        + ("" if median >= LEAST_DISPLACEMENT else ": see explore.timestep and explore.steps"),
    )


def _fs(time: float) -> str:
    return f"{time:.3g} fs" if time < 1000 else f"{time:.0f} fs"
