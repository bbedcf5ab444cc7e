"""The strata of an assessment as rows of a table: for the log, summary, report and MLflow."""

from collections.abc import Mapping
from typing import Any

from mace_core.assess.check import Assessment, mev
from mace_core.assess.strata import expected_strata

#: Errors of a stratum, with the unit in which they are shown.
KINDS = {"force": "meV/Å", "energy": "meV/atom", "stress": "meV/Å³"}


def stratum_rows(
    record: Assessment, limits: Mapping[str, float], streak: int
) -> list[dict[str, Any]]:
    """One row per stratum: those that fail first, and of those the worst first.

    Args:
        record: assess.json.
        limits: largest error of each of :data:`KINDS`, in eV, Å and atoms.
        streak: generations in which a stratum must have audit frames of its own.

    Returns:
        Rows with ``stratum``, ``measured``, ``n_frames``, ``n_walks``, ``generations``, of each
        kind ``…_mae``, ``…_mae_high`` (None: not known) and ``fails`` (the kinds whose bound is
        not below the limit; ``measured`` where there are no audit frames of late). None for an
        assessment of an earlier version, which did not know strata.
    """
    if "strata" not in record:
        return []
    g, found = record.get("generation") or 0, record["strata"] or {}
    rows = []
    for name in sorted({*expected_strata(record), *found}):
        errors = found.get(name) or {}
        generations = errors.get("generations") or []
        measured = bool(errors) and max(generations, default=g) > g - streak
        row: dict[str, Any] = {
            "stratum": name,
            "measured": measured,
            "n_frames": errors.get("n_frames", 0),
            "n_walks": errors.get("n_walks", 0),
            "generations": generations,
            "energy_error": errors.get("energy_error"),
        }
        fails, worst = [] if measured else ["measured"], 0.0
        for kind in KINDS:
            mae, high = errors.get(f"{kind}_mae"), errors.get(f"{kind}_mae_high")
            row |= {f"{kind}_mae": mae, f"{kind}_mae_high": high}
            if errors and not (kind == "stress" and mae is None):
                if high is None or not high < limits[kind]:
                    fails.append(kind)
                worst = max(worst, (high or mae or 0.0) / limits[kind])
        rows.append(row | {"fails": fails, "_order": (not fails, measured, -worst, name)})
    rows.sort(key=lambda row: row["_order"])
    return [{key: value for key, value in row.items() if key != "_order"} for row in rows]


def kinds_shown(rows: list[dict[str, Any]]) -> list[str]:
    """Those of :data:`KINDS` that any stratum has."""
    return [kind for kind in KINDS if any(row[f"{kind}_mae"] is not None for row in rows)]


def error_said(row: Mapping[str, Any], kind: str) -> str:
    """``6.11 [≤ 10]``, in the unit of :data:`KINDS`; ``not measured`` without an error."""
    mae, high = row[f"{kind}_mae"], row[f"{kind}_mae_high"]
    if mae is None:
        return "not measured"
    return f"{mev(mae)} [{'no bound' if high is None else f'≤ {mev(high)}'}]"


def exam_rows(record: Assessment) -> list[dict[str, Any]]:
    """The final exam's walks, [] where none was held.

    ``stratum``, ``group``, ``end``, ``steps_done``, ``steps_asked``, ``n_frames`` (audited) and
    ``force_mae`` (their mean, eV/Å; None without).
    """
    frames: dict[str, list[float]] = {}
    for row in record.get("audit_frames") or []:
        if row.get("exam"):
            frames.setdefault(row["stratum"], []).append(row["force_mae"])
    shown = []
    for walk in record.get("walks") or []:
        if walk.get("exam"):
            own = frames.get(walk["stratum"], [])
            shown.append(
                {key: walk[key] for key in ("stratum", "group", "end", "steps_done", "steps_asked")}
                | {"n_frames": len(own), "force_mae": sum(own) / len(own) if own else None}
            )
    return sorted(shown, key=lambda row: row["stratum"])
