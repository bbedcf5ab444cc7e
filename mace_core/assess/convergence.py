"""Whether the potential is good enough: all of these checks must pass."""

from collections.abc import Sequence

from mace_core.assess.check import Assessment, Check, audit, below, bound, mev
from mace_core.config.campaign import Config
from mace_core.conventions import MEV, FrameRole


def convergence(history: Sequence[Assessment], config: Config) -> list[Check]:
    stop = config.stop
    target, last = stop.target_force_mae * MEV, history[-1]
    high, percent = bound(last), f"{stop.confidence:.0%}"
    streak = 0
    for record in reversed(history[1:]):
        if not below(bound(record), target):
            break
        streak += 1
    # Audit frames add up over as long a streak as there is; all else is asked of its end.
    n_audit = sum(
        audit(record).get("n_frames", 0) for record in history[1:][-max(streak, stop.streak) :]
    )
    window = history[1:][-stop.streak :]
    stable = [(record.get("walkers") or {}).get("stable_fraction") for record in window]
    least = None if not stable or None in stable else min(stable)
    limit = stop.group_factor * target
    if high is None:
        said = f"{audit(last).get('n_frames', 0)} audit frames give no bound of the force MAE"
    else:
        mae = mev(audit(last)["force_mae"])
        said = f"audited force MAE {mae} meV/Å, at most {mev(high)} ({percent})"
    return [
        Check(
            "target_bound",
            "convergence",
            below(high, target),
            high,
            target,
            f"{said}, target {stop.target_force_mae:g}",
        ),
        Check(
            "streak",
            "convergence",
            streak >= stop.streak,
            streak,
            stop.streak,
            f"bound below the target in {streak} generations in a row, {stop.streak} asked",
        ),
        Check(
            "audit_frames",
            "convergence",
            n_audit >= stop.min_audit_frames,
            n_audit,
            stop.min_audit_frames,
            f"{n_audit} audit frames in the last {max(streak, stop.streak)} generations, "
            f"{stop.min_audit_frames} asked",
        ),
        Check(
            "stable_md",
            "convergence",
            least is not None and least >= stop.min_stable_fraction,
            least,
            stop.min_stable_fraction,
            "no MD to judge stability by"
            if least is None
            else f"{least:.0%} of walkers stable in the worst of the last {stop.streak}, "
            f"{stop.min_stable_fraction:.0%} asked",
        ),
        _undoubted(last),
        _parts("elements", "by_element", _expected(window, "dataset", "elements"), window, limit),
        _parts("walker_groups", "by_group", _expected(window, "walkers", "groups"), window, limit),
    ]


def _undoubted(last: Assessment) -> Check:
    """No label of the newest audit in doubt: the bound is without those, and would be a better one
    than was measured if it is the models that are wrong there.
    """
    doubted = [e["frame_id"] for e in last.get("quarantine") or [] if e["role"] == FrameRole.AUDIT]
    return Check(
        "audit_labels",
        "convergence",
        bool(audit(last)) and not doubted,
        len(doubted),
        0,
        f"audit labels in quarantine, left out of the bound: {', '.join(doubted)}"
        if doubted
        else "no audit label in quarantine"
        if audit(last)
        else "no audit",
    )


def _parts(
    name: str, key: str, expected: set[str], window: Sequence[Assessment], limit: float
) -> Check:
    """No element, or walker group, left out: each has an audited error, bounded below the limit.

    The value is the largest of the parts' bounds, each the mean over the generations' bounds
    weighted by what they rest on: conservative, as the error of all of them together has a tighter
    one.
    """
    bounds: dict[str, list[tuple[int, float]]] = {part: [] for part in expected}
    for record in window:
        for part, errors in (audit(record).get(key) or {}).items():
            rows = bounds.setdefault(part, [])
            if errors.get("force_mae_high") is not None:
                rows.append((errors["n"], errors["force_mae_high"]))
    worst = {
        part: sum(n * high for n, high in rows) / sum(n for n, _ in rows)
        for part, rows in bounds.items()
        if rows
    }
    left_out = sorted(set(bounds) - set(worst))
    above = {part: high for part, high in worst.items() if not below(high, limit)}
    what = name.replace("_", " ")
    said = []
    if not bounds:
        said.append(f"no {what} were audited")
    if left_out:
        said.append(f"too few audit frames for a bound: {', '.join(left_out)}")
    if above:
        listed = ", ".join(f"{part} {mev(high)}" for part, high in sorted(above.items()))
        said.append(f"above {mev(limit)} meV/Å: {listed}")
    passed = not said
    return Check(
        name,
        "convergence",
        passed,
        max(worst.values(), default=None),
        limit,
        f"no {what[:-1]} above {mev(limit)} meV/Å" if passed else ", ".join(said),
    )


def _expected(window: Sequence[Assessment], section: str, key: str) -> set[str]:
    return {part for record in window for part in (record.get(section) or {}).get(key) or ()}
