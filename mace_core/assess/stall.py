"""Whether the loop still gets anywhere: progress of the audited error, and candidates."""

from collections.abc import Sequence

from mace_core.assess.check import Assessment, Check, audit, bound, mev
from mace_core.assess.convergence import convergence
from mace_core.config.campaign import Config
from mace_core.conventions import MEV


def stalls(
    without_progress: int, without_candidates: int, history: Sequence[Assessment], config: Config
) -> list[Check]:
    allowed = config.stop.stall_generations
    return [
        Check(
            "progress",
            "stall",
            without_progress < allowed,
            without_progress,
            allowed,
            f"{without_progress} generations in a row in which the audited force MAE and its upper "
            f"bound did not fall by {config.stop.stall_improvement:.0%}, {allowed} make a stall",
        ),
        Check(
            "candidates",
            "stall",
            without_candidates < allowed,
            without_candidates,
            allowed,
            _candidates(without_candidates, history[-1], config),
        ),
    ]


def _candidates(without: int, last: Assessment, config: Config) -> str:
    if without:
        return (
            f"NO CANDIDATES in {without} generations in a row "
            f"({config.stop.stall_generations} make a stall); {_why(last, config)}"
        )
    if (last.get("selection") or {}).get("candidates") == 0:
        return "the last generation found no candidates, and waits for none"
    return "the last generation found candidates"


def _why(last: Assessment, config: Config) -> str:
    """Why the last generation had no candidates, and what to change, by the same cause."""
    nothing = (last.get("selection") or {}).get("no_candidates")
    lower = config.select.window[0]
    if nothing is None:  # written before the cause was
        return f"see how its walks ended, and what they visited below select.window [{lower:g}, …]"
    said = f"in the last one {nothing['message']}"
    high = bound(last)
    if nothing["cause"] == "below_window" and high is not None and high > lower * MEV:
        said += (
            f", although the error is up to {mev(high)} meV/Å: the committee is surer of itself "
            "than it may be"
        )
    return f"{said}; {nothing['mend']}"


def idle(history: Sequence[Assessment], config: Config) -> tuple[int, int]:
    """Generations in a row without progress, and without candidates.

    Progress: the audited error, or its upper bound, fell by ``stall_improvement`` since the last
    progress. The bound counts because it is what must pass the target, and because an
    early estimate that was low by luck has a wide bound: it must not make later ones look like a
    stall. A generation that only waits for a longer streak, for more audit frames, or for audit
    labels that nobody doubts, counts as neither.
    """
    keep = 1 - config.stop.stall_improvement
    reference: tuple[float, float | None] | None = None
    without_progress = without_candidates = 0
    for g in range(1, len(history)):
        record = history[g]
        mae, high = audit(record).get("force_mae"), bound(record)
        checks = record.get("checks") or [
            c.to_json() for c in convergence(history[: g + 1], config)
        ]
        waits = all(
            check["passed"] or check.get("waiting") or check["name"] in _WAITING
            for check in checks
            if check["kind"] == "convergence"
        )
        empty = (record.get("selection") or {}).get("candidates") == 0
        without_candidates = without_candidates + 1 if empty and not waits else 0
        if mae is None:
            without_progress += 1
            continue
        if reference is None or waits or _fell(mae, high, reference, keep):
            without_progress = 0
            reference = (mae, high) if reference is None else _lower(mae, high, reference)
        else:
            without_progress += 1
    return without_progress, without_candidates


#: Checks that more of the same passes: a generation that waits for them alone is not idle.
_WAITING = ("streak", "audit_frames", "audit_labels", "audit_complete", "strata_measured", "exam")


def _fell(mae: float, high: float | None, before: tuple[float, float | None], keep: float) -> bool:
    pairs = [(mae, before[0])]
    if high is not None and before[1] is not None:
        pairs.append((high, before[1]))
    return any(now < then and now <= keep * then for now, then in pairs)


def _lower(mae: float, high: float | None, before: tuple[float, float | None]):
    highs = [value for value in (high, before[1]) if value is not None]
    return min(mae, before[0]), min(highs, default=None)
