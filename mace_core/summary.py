"""A campaign's state: summary.json."""

from pathlib import Path
from typing import Any

from mace_core.assess.decide import Decision
from mace_core.assess.strata import stratum_errors, targets
from mace_core.assess.strata_shown import stratum_rows
from mace_core.assess.withheld import in_quarantine, withheld
from mace_core.config.campaign import Config
from mace_core.conventions import Outcome
from mace_core.label.store import LabelFolder
from mace_core.layout import Layout
from mace_core.plan import decision_after, read_plan
from mace_core.storage import read_json, write_json


def write_summary(layout: Layout, config: Config) -> dict[str, Any]:
    """Rebuild summary.json from what lies on disk.

    Args:
        layout: of the campaign.
        config: as it is now: the outcome is that of the last generation under these limits.

    Returns:
        Its content, as docs/contracts.md says.
    """
    summary = summarise(layout, config)
    write_json(layout.summary, summary)
    return summary


def summarise(layout: Layout, config: Config) -> dict[str, Any]:
    """The content of summary.json."""
    assessed = [read_json(layout.assess(g)) for g in layout.assessed_generations()]
    if assessed:
        decision = decision_after(config, layout, len(assessed) - 1)
    else:
        said = "generation 0 is not assessed yet"
        decision = Decision(Outcome.CONTINUE, said, cause=said)
    best = best_generation(assessed)
    last_labels = assessed[-1]["labels"] if assessed else {}
    calls = last_labels.get("total_calls", 0)
    rechecks = last_labels.get("total_rechecks", 0)
    rows = [row for record in assessed for row in _withheld(layout, config, record)]
    converged = last_labels.get("total_converged", 0) + sum(bool(r["released"]) for r in rows)
    quarantined = in_quarantine(rows)
    return {
        "campaign": config.campaign.name,
        "outcome": str(decision.outcome),
        "reason": decision.reason,
        "cause": decision.cause,
        "checks": [check.to_json() for check in decision.checks],
        "strata": _strata(assessed, config),
        "targets": targets(config),
        "confidence": config.stop.confidence,
        "best_generation": best,
        "generations": [_row(layout, record) for record in assessed],
        "total": {
            "generations": max(len(assessed) - 1, 0),
            "calls": calls,
            "found": last_labels.get("total_found"),
            "converged": converged,
            "failed": calls - rechecks - converged - quarantined,
            "rechecks": rechecks,
            "quarantined": quarantined,
            "seconds": last_labels.get("total_seconds", 0.0),
        },
        "paths": {
            "model": str(layout.committee(best).parent) if best else None,
            "models": _members(layout, best) if best else [],
            "report": str(layout.root / "report.html") if assessed else None,
            "tracking_uri": config.tracking.uri if config.tracking.enabled else None,
            "label_store": config.campaign.label_store,
            "dataset": str(layout.dataset(best)) if best else None,
        },
    }


def best_generation(assessed: list[dict[str, Any]]) -> int | None:
    """The generation whose committee to use: the last one, unless an earlier one is surely better.

    Surely: its audited error's upper bound lies below the last one's lower bound. Among several,
    the one with the lowest upper bound.

    Returns:
        None if no generation has models.
    """
    if len(assessed) < 2:
        return None
    last = (assessed[-1].get("audit") or {}).get("force_mae_low")
    bounds = {
        record["generation"]: record["audit"]["force_mae_high"]
        for record in assessed[1:-1]
        if (record.get("audit") or {}).get("force_mae_high") is not None
    }
    better = {g: high for g, high in bounds.items() if last is not None and high < last}
    return min(better, key=better.get) if better else assessed[-1]["generation"]


def _strata(assessed: list[dict[str, Any]], config: Config) -> list[dict[str, Any]]:
    """Each stratum under the present configuration, those that fail first."""
    if len(assessed) < 2 or "audit_frames" not in assessed[-1]:
        return []
    record = assessed[-1] | {"strata": stratum_errors(assessed, config)}
    return stratum_rows(record, targets(config), config.stop.streak)


def _row(layout: Layout, record: dict[str, Any]) -> dict[str, Any]:
    g, dataset = record["generation"], record.get("dataset") or {}
    keys = ("labels", "audit", "picked", "frozen", "measured_coverage", "walkers", "outcome")
    return {
        "generation": g,
        **{key: record.get(key) for key in keys},
        "n_train": dataset.get("n_train"),
        "seconds": record["labels"]["seconds"],
        "paths": {
            "assess": str(layout.assess(g)),
            "dataset": str(layout.dataset(g)) if g else None,
            "models": _members(layout, g) if g else [],
            "report": str(layout.report(g)),
        },
    }


def _withheld(layout: Layout, config: Config, record: dict[str, Any]) -> list[dict[str, Any]]:
    path = layout.merged(record["generation"])
    if not path.is_file():
        return []
    merged = read_json(path)
    store = LabelFolder(Path(config.campaign.label_store) / str(merged["theory"]))
    return withheld(merged, record, store)


def _members(layout: Layout, g: int) -> list[str]:
    n = read_plan(layout.plan(g))["sizes"]["members"]
    return [str(layout.member(g, m)) for m in range(n)]


def campaign_layout(config: Config) -> Layout:
    """Where the campaign of a configuration lies."""
    return Layout(Path(config.campaign.results_dir), config.campaign.name)
