"""A campaign's state: summary.json for machines, a few lines for people."""

import textwrap
from pathlib import Path
from typing import Any

from mace_core.assess.spent import computed_said
from mace_core.assess.withheld import in_quarantine, withheld
from mace_core.config.campaign import Config
from mace_core.conventions import MEV, UNSTABLE_ENDS, Outcome, WalkerEnd
from mace_core.label.store import LabelFolder
from mace_core.layout import Layout
from mace_core.plan import decision_after, read_plan
from mace_core.storage import read_json, write_json

#: How each outcome is shown.
_HEADLINES = {
    Outcome.CONVERGED: "CONVERGED",
    Outcome.BUDGET_SPENT: "BUDGET SPENT, not converged",
    Outcome.STALLED: "STALLED, not converged",
    Outcome.CONTINUE: "under way, not converged yet",
}


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
        outcome, reason = decision.outcome, decision.reason
    else:
        outcome, reason = Outcome.CONTINUE, "generation 0 is not assessed yet"
    best = best_generation(assessed)
    last_labels = assessed[-1]["labels"] if assessed else {}
    calls = last_labels.get("total_calls", 0)
    rechecks = last_labels.get("total_rechecks", 0)
    rows = [row for record in assessed for row in _withheld(layout, config, record)]
    converged = last_labels.get("total_converged", 0) + sum(bool(r["released"]) for r in rows)
    quarantined = in_quarantine(rows)
    return {
        "campaign": config.campaign.name,
        "outcome": str(outcome),
        "reason": reason,
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


def text(summary: dict[str, Any]) -> str:
    """The closing lines of a run."""
    total, paths = summary["total"], summary["paths"]
    doubted = f", {total['quarantined']} in quarantine" if total["quarantined"] else ""
    doubted += f", {total['rechecks']} computed again" if total["rechecks"] else ""
    computed = computed_said(total["calls"], total["found"])
    lines = [
        "",
        f"campaign {summary['campaign']} · {_HEADLINES[Outcome(summary['outcome'])]}",
        textwrap.fill(summary["reason"], 100, initial_indent="  ", subsequent_indent="  "),
        "",
        *_table(summary["generations"]),
        "",
        f"  {total['generations']} generations, {total['calls']} label calls "
        f"({computed + '; ' if computed else ''}{total['failed']} failed{doubted}), "
        f"{_duration(total['seconds'])} of labelling",
    ]
    if paths["model"]:
        lines.append(f"  models       {paths['model']} (generation {summary['best_generation']})")
    for name, key in (("report", "report"), ("labels", "label_store"), ("MLflow", "tracking_uri")):
        if paths[key]:
            lines.append(f"  {name:<12} {paths[key]}")
    if paths["tracking_uri"]:
        uri = paths["tracking_uri"]
        look = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
        lines += ["", f"  to look:  {look}"]
    if paths["model"]:
        folder = Path(paths["model"]).parent
        student = folder.with_name("student")
        lines.append(f"  one model of these:  maceloop distill {folder} --out {student}")
    return "\n".join([*lines, ""])


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


def _table(generations: list[dict[str, Any]]) -> list[str]:
    """One line a generation; errors in meV/Å."""
    if not generations:
        return ["  no generation is finished yet"]
    head = ("gen", "label calls", "training", "audit F MAE [≤]", "frozen F MAE", "walkers")
    rows = [head]
    for row in generations:
        rows.append(
            (
                str(row["generation"]),
                str(row["labels"]["total_calls"]),
                "–" if row["n_train"] is None else str(row["n_train"]),
                bounded(row["audit"]),
                mev((row["frozen"] or {}).get("force_mae")),
                ends(row["walkers"]),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("  " + "   ".join([*cells, row[-1]]).rstrip())
    return [*lines, "  errors in meV/Å, [≤] the upper confidence bound"]


def bounded(errors: dict[str, Any] | None) -> str:
    """A force MAE with its upper bound, meV/Å: ``41.2 [47.9]``."""
    if not errors or errors.get("force_mae") is None:
        return "–"
    high = errors.get("force_mae_high")
    return f"{mev(errors['force_mae'])} [{'no bound' if high is None else mev(high)}]"


def mev(value: float | None) -> str:
    """eV/Å shown in meV/Å."""
    return "–" if value is None else f"{value / MEV:.1f}"


def ends(walkers: dict[str, Any] | None) -> str:
    """How walkers ended: ``3 completed, 1 uncertain``; unstable ends last and marked."""
    if not walkers:
        return "–"
    shown = sorted(walkers["ends"].items(), key=lambda item: WalkerEnd(item[0]) in UNSTABLE_ENDS)
    return ", ".join(
        f"{n} {end}{' (!)' if WalkerEnd(end) in UNSTABLE_ENDS else ''}" for end, n in shown
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def campaign_layout(config: Config) -> Layout:
    """Where the campaign of a configuration lies."""
    return Layout(Path(config.campaign.results_dir), config.campaign.name)
