"""The stop rule: what a campaign's assessments, and the configuration, say about going on.

A pure function of the assess dicts (docs/contracts.md) of generations 0 … g. It is evaluated again
with the present configuration whenever the workflow asks what is next, so that a raised limit, or
a lower target, lets a finished campaign go on. Imports nothing heavy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mace_core.assess.check import Assessment, Check, join
from mace_core.assess.convergence import convergence
from mace_core.assess.exam import exam_calls, exam_due
from mace_core.assess.stall import idle, stalls
from mace_core.config.campaign import Config
from mace_core.conventions import LabelStatus, Outcome


@dataclass(frozen=True)
class Decision:
    """What comes after a generation, and why.

    Attributes:
        outcome: what comes next.
        reason: in one sentence: what decided, and the convergence checks that failed.
        checks: all of them.
        generations_without_progress: in a row, up to the last one.
        exam: the next generation may end the campaign: it holds the final exam.
        cause: ``reason`` without the checks that failed.
    """

    outcome: Outcome
    reason: str
    checks: list[Check] = field(default_factory=list)
    generations_without_progress: int = 0
    exam: bool = False
    cause: str = ""


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
    checks = convergence(history, config)
    exam = exam_due(history, config)
    limits = _limits(history, config, exam)
    without_progress, without_candidates = idle(history, config)
    stall_checks = stalls(without_progress, without_candidates, history, config)
    failed = [check for check in checks if not check.passed]
    spent = [check for check in limits if not check.passed]
    stalled = [check for check in stall_checks if not check.passed]
    if not failed:
        outcome = Outcome.CONVERGED
        cause = "converged: every check passed; " + join([c for c in checks if c.name in _TOLD])
    elif spent:
        outcome, cause = Outcome.BUDGET_SPENT, f"budget spent: {join(spent)}"
    elif stalled:
        outcome, cause = Outcome.STALLED, f"stalled: {join(stalled)}"
    else:
        outcome, cause = Outcome.CONTINUE, f"not converged yet; {join(limits)}"
    if new_data and outcome in (Outcome.CONVERGED, Outcome.STALLED):
        cause = f"new labelled data ({', '.join(new_data)}) will be trained on; before it: {cause}"
        outcome = Outcome.CONTINUE
    elif new_data and outcome is Outcome.BUDGET_SPENT:
        cause += (
            f"; new labelled data wait ({', '.join(new_data)}): raise the limit to train on them"
        )
    reason = f"{cause}; these checks failed: {join(failed, named=True)}" if failed else cause
    every = [*checks, *limits, *stall_checks]
    return Decision(outcome, reason, every, without_progress, exam, cause)


#: Checks whose numbers stand in the reason of a campaign that is converged.
_TOLD = ("target_bound", "strata_force")


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
        outcome, reason = Outcome.STALLED, f"stalled: {join(failed, named=True)}; {mend}"
    elif spent:
        outcome, reason = Outcome.BUDGET_SPENT, f"budget spent: {join(spent)}"
    else:
        outcome, reason = Outcome.CONTINUE, f"{join(checks[:1])}; {join(limits)}"
    return Decision(outcome, reason, [*checks, *limits], cause=reason)


def _limits(history: Sequence[Assessment], config: Config, exam: bool = False) -> list[Check]:
    g = len(history) - 1
    spent = (history[-1].get("labels") or {}).get("total_calls", 0)
    budget, asked = config.stop.max_labels, label_calls(config)
    more = exam_calls(history[-1], config) if exam else 0
    most = config.campaign.max_generations
    return [
        Check(
            "max_labels",
            "limit",
            spent + asked + more <= budget,
            spent,
            budget,
            f"{spent} of {budget} label calls spent, {max(budget - spent, 0)} left, "
            f"a generation may need {asked + more}"
            + (f" ({more} of them for the final exam)" if more else ""),
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


def _statuses(labels: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): labels[name] for name in LabelStatus if labels.get(name)}
