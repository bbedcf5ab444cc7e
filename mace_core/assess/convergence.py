"""Whether the potential is good enough: all of these checks must pass."""

from collections.abc import Sequence

from mace_core.assess.check import Assessment, Check, audit, below, bound, mev, streak
from mace_core.assess.exam import exam_held
from mace_core.assess.sample import sample_checks
from mace_core.assess.strata import strata_checks
from mace_core.config.campaign import Config
from mace_core.conventions import MEV


def convergence(history: Sequence[Assessment], config: Config) -> list[Check]:
    """The checks of kind ``convergence``, of generations 0 … g."""
    stop = config.stop
    target, last = stop.target_force_mae * MEV, history[-1]
    high, percent = bound(last), f"{stop.confidence:.0%}"
    run = streak(history, config)
    # Audit frames add up over as long a streak as there is; all else is asked of its end.
    longest = max(run, stop.streak)
    n_audit = sum(audit(record).get("n_frames", 0) for record in history[1:][-longest:])
    window = history[1:][-stop.streak :]
    stable = [(record.get("walkers") or {}).get("stable_fraction") for record in window]
    least = None if not stable or None in stable else min(stable)
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
            run >= stop.streak,
            run,
            stop.streak,
            f"bound below the target in {run} generations in a row, {stop.streak} asked",
        ),
        Check(
            "audit_frames",
            "convergence",
            n_audit >= stop.min_audit_frames,
            n_audit,
            stop.min_audit_frames,
            f"{n_audit} audit frames in the last {longest} generations, "
            f"{stop.min_audit_frames} asked",
        ),
        *sample_checks(window, config),
        Check(
            "stable_md",
            "convergence",
            least is not None and least >= stop.min_stable_fraction,
            least,
            stop.min_stable_fraction,
            "no MD to judge stability by"
            if least is None
            else f"{least:.0%} of walkers stable in the worst of the last {stop.streak} "
            f"generations, {stop.min_stable_fraction:.0%} asked",
        ),
        *strata_checks(history, config),
        _parts("elements", "by_element", _named(last, "dataset", "elements"), last, config),
        _parts("walker_groups", "by_group", _named(last, "walkers", "groups"), last, config),
        *exam_held(last, config),
    ]


def _parts(name: str, key: str, expected: set[str], last: Assessment, config: Config) -> Check:
    """No element, or walker group, left out: each has an error audited in this generation, bounded
    below the limit.
    """
    stop = config.stop
    limit = stop.group_factor * stop.target_force_mae * MEV
    found = audit(last).get(key) or {}
    highs = {part: errors.get("force_mae_high") for part, errors in found.items()}
    left_out = sorted(
        (expected | set(highs)) - {p for p, high in highs.items() if high is not None}
    )
    above = {p: high for p, high in highs.items() if high is not None and not below(high, limit)}
    what = name.replace("_", " ")
    said = []
    if not expected and not highs:
        said.append(f"no {what} were audited")
    if left_out:
        said.append(
            f"too few audit frames in generation {last.get('generation')} for a bound: "
            f"{', '.join(left_out)}"
        )
    if above:
        listed = ", ".join(
            f"{part} {mev(found[part]['force_mae'])} [≤ {mev(high)}]"
            for part, high in sorted(above.items())
        )
        said.append(
            f"upper bound (each holds with {stop.confidence:.0%}) above {mev(limit)} meV/Å: "
            f"{listed}"
        )
    passed = not said
    known = [high for high in highs.values() if high is not None]
    return Check(
        name,
        "convergence",
        passed,
        max(known, default=None),
        limit,
        f"no {what[:-1]}'s upper bound (each holds with {stop.confidence:.0%}) is above "
        f"{mev(limit)} meV/Å"
        if passed
        else "; ".join(said),
        waiting=bool(left_out) and not above,
    )


def _named(record: Assessment, section: str, key: str) -> set[str]:
    return set((record.get(section) or {}).get(key) or ())
