"""An assessment in words, for the log and the screen."""

from typing import Any

from mace_core.assess.spent import calls_said
from mace_core.assess.strata import expected_strata
from mace_core.assess.strata_shown import KINDS, error_said
from mace_core.assess.words import in_words
from mace_core.conventions import FRAME_ID, MEV


def lines(result: dict[str, Any], confidence: float | None = None) -> list[str]:
    """An assessment in a few lines; errors in meV/Å.

    Args:
        result: assess.json.
        confidence: of its bounds; None leaves it out.
    """
    percent = "" if confidence is None else f" with {confidence:.0%}"
    head, labels = f"gen {result['generation']} · ", result["labels"]
    withheld = labels["quarantined"]
    rechecks = labels.get("rechecks", 0)
    failed = labels["calls"] - rechecks - labels["converged"] - withheld
    shown = [
        f"{head}labels · {calls_said(labels['calls'], labels.get('found'))}, "
        f"{labels['converged']} converged, {failed} failed"
        + (f", {withheld} in quarantine" if withheld else "")
        + (f", {rechecks} of them doubted labels computed again" if rechecks else "")
        + f" · in all {calls_said(labels['total_calls'], labels.get('total_found'))}"
    ]
    shown += [
        f"{head}quarantine · {entry['role']} frame {entry[FRAME_ID]}: {entry['reason']}"
        for entry in result["quarantine"]
    ]
    for kind in ("audit", "picked", "frozen"):
        found = result[kind]
        if found and found["force_mae"] is not None:
            high = found["force_mae_high"]
            bound = "no bound" if high is None else f"at most {high / MEV:.1f}{percent}"
            of = "of the MD, " if kind == "audit" and result.get("walks") else ""
            shown.append(
                f"{head}{kind} · force MAE {found['force_mae'] / MEV:.1f} meV/Å ({of}{bound}) on "
                f"{found['n_frames']} frames"
            )
    shown += [f"{head}{line}" for line in _strata(result, percent)]
    measured = result["measured_coverage"]
    if measured:
        shown.append(
            f"{head}uncertainty · bounded the error of {measured['covered']} of "
            f"{measured['n_frames']} audit frames, {_expected(measured)}"
        )
    if calibration := result["calibration"]:
        shown.append(f"{head}calibration · factor for the next generation: {in_words(calibration)}")
    shown += [f"{head}note · {note}" for note in result["notes"]]
    return [*shown, f"{head}{result['outcome'].upper()} · {result['reason']}"]


def _strata(result: dict[str, Any], percent: str) -> list[str]:
    """One line per stratum, and one on what their bounds are."""
    found = result.get("strata") or {}
    shown = []
    for name in sorted({*expected_strata(result), *found}) if "strata" in result else ():
        row = found.get(name)
        if row is None:
            shown.append(f"stratum {name} · no audit frame")
            continue
        errors = ", ".join(
            f"{kind} {error_said(row, kind)} {unit}"
            for kind, unit in KINDS.items()
            if row.get(f"{kind}_mae") is not None
        )
        where = ", ".join(map(str, row["generations"]))
        shown.append(f"stratum {name} · {errors} · {row['n_frames']} audit frames, gen {where}")
    if found:
        shown.append(f"strata · MAE [≤ bound], bounds hold all together{percent}")
    return shown


def _expected(measured: dict[str, Any]) -> str:
    if measured["expected"] is None:
        return "by an assumed factor: not calibrated yet"
    return f"{measured['expected']:.0%} expected"
