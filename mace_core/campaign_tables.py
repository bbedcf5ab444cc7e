"""A campaign as tables: the learning curve, its strata, its walkers."""

import pandas as pd

from mace_core.assess.strata_shown import exam_rows
from mace_core.chronicle import KINDS, Generation

_ERRORS = (
    "n_frames",
    "force_mae",
    "force_mae_low",
    "force_mae_high",
    "force_rmse",
    "max_force_error",
    "energy_mae",
    "energy_mae_centred",
    "stress_mae",
)


def generations_table(generations: list[Generation]) -> pd.DataFrame:
    """The learning curve: one row a generation, in eV, Å, seconds; NaN where there is none.

    Columns named ``<kind>_…`` are those of the errors in assess.json.
    """
    rows = []
    for gen in generations:
        assess = gen.assess
        labels, dataset = assess["labels"], assess.get("dataset") or {}
        coverage, walkers = assess.get("measured_coverage") or {}, assess.get("walkers") or {}
        calibration = assess.get("calibration") or {}
        members = [gen.member_metrics(folder) for folder in gen.member_folders]
        row = {
            "generation": gen.g,
            "outcome": assess["outcome"],
            "n_train": dataset.get("n_train"),
            "n_valid": dataset.get("n_valid"),
            "calls": labels["calls"],
            "found": labels.get("found"),
            "failed": labels["calls"] - labels.get("rechecks", 0) - labels["converged"],
            "total_calls": labels["total_calls"],
            "total_found": labels.get("total_found"),
            "label_seconds": labels["seconds"],
            "total_label_seconds": labels["total_seconds"],
            "train_seconds": sum(seconds_of(metrics) for metrics in members) or None,
            "md_seconds": sum(w.get("wall_seconds", 0.0) for w in gen.walkers) or None,
            "factor": calibration.get("factor"),
            "factor_low": calibration.get("factor_low"),
            "factor_high": calibration.get("factor_high"),
            "coverage": coverage.get("share"),
            "coverage_frames": coverage.get("n_frames"),
            "coverage_expected": coverage.get("expected"),
            "stable_fraction": walkers.get("stable_fraction"),
            "time_fs": walkers.get("time_fs"),
            "candidates": (assess.get("selection") or {}).get("candidates"),
            "picked": (assess.get("selection") or {}).get("picked"),
        }
        for kind in KINDS:
            errors = assess.get(kind) or {}
            row |= {f"{kind}_{name}": errors.get(name) for name in _ERRORS}
        rows.append(row | _of_strata(gen))
    table = pd.DataFrame(rows)
    texts = ("generation", "outcome", "worst_stratum")
    numbers = [name for name in table.columns if name not in texts]
    return table.astype(dict.fromkeys(numbers, float))


def _of_strata(gen: Generation) -> dict:
    """Strata in a row of the learning curve: the worst is that of the largest force bound."""
    known = [row for row in gen.strata if row["force_mae_high"] is not None]
    worst = max(known, key=lambda row: row["force_mae_high"], default={})
    lost = gen.assess.get("lost_audit") if gen.g else None
    return {
        "n_strata": len(gen.strata) or None,
        "n_strata_measured": sum(row["measured"] for row in gen.strata) if gen.strata else None,
        "n_strata_failing": sum(bool(row["fails"]) for row in gen.strata) if gen.strata else None,
        "worst_stratum": worst.get("stratum"),
        "worst_stratum_force_mae": worst.get("force_mae"),
        "worst_stratum_force_mae_high": worst.get("force_mae_high"),
        "lost_audit": None if lost is None else sum(lost.values()),
    }


def strata_table(generations: list[Generation]) -> pd.DataFrame:
    """One row per generation and stratum, in eV, Å; NaN where there is none.

    ``exam_…`` are of the stratum's walk in the final exam, in the generation that held it.
    """
    rows = []
    for gen in generations:
        exams = {row["stratum"]: row for row in exam_rows(gen.assess)}
        for row in gen.strata:
            exam = exams.get(row["stratum"], {})
            rows.append(
                {"generation": gen.g, "stratum": row["stratum"]}
                | {key: row[key] for key in row if key not in ("stratum", "generations", "fails")}
                | {
                    "audited_in": ",".join(map(str, row["generations"])),
                    "fails": ",".join(row["fails"]),
                }
                | {f"exam_{key}": exam.get(key) for key in _EXAM}
            )
    table = pd.DataFrame(rows, columns=None if rows else _STRATA_COLUMNS)
    numbers = [c for c in table.columns if c.endswith(("_mae", "_high", "_error")) or c in _COUNTS]
    return table.astype(dict.fromkeys(numbers, float))


_EXAM = ("end", "steps_done", "steps_asked", "n_frames", "force_mae")
_COUNTS = ("n_frames", "n_walks", "exam_steps_done", "exam_steps_asked", "exam_n_frames")
_STRATA_COLUMNS = ["generation", "stratum", "n_frames", "force_mae", "force_mae_high"]


def walkers_table(generations: list[Generation]) -> pd.DataFrame:
    """How each walker ended: one row a walker, the keys of walker_{w}.json as columns.

    Walkers of earlier versions have no stratum, and were in no exam.
    """
    unsaid = {"stratum": None, "exam": False}
    rows = [
        {"generation": gen.g, **unsaid, **walker} for gen in generations for walker in gen.walkers
    ]
    return pd.DataFrame(rows, columns=None if rows else ["generation", "walker", "group", "end"])


def seconds_of(metrics: dict) -> float:
    """Wall time of one member's training as its metrics.json states it, 0 where it does not."""
    return float(metrics.get("wall_seconds", metrics.get("seconds", 0.0)))
