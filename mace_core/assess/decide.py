"""The stop rule: what a campaign's assessments, and the configuration, say about going on.

A pure function of the assess dicts (docs/contracts.md) of generations 0 … g. It is evaluated again
with the present configuration whenever the workflow asks what is next, so that a raised limit, or
a lower target, lets a finished campaign go on. Imports nothing heavy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mace_core.config.campaign import Config
from mace_core.conventions import MEV, Outcome

Assessment = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One question of the stop rule.

    Attributes:
        name: of the check.
        kind: ``convergence`` (all must pass to converge), ``limit`` (one that fails spends the
            budget), or ``stall`` (one that fails is a stall).
        passed: the answer.
        value: what was measured; errors in eV/Å.
        limit: what it is held against, in the same unit.
        message: both in a reader's words.
    """

    name: str
    kind: str
    passed: bool
    value: Any
    limit: Any
    message: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Decision:
    """What comes after a generation, and why."""

    outcome: Outcome
    reason: str
    checks: list[Check] = field(default_factory=list)
    generations_without_progress: int = 0


def decide(history: Sequence[Assessment], config: Config, new_data: Sequence[str] = ()) -> Decision:
    """What the assessments of generations 0 … g say about generation g + 1.

    Converged comes before a spent budget, and that before a stall.

    Args:
        history: assess dicts of generations 0 … g, in order.
        config: limits and targets.
        new_data: labelled files that the last generation did not have. They let a converged or a
            stalled campaign go on; a spent budget stays spent.

    Returns:
        The decision. Converged only if every check of kind ``convergence`` passes.
    """
    if len(history) == 1:
        return _decide_start(history[0], config, new_data)
    checks = _convergence(history, config)
    limits = _limits(history, config)
    without_progress, without_candidates = _idle(history, config)
    stalls = _stalls(without_progress, without_candidates, history, config)
    failed = [check for check in checks if not check.passed]
    spent = [check for check in limits if not check.passed]
    stalled = [check for check in stalls if not check.passed]
    if not failed:
        outcome, reason = Outcome.CONVERGED, "converged: " + _join(checks)
    elif spent:
        outcome, reason = Outcome.BUDGET_SPENT, f"budget spent: {_join(spent)}"
    elif stalled:
        outcome, reason = Outcome.STALLED, f"stalled: {_join(stalled)}"
    else:
        outcome, reason = Outcome.CONTINUE, "not converged yet"
    if failed:
        reason += "; these checks failed: " + _join(failed, named=True)
    if new_data and outcome in (Outcome.CONVERGED, Outcome.STALLED):
        reason = (
            f"new labelled data ({', '.join(new_data)}) will be trained on; before it: {reason}"
        )
        outcome = Outcome.CONTINUE
    elif new_data and outcome is Outcome.BUDGET_SPENT:
        reason += (
            f"; new labelled data wait ({', '.join(new_data)}): raise the limit to train on them"
        )
    elif outcome is Outcome.CONTINUE:
        reason += "; " + _join(limits)
    return Decision(outcome, reason, [*checks, *limits, *stalls], without_progress)


def label_calls(config: Config) -> int:
    """Label calls that a generation may need: the stop rule reserves as many."""
    return config.select.max_frames + config.select.audit_frames


def _decide_start(first: Assessment, config: Config, new_data: Sequence[str]) -> Decision:
    """Generation 0: can anything be trained?"""
    start = first.get("start") or {}
    labels = first.get("labels") or {}
    statuses = (
        ", ".join(f"{n} {name}" for name, n in _statuses(labels).items()) or "no label at all"
    )
    n = start.get("frames", labels.get("converged", 0)) + start.get("labelled_frames", 0)
    without = start.get("without_E0") or {}
    if config.data.E0s == "average":
        without = {}
    elif config.data.E0s != "isolated":
        without = {e: why for e, why in without.items() if e not in config.data.E0s}
    atoms = ", ".join(f"{e} ({why})" for e, why in without.items())
    checks = [
        Check(
            "enough_frames",
            "stall",
            n >= 2 or bool(new_data),
            n,
            2,
            f"{n} labelled frames to train on, at least 2 needed (labels: {statuses})",
        ),
        Check(
            "isolated_atoms",
            "stall",
            not without,
            sorted(without),
            [],
            f"no E0, because the free atom has no converged label: {atoms}"
            if without
            else "every element has an E0",
        ),
    ]
    limits = _limits([first], config)
    failed = [check for check in checks if not check.passed]
    spent = [check for check in limits if not check.passed]
    if failed:
        mend = (
            "see the failed records in the label store and mend the labeller, give data.labelled"
            + (" or data.E0s" if without else "")
            + "; settings of generation 0 itself apply after its folder gen_00 is deleted "
            "(labels stay)"
        )
        outcome, reason = Outcome.STALLED, f"stalled: {_join(failed, named=True)}; {mend}"
    elif spent:
        outcome, reason = Outcome.BUDGET_SPENT, f"budget spent: {_join(spent)}"
    else:
        outcome, reason = Outcome.CONTINUE, f"{_join(checks[:1])}; {_join(limits)}"
    return Decision(outcome, reason, [*checks, *limits])


def _convergence(history: Sequence[Assessment], config: Config) -> list[Check]:
    stop = config.stop
    target, last = stop.target_force_mae * MEV, history[-1]
    high, percent = _bound(last), f"{stop.confidence:.0%}"
    streak = 0
    for record in reversed(history[1:]):
        if not _below(_bound(record), target):
            break
        streak += 1
    # Audit frames add up over as long a streak as there is; all else is asked of its end.
    n_audit = sum(
        _audit(record).get("n_frames", 0) for record in history[1:][-max(streak, stop.streak) :]
    )
    window = history[1:][-stop.streak :]
    stable = [(record.get("walkers") or {}).get("stable_fraction") for record in window]
    least = None if not stable or None in stable else min(stable)
    limit = stop.group_factor * target
    if high is None:
        said = f"{_audit(last).get('n_frames', 0)} audit frames give no bound of the force MAE"
    else:
        mae = _mev(_audit(last)["force_mae"])
        said = f"audited force MAE {mae} meV/Å, at most {_mev(high)} ({percent})"
    return [
        Check(
            "target_bound",
            "convergence",
            _below(high, target),
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
        _parts("elements", "by_element", _expected(window, "dataset", "elements"), window, limit),
        _parts("walker_groups", "by_group", _expected(window, "walkers", "groups"), window, limit),
    ]


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
        for part, errors in (_audit(record).get(key) or {}).items():
            rows = bounds.setdefault(part, [])
            if errors.get("force_mae_high") is not None:
                rows.append((errors["n"], errors["force_mae_high"]))
    worst = {
        part: sum(n * high for n, high in rows) / sum(n for n, _ in rows)
        for part, rows in bounds.items()
        if rows
    }
    left_out = sorted(set(bounds) - set(worst))
    above = {part: high for part, high in worst.items() if not _below(high, limit)}
    what = name.replace("_", " ")
    said = []
    if not bounds:
        said.append(f"no {what} were audited")
    if left_out:
        said.append(f"too few audit frames for a bound: {', '.join(left_out)}")
    if above:
        listed = ", ".join(f"{part} {_mev(high)}" for part, high in sorted(above.items()))
        said.append(f"above {_mev(limit)} meV/Å: {listed}")
    passed = not said
    return Check(
        name,
        "convergence",
        passed,
        max(worst.values(), default=None),
        limit,
        f"no {what[:-1]} above {_mev(limit)} meV/Å" if passed else ", ".join(said),
    )


def _limits(history: Sequence[Assessment], config: Config) -> list[Check]:
    g = len(history) - 1
    spent = (history[-1].get("labels") or {}).get("total_calls", 0)
    budget, asked = config.stop.max_labels, label_calls(config)
    most = config.campaign.max_generations
    return [
        Check(
            "max_labels",
            "limit",
            spent + asked <= budget,
            spent,
            budget,
            f"{spent} of {budget} label calls spent, {max(budget - spent, 0)} left, "
            f"a generation may need {asked}",
        ),
        Check(
            "max_generations",
            "limit",
            g < most,
            g,
            most,
            f"generation {g} of {most}",
        ),
    ]


def _idle(history: Sequence[Assessment], config: Config) -> tuple[int, int]:
    """Generations in a row without progress, and without candidates.

    Progress: the audited error, or its upper bound, fell by ``stall_improvement`` since the last
    progress. The bound counts because it is what must pass the target, and because an
    early estimate that was low by luck has a wide bound: it must not make later ones look like a
    stall. A generation that only waits for a longer streak, or for more audit frames, counts as
    neither.
    """
    keep = 1 - config.stop.stall_improvement
    reference: tuple[float, float | None] | None = None
    without_progress = without_candidates = 0
    for g in range(1, len(history)):
        record = history[g]
        mae, high = _audit(record).get("force_mae"), _bound(record)
        waits = all(
            check.passed or check.name in ("streak", "audit_frames")
            for check in _convergence(history[: g + 1], config)
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


def _fell(mae: float, high: float | None, before: tuple[float, float | None], keep: float) -> bool:
    pairs = [(mae, before[0])]
    if high is not None and before[1] is not None:
        pairs.append((high, before[1]))
    return any(now < then and now <= keep * then for now, then in pairs)


def _lower(mae: float, high: float | None, before: tuple[float, float | None]):
    highs = [value for value in (high, before[1]) if value is not None]
    return min(mae, before[0]), min(highs, default=None)


def _stalls(
    without_progress: int, without_candidates: int, history: Sequence[Assessment], config: Config
) -> list[Check]:
    allowed = config.stop.stall_generations
    lower = config.select.window[0]
    high = _bound(history[-1])
    measured = "not measured" if high is None else f"up to {_mev(high)} meV/Å"
    return [
        Check(
            "progress",
            "stall",
            without_progress < allowed,
            without_progress,
            allowed,
            f"{without_progress} generations in a row in which the audited force MAE did not fall "
            f"by {config.stop.stall_improvement:.0%}, {allowed} make a stall",
        ),
        Check(
            "candidates",
            "stall",
            without_candidates < allowed,
            without_candidates,
            allowed,
            f"NO CANDIDATES in {without_candidates} generations in a row ({allowed} make a stall) "
            f"although the error is {measured}: the committee is surer of itself than it may be; "
            f"lower select.window [{lower:g}, …], or explore hotter or longer"
            if without_candidates
            else "the last generation found candidates",
        ),
    ]


def _audit(record: Assessment) -> Mapping[str, Any]:
    return record.get("audit") or {}


def _bound(record: Assessment) -> float | None:
    """Upper confidence bound of the audited force MAE, eV/Å; None when there is none."""
    return _audit(record).get("force_mae_high")


def _below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def _expected(window: Sequence[Assessment], section: str, key: str) -> set[str]:
    return {part for record in window for part in (record.get(section) or {}).get(key) or ()}


def _statuses(labels: Mapping[str, Any]) -> dict[str, int]:
    names = ("converged", "unconverged", "failed", "timeout", "rejected")
    return {name: labels[name] for name in names if labels.get(name)}


def _join(checks: Sequence[Check], named: bool = False) -> str:
    return "; ".join(f"{c.name} ({c.message})" if named else c.message for c in checks)


def _mev(value: float) -> str:
    return f"{value / MEV:.3g}"
