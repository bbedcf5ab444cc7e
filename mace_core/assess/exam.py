"""The final exam: before a campaign is called converged, one long walk per stratum is audited."""

from collections.abc import Mapping, Sequence
from typing import Any

from mace_core.assess.check import Assessment, Check, mev, streak
from mace_core.assess.strata import (
    assessed_without_strata,
    expected_strata,
    stratum_errors,
    targets,
)
from mace_core.config.campaign import Config
from mace_core.conventions import MEV, WalkerEnd

#: How the check begins while the exam was not held.
NOT_HELD = "not held in this generation"
#: Strata whose failures it names.
_NAMED = 4


def exam_calls(record: Assessment, config: Config) -> int:
    """Label calls of an exam after this generation."""
    return len(expected_strata(record)) * config.stop.exam_frames


def exam_due(history: Sequence[Assessment], config: Config) -> bool:
    """Whether the next generation could end the campaign, and so has to hold the exam.

    Args:
        history: assessments of generations 0 … g.
        config: of the stop rule.
    """
    stop, last = config.stop, history[-1]
    if not stop.exam_length or streak(history, config) < max(1, stop.streak - 1):
        return False
    found = stratum_errors(history, config)
    limits = targets(config)
    return bool(expected_strata(last)) and all(
        errors.get(f"{kind}_mae") is None or errors[f"{kind}_mae"] < limit
        for errors in found.values()
        for kind, limit in limits.items()
    )


def exam_held(last: Assessment, config: Config) -> list[Check]:
    """The exam was held in the last generation, by every stratum, and passed; [] if none is asked.

    It is passed by a walk that is completed, and whose audit frames have a force MAE below
    ``group_factor`` times the target: a single walk, at the highest temperature. Its frames count
    in the strata's bounds too.
    """
    stop = config.stop
    if not stop.exam_length or assessed_without_strata(last):
        return []
    limit = stop.group_factor * stop.target_force_mae * MEV
    walks = {walk["stratum"]: walk for walk in last.get("walks") or [] if walk.get("exam")}
    frames: dict[str, list[float]] = {}
    for row in last.get("audit_frames") or []:
        if row.get("exam"):
            frames.setdefault(row["stratum"], []).append(row["force_mae"])
    problems, means = [], []
    for name in expected_strata(last):
        said = _problem(walks.get(name), frames.get(name, []), limit)
        if said:
            problems.append(f"{name}: {said}")
        elif frames.get(name):
            means.append(sum(frames[name]) / len(frames[name]))
    if not walks:
        message = f"{NOT_HELD}: it is held when all else is passed, or could be next"
    elif problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        message = "; ".join(problems[:_NAMED]) + more
    else:
        message = (
            f"one walk of {next(iter(walks.values()))['steps_asked']} steps per stratum completed, "
            f"force MAE of its audit frames up to {mev(max(means))} meV/Å, limit {mev(limit)}"
        )
    return [
        Check(
            "exam",
            "convergence",
            bool(walks) and not problems,
            max(means, default=None),
            limit,
            message,
        )
    ]


def _problem(walk: Mapping[str, Any] | None, errors: list[float], limit: float) -> str | None:
    if walk is None:
        return "no walk"
    if walk["end"] != WalkerEnd.COMPLETED:
        return (
            f"its walk ended at step {walk['steps_done']} of {walk['steps_asked']}: {walk['end']}"
        )
    if not errors:
        return "no audit frame of its walk has a label"
    mean = sum(errors) / len(errors)
    return None if mean < limit else f"force MAE {mev(mean)} meV/Å, limit {mev(limit)}"
