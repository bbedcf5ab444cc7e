"""What each check of the stop rule is called, in which unit it is said, and what mends it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mace_core.assess.exam import NOT_HELD
from mace_core.conventions import MEV


@dataclass(frozen=True)
class Advice:
    """A check in a reader's words.

    Attributes:
        title: what holds when it passes.
        unit: of value and limit: ``meV/Å``, ``meV/atom``, ``meV/Å³``, ``Å``, ``%``, or what is
            counted.
        mend: what to do where it fails; "" where its message says it.
        few: the same where it fails for want of audit frames alone; "" where that is no cause.
        relation: of value to limit when it passes: ``below``, ``at least``, ``at most``, or none.
    """

    title: str
    unit: str
    mend: str
    relation: str = ""
    few: str = ""


_NARROWER = (
    "the error is below the target and its bound is not: more audit frames narrow it. Raise "
    "select.audit_frames, or let it go on"
)

ADVICE = {
    "target_bound": Advice(
        "Audited force error below the target",
        "meV/Å",
        "let it go on: every generation trains on new labels. If the curve is flat, train longer "
        "(train.max_num_epochs), enlarge the model (model.num_channels, model.max_L), or raise "
        "stop.target_force_mae",
        "below",
    ),
    "streak": Advice(
        "Below the target in a row",
        "generations",
        "one more generation, or lower stop.streak",
        "at least",
    ),
    "audit_frames": Advice(
        "Enough audit frames",
        "frames",
        "raise select.audit_frames; a bound from few frames is wide",
        "at least",
    ),
    "audit_complete": Advice(
        "Few audit labels lost",
        "%",
        "mend what makes labels fail (see the labels that do not train: labeller.time_limit, "
        "labeller.max_force, the engine's convergence settings); maceloop label --retry-failed "
        "computes failed ones again. A loss that has nothing to do with the frames may be allowed "
        "by stop.max_lost_audit",
        "at most",
    ),
    "audit_labels": Advice(
        "No audit label in doubt",
        "in doubt",
        "look at the labels that do not train, and release the sound ones (maceloop labels "
        "release). The next generation draws new audit frames",
        "at most",
    ),
    "walked": Advice(
        "Walks do the MD that was asked for",
        "%",
        "see how the walks ended. Uncertain ones stop at explore.max_force_error: the next "
        "generation trains on where they stopped; raise it only if the bound is too careful. "
        "Unstable ones: lower explore.timestep or explore.temperatures",
        "at least",
    ),
    "moved": Advice(
        "Audit frames differ from the training frames",
        "Å",
        "walks are too short to leave the frames that they start from: raise explore.steps, or "
        "explore.timestep where it is smaller than the atoms' vibrations need",
        "at least",
    ),
    "stable_md": Advice(
        "MD stays stable",
        "%",
        "see how the walkers ended. Lower explore.max_force_error (stop earlier and label there), "
        "explore.timestep or explore.temperatures",
        "at least",
    ),
    "strata_measured": Advice(
        "Every stratum is measured",
        "not measured",
        "let it go on where strata take turns. Else more of them per generation: raise "
        "select.audit_frames and explore.walkers. A stratum that is never walked has no labelled "
        "frame to start from: see its labels",
        "at most",
    ),
    "strata_force": Advice(
        "Force error of each stratum below the target",
        "meV/Å",
        "more labels of the strata that are named: they need frames in generation 0 "
        "(seed.n_frames) and walks (explore.walkers). Every generation brings some, so that "
        "it may be enough to let it go on; else train longer or enlarge the model",
        "below",
        _NARROWER,
    ),
    "strata_energy": Advice(
        "Energy error of each stratum below the target",
        "meV/atom",
        "energies are compared as they are. A constant offset of a stratum goes with "
        "more labels of it and a larger weight of the energies (train.energy_weight, or a second "
        "stage: train.stage_two); an offset of all strata points at E0s (data.E0s). Else "
        "raise stop.target_energy_mae",
        "below",
        _NARROWER,
    ),
    "strata_stress": Advice(
        "Stress error of each stratum below the target",
        "meV/Å³",
        "train on strained cells (seed.strain_max), with a larger train.stress_weight; converge "
        "the labels' stress in the engine's settings. If pressures do not matter to you, raise "
        "stop.target_stress_mae",
        "below",
        _NARROWER,
    ),
    "elements": Advice(
        "No element left out",
        "meV/Å",
        "more labels: let it go on. Where few frames have the element, give more seeds and walks "
        "that do; where all have it, train longer or enlarge the model; or raise stop.group_factor",
        "below",
        "the audit has to meet the element in two frames or more: raise select.audit_frames, and "
        "explore.walkers where few strata have it",
    ),
    "walker_groups": Advice(
        "No walker group left out",
        "meV/Å",
        "more labels from that temperature: let it go on, with more walkers there "
        "(explore.walkers, explore.temperatures), or raise stop.group_factor",
        "below",
        "the audit has to have two frames or more from that temperature: raise "
        "select.audit_frames to twice the number of explore.temperatures or more, and see whether "
        "its walks end early",
    ),
    "exam": Advice(
        "Final exam passed",
        "meV/Å",
        "its frames are trained on, and the next generation that may be the last one holds it "
        "again. Where it fails again, the long walks leave what was trained: raise explore.steps, "
        "so that the others get there too",
        "below",
        "nothing: it is held by itself in the generation that may be the last one",
    ),
    "max_labels": Advice(
        "Labels left in the budget", "label calls", "raise stop.max_labels", "at most"
    ),
    "max_generations": Advice(
        "Generations left", "generations", "raise campaign.max_generations", "below"
    ),
    "progress": Advice(
        "The error still falls",
        "generations",
        "look at the labels' own noise (grid, convergence), train longer, enlarge the model, or "
        "explore hotter; raise stop.stall_generations to wait longer",
        "below",
    ),
    "candidates": Advice(
        "Walkers find frames worth a label",
        "generations",
        "",  # its message says what helps, by the cause
        "below",
    ),
    "enough_frames": Advice(
        "Enough labelled frames to start",
        "frames",
        "see the labels that do not train; raise seed.n_frames or give data.labelled",
        "at least",
    ),
    "isolated_atoms": Advice(
        "Energies of free atoms",
        "",
        "set labeller.spins for the element, or give data.E0s",
    ),
}


def advice(name: str) -> Advice:
    """That of a check; one that this version does not know is called by its name."""
    return ADVICE.get(name, Advice(name.replace("_", " "), "", ""))


def mend(check: Mapping[str, Any]) -> str:
    """What to do about a check of assess.json that failed, by its cause; "" where it passed."""
    if check["passed"]:
        return ""
    found, value = advice(check["name"]), check.get("value")
    if check["name"] in ("elements", "walker_groups"):
        few = value is None or value < check["limit"]
    elif check["name"] == "exam":
        few = value is None and check["message"].startswith(NOT_HELD)
    else:
        few = bool(check.get("waiting"))
    return found.few if few and found.few else found.mend


def in_unit(value: Any, unit: str) -> str:
    """A check's value as text: errors from eV to meV, shares to per cent."""
    said = number(value, unit)
    return said if unit == "%" or value is None else f"{said} {unit}".strip()


def limit(check: Mapping[str, Any]) -> str:
    """What a check of assess.json asks of its value, in the same unit: ``below 25``."""
    found = advice(check["name"])
    return f"{found.relation} {number(check['limit'], found.unit)}".strip()


def number(value: Any, unit: str) -> str:
    """As :func:`in_unit`, without the unit."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if unit.startswith("meV"):
        return f"{value / MEV:.3g}"
    if unit == "%":
        return f"{value:.0%}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
