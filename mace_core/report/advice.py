"""Outcomes, and checks of the stop rule, as the report tells them."""

from mace_core.assess.advice import advice, in_unit, limit, mend
from mace_core.conventions import Outcome

KINDS = {
    "convergence": "Converged when all of these hold",
    "limit": "Budget",
    "stall": "Stall",
    "": "Checks",
}

#: Headline, sign and sentence of each outcome; the sign tells them apart without colour.
OUTCOMES = {
    Outcome.CONVERGED: (
        "Converged",
        "✓",
        "The audited error is below the target, and stays there.",
    ),
    Outcome.BUDGET_SPENT: ("Budget spent", "◔", "Not converged: the budget ended first."),
    Outcome.STALLED: ("Stalled", "✕", "Not converged: it no longer learns anything."),
    Outcome.CONTINUE: ("Running", "→", "Not finished: the next generation follows."),
}


def explained(checks: list[dict], outcome: str = "") -> list[tuple[str, list[dict]]]:
    """Checks by kind, in the order of :data:`KINDS`, with title, mend and numbers as text.

    Args:
        checks: of assess.json.
        outcome: of the same: a converged campaign needs no more labels and no more progress, so
            that limits and stalls that it is at are ``unasked``, and nothing is to be mended.
    """
    groups = []
    for kind, heading in KINDS.items():
        rows = []
        for check in checks:
            if check.get("kind", "") != kind:
                continue
            found = advice(check["name"])
            unasked = outcome == Outcome.CONVERGED and kind != "convergence"
            rows.append(
                {
                    **check,
                    "title": found.title,
                    "value": in_unit(check["value"], found.unit),
                    "limit": limit(check),
                    "unasked": unasked and not check["passed"],
                    "mend": "" if unasked else mend(check),
                }
            )
        if rows:
            groups.append((heading, rows))
    return groups
