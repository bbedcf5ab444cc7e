"""What the report says of strata, audit frames and the final exam."""

from collections import Counter
from typing import Any

from mace_core.assess.strata import targets
from mace_core.assess.strata_shown import KINDS, exam_rows, kinds_shown
from mace_core.chronicle import Chronicle
from mace_core.conventions import MEV

#: Coverage and width of the bounds, by the number of audit frames (of four walks): the share of
#: bounds at 95 % that held on real walks, and the bound over the true error in the median; both
#: measured by ``python benchmarks/audit_coverage.py`` (2026-12-01).
MEASURED: dict[int, tuple[float, float]] = {8: (0.993, 1.45), 12: (0.986, 1.39)}


def shown(chronicle: Chronicle) -> dict[str, Any] | None:
    """The section's numbers, errors in eV and Å; None where no strata were assessed."""
    last = chronicle.last
    rows = last.strata
    if not rows:
        return None
    config = last.judged_by
    limits = targets(config)
    stop = config.stop
    exam = exam_rows(last.assess)
    exam_limit = stop.group_factor * stop.target_force_mae * MEV
    return {
        "rows": rows,
        "worst": max(
            (row for row in rows if row["force_mae_high"] is not None),
            key=lambda row: row["force_mae_high"],
            default=None,
        ),
        "kinds": [(kind, KINDS[kind], limits[kind]) for kind in kinds_shown(rows)],
        "missing": sorted(row["stratum"] for row in rows if not row["measured"]),
        "streak": stop.streak,
        "confidence": stop.confidence,
        "audited": audited(chronicle, stop.streak),
        "exam": [row | {"passed": _passed(row, exam_limit)} for row in exam],
        "exam_limit": exam_limit,
        "exam_without": [r["stratum"] for r in rows if r["stratum"] not in _strata(exam)]
        if exam
        else [],
        "lost": lost(chronicle, stop.streak),
        "measured": MEASURED,
    }


def audited(chronicle: Chronicle, streak: int) -> dict[str, Any]:
    """How many audit frames of the last generations are of which stratum and temperature.

    Returns:
        ``groups`` (temperatures, rising), ``generations``, and ``rows``: stratum, numbers of
        ordinary frames and of the exam's for each group.
    """
    window = [gen for gen in chronicle.generations[-streak:] if gen.g]
    frames = [row for gen in window for row in gen.assess.get("audit_frames") or []]
    counts = Counter(
        (row["stratum"], str(row.get("group") or "–"), bool(row.get("exam"))) for row in frames
    )
    groups = sorted({group for _, group, _ in counts} | _walked(window), key=_kelvin)
    strata = sorted({row["stratum"] for row in chronicle.last.strata} | {s for s, _, _ in counts})
    return {
        "groups": groups,
        "generations": [gen.g for gen in window],
        "rows": [
            (name, [(counts[name, group, False], counts[name, group, True]) for group in groups])
            for name in strata
        ],
    }


def lost(chronicle: Chronicle, streak: int) -> dict[str, int]:
    """Audit labels of the last generations that do not count, by status."""
    found: Counter[str] = Counter()
    for gen in chronicle.generations[-streak:]:
        found.update(gen.assess.get("lost_audit") or {})
    return dict(sorted(found.items()))


def _walked(window) -> set[str]:
    return {
        str(group)
        for gen in window
        for group in (gen.assess.get("walkers") or {}).get("groups") or ()
    }


def _passed(row: dict[str, Any], limit: float) -> bool:
    return row["end"] == "completed" and row["force_mae"] is not None and row["force_mae"] < limit


def _strata(rows: list[dict[str, Any]]) -> set[str]:
    return {row["stratum"] for row in rows}


def _kelvin(group: str) -> tuple[float, str]:
    try:
        return float(group.removesuffix("K")), group
    except ValueError:
        return float("inf"), group
