"""What MLflow is told of a verdict: a run's note, and the metrics of strata and exam."""

import re
from collections.abc import Iterable

from mace_core.assess.advice import advice, in_unit, limit
from mace_core.assess.strata import targets
from mace_core.assess.strata_shown import KINDS, error_said, exam_rows, kinds_shown
from mace_core.chronicle import Generation
from mace_core.conventions import MEV, Outcome
from mace_core.storage import sha256_json

#: Suffix of a metric by the kind of error.
_UNITS = {"force": "meV_A", "energy": "meV_atom", "stress": "meV_A3"}

#: Characters of a note: MLflow allows 8,000; strata in its table.
_LONGEST_NOTE, _MOST_STRATA = 7000, 20

_READABLE = str.maketrans({"×": "x", "(": "", ")": ""})

#: Characters of a stratum in a metric's name: MLflow allows 250 in all.
_LONGEST = 120


def note(generation: Generation) -> str:
    """A generation's verdict in markdown: the checks that failed, the strata, all checks."""
    assess = generation.assess
    lines = [f"**{words(assess['outcome'])}**: {assess['reason']}"]
    checks = assess.get("checks") or []
    failed = [check for check in checks if not check["passed"] and _asked(check, assess["outcome"])]
    if failed:
        lines += ["", "Failed: " + ", ".join(advice(c["name"]).title for c in failed) + "."]
    lines += _strata(generation)
    if checks:
        lines += ["", "| check | passed | value | limit |", "|---|---|---|---|"]
        lines += [
            f"| {advice(c['name']).title} | {'yes' if c['passed'] else 'no'} | "
            f"{in_unit(c['value'], advice(c['name']).unit)} | {limit(c)} |"
            for c in checks
            if _asked(c, assess["outcome"])
        ]
    said = ""
    for line in lines:
        if len(said) + len(line) > _LONGEST_NOTE:
            return f"{said}…\n"
        said += f"{line}\n"
    return said


def strata_metrics(generation: Generation) -> dict[str, float | None]:
    """``audit/stratum/<name>/force_mae_meV_A``, ``…_high_…``, and of energies and stresses;
    ``audit/exam/<name>/…`` of the walks of the final exam.
    """
    rows, exam = generation.strata, exam_rows(generation.assess)
    names = safe_names({row["stratum"] for row in [*rows, *exam]})
    metrics: dict[str, float | None] = {}
    for row in rows:
        place = f"audit/stratum/{names[row['stratum']]}"
        metrics[f"{place}/n_frames"] = row["n_frames"]
        for kind, unit in _UNITS.items():
            for end in ("mae", "mae_high"):
                value = row[f"{kind}_{end}"]
                metrics[f"{place}/{kind}_{end}_{unit}"] = None if value is None else value / MEV
    for row in exam:
        place, mae = f"audit/exam/{names[row['stratum']]}", row["force_mae"]
        metrics[f"{place}/force_mae_meV_A"] = None if mae is None else mae / MEV
        metrics[f"{place}/steps_done"] = row["steps_done"]
        metrics[f"{place}/n_frames"] = row["n_frames"]
    return metrics


def safe_names(strata: Iterable[str]) -> dict[str, str]:
    """A name for each stratum that can be a part of a metric's name, no two alike.

    Characters that MLflow does not allow, and the slash, become ``_`` (× becomes x, parentheses
    are left out). Where that makes two names one, or a name is very long, a hash of the stratum's
    own name ends it.
    """
    made = {name: plain(name.translate(_READABLE)).replace("/", "_").strip() for name in strata}
    taken = [safe.lower() for safe in made.values()]
    return {
        name: safe
        if len(safe) <= _LONGEST and taken.count(safe.lower()) == 1
        else f"{safe[: _LONGEST - 7].rstrip()} {sha256_json(name)[:6]}"
        for name, safe in made.items()
    }


def words(outcome: str) -> str:
    """An outcome as a heading."""
    return outcome.replace("_", " ").capitalize()


def plain(name: str) -> str:
    """``name`` with only the characters that MLflow allows in a key."""
    return re.sub(r"[^\w.\- /]", "_", str(name), flags=re.ASCII)


def _asked(check: dict, outcome: str) -> bool:
    """A converged campaign asks neither for more labels nor for more progress."""
    return outcome != Outcome.CONVERGED or check.get("kind") == "convergence"


def _strata(generation: Generation) -> list[str]:
    rows = generation.strata
    if not rows:
        return []
    kinds, limits = kinds_shown(rows), targets(generation.judged_by)
    heads = [f"{k} MAE [≤] {KINDS[k]}, target {limits[k] / MEV:.3g}" for k in kinds]
    lines = ["", f"| stratum | passed | audit frames | {' | '.join(heads)} |"]
    lines.append("|---" * (3 + len(kinds)) + "|")
    for row in rows[:_MOST_STRATA]:
        name = row["stratum"].replace("|", "\\|")
        said = " | ".join(error_said(row, kind) for kind in kinds)
        passed = "no" if row["fails"] else "yes"
        lines.append(f"| {name} | {passed} | {row['n_frames']} | {said} |")
    confidence = generation.judged_by.stop.confidence
    more = f" {len(rows) - _MOST_STRATA} more are not shown." if len(rows) > _MOST_STRATA else ""
    return [*lines, "", f"Bounds of the strata hold all together with {confidence:.0%}.{more}"]
