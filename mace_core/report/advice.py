"""What each check of the stop rule is called, in which unit it is said, and what mends it."""

from dataclasses import dataclass
from typing import Any

from mace_core.conventions import MEV, Outcome


@dataclass(frozen=True)
class Advice:
    """A check in a reader's words: title, unit (``meV/Å``, ``%`` or none) and mend."""

    title: str
    unit: str
    mend: str


ADVICE = {
    "target_bound": Advice(
        "Audited force error below the target",
        "meV/Å",
        "let it go on: every generation trains on new labels. If the curve is flat, train longer "
        "(train.max_num_epochs), enlarge the model (model.num_channels, model.max_L), or raise "
        "stop.target_force_mae",
    ),
    "streak": Advice(
        "Below the target in a row",
        "",
        "one more generation, or lower stop.streak",
    ),
    "audit_frames": Advice(
        "Enough audit frames",
        "",
        "raise select.audit_frames; a bound from few frames is wide",
    ),
    "audit_labels": Advice(
        "No audit label in doubt",
        "",
        "look at the labels that do not train, below, and release the sound ones. The next "
        "generation draws new audit frames",
    ),
    "stable_md": Advice(
        "MD stays stable",
        "%",
        "see the walkers below. Lower explore.max_force_error (stop earlier and label there), "
        "explore.timestep or explore.temperatures",
    ),
    "elements": Advice(
        "No element left out",
        "meV/Å",
        "frames in which that element is met: more or hotter walkers, more seeds with it; or "
        "raise stop.group_factor",
    ),
    "walker_groups": Advice(
        "No walker group left out",
        "meV/Å",
        "more walkers at that temperature (explore.walkers, explore.temperatures), or raise "
        "stop.group_factor",
    ),
    "max_labels": Advice("Labels left in the budget", "", "raise stop.max_labels"),
    "max_generations": Advice("Generations left", "", "raise campaign.max_generations"),
    "progress": Advice(
        "The error still falls",
        "",
        "look at the labels' own noise (grid, convergence), train longer, enlarge the model, or "
        "explore hotter; raise stop.stall_generations to wait longer",
    ),
    "candidates": Advice(
        "Walkers find frames worth a label",
        "",
        "as it says: what mends it depends on why there were none",
    ),
    "enough_frames": Advice(
        "Enough labelled frames to start",
        "",
        "see the labels that do not train, below; raise seed.n_frames or give data.labelled",
    ),
    "isolated_atoms": Advice(
        "Energies of free atoms",
        "",
        "set labeller.spins for the element, or give data.E0s",
    ),
}

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


def explained(checks: list[dict]) -> list[tuple[str, list[dict]]]:
    """Checks by kind, in the order of :data:`KINDS`, with title, mend and numbers as text."""
    groups = []
    for kind, heading in KINDS.items():
        rows = []
        for check in checks:
            if check.get("kind", "") != kind:
                continue
            advice = ADVICE.get(check["name"], Advice(check["name"].replace("_", " "), "", ""))
            rows.append(
                {
                    **check,
                    "title": advice.title,
                    "value": in_unit(check["value"], advice.unit),
                    "limit": in_unit(check["limit"], advice.unit),
                    "mend": "" if check["passed"] else advice.mend,
                }
            )
        if rows:
            groups.append((heading, rows))
    return groups


def in_unit(value: Any, unit: str) -> str:
    """A check's value or limit as text: errors from eV/Å to meV/Å, shares to per cent."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if unit == "meV/Å":
        return f"{value / MEV:.3g} meV/Å"
    if unit == "%":
        return f"{value:.0%}"
    return f"{value:g}" if isinstance(value, float) else str(value)
