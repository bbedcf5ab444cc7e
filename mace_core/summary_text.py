"""A campaign's state in a few lines: the last that a user sees of a run."""

import textwrap
from pathlib import Path
from typing import Any

from mace_core.assess.advice import advice, in_unit, limit, mend
from mace_core.assess.check import mev as three_digits
from mace_core.assess.spent import computed_said
from mace_core.assess.strata_shown import KINDS, error_said, kinds_shown
from mace_core.conventions import MEV, UNSTABLE_ENDS, Outcome, WalkerEnd

#: How each outcome is shown.
_HEADLINES = {
    Outcome.CONVERGED: "CONVERGED",
    Outcome.BUDGET_SPENT: "BUDGET SPENT, not converged",
    Outcome.STALLED: "STALLED, not converged",
    Outcome.CONTINUE: "under way, not converged yet",
}


def text(summary: dict[str, Any]) -> str:
    """The closing lines of a run."""
    total, paths = summary["total"], summary["paths"]
    doubted = f", {total['quarantined']} in quarantine" if total["quarantined"] else ""
    doubted += f", {total['rechecks']} computed again" if total["rechecks"] else ""
    computed = computed_said(total["calls"], total["found"])
    lines = [
        "",
        f"campaign {summary['campaign']} · {_HEADLINES[Outcome(summary['outcome'])]}",
        _filled(summary.get("cause") or summary["reason"], "  "),
        *_checks(summary),
        *_strata(summary),
        "",
        *_table(summary["generations"], summary.get("confidence")),
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


def _checks(summary: dict[str, Any]) -> list[str]:
    """One line per check; of those that failed the reason, and what would help.

    Limits and stalls are shown where they ended the campaign: ``cause`` says the rest of them.
    """
    outcome = Outcome(summary["outcome"])
    ended = {Outcome.BUDGET_SPENT: "limit", Outcome.STALLED: "stall"}.get(outcome)
    shown = [
        check
        for check in summary.get("checks") or []
        if check["kind"] == "convergence" or (check["kind"] == ended and not check["passed"])
    ]
    if not shown:
        return []
    rows = []
    for check in shown:
        found = advice(check["name"])
        rows.append((found.title, in_unit(check["value"], found.unit), limit(check)))
    widths = [max(len(row[k]) for row in rows) for k in range(2)]
    lines = ["", "  checks"]
    for check, (title, value, wanted) in zip(shown, rows, strict=True):
        mark = "✓" if check["passed"] else "✗"
        lines.append(f"  {mark} {title:<{widths[0]}}   {value:>{widths[1]}}   {wanted}".rstrip())
        if check["passed"] or check["kind"] != "convergence":
            continue
        if not (summary.get("strata") and check["name"] in _IN_TABLE):
            lines.append(_filled(check["message"], "      "))
    helps: dict[str, list[str]] = {}
    for check in shown:
        if outcome != Outcome.CONTINUE and (said := mend(check)):
            helps.setdefault(said, []).append(advice(check["name"]).title)
    if helps:
        lines += ["", "  what would help"]
        lines += [_filled(f"- {'; '.join(of)}: {said}", "  ", "    ") for said, of in helps.items()]
    return lines


def _strata(summary: dict[str, Any]) -> list[str]:
    """The table of strata, those that fail first."""
    rows = summary.get("strata") or []
    if not rows:
        return []
    kinds = kinds_shown(rows)
    limits = summary["targets"]
    table = [("stratum", "audit frames", *(f"{k} MAE [≤]" for k in kinds))]
    for row in rows[:_MOST_STRATA]:
        frames = str(row["n_frames"])
        if row["n_frames"] and not row["measured"]:
            frames += f", none since gen {row['generations'][-1]}"
        said = [error_said(row, k) + ("!" if k in row["fails"] else " ") for k in kinds]
        table.append((f"{'✗' if row['fails'] else '✓'} {row['stratum']}", frames, *said))
    table[0] = (f"  {table[0][0]}", table[0][1], *(f"{head} " for head in table[0][2:]))
    width = max(len(row[0]) for row in table if len(row[0]) <= _WIDE)
    others = [max(len(row[k]) for row in table) for k in range(1, len(table[0]))]
    lines = ["", "  strata"]
    for name, *cells in table:
        told = "  ".join(cell.rjust(n) for cell, n in zip(cells, others, strict=True))
        if len(name) > width:  # on a line of its own
            lines.append(f"  {name}")
            name = ""
        lines.append(f"  {name:<{width}}  {told}".rstrip())
    left = rows[_MOST_STRATA:]
    if left:
        failing = sum(bool(row["fails"]) for row in left)
        lines.append(f"    … and {len(left)} more ({failing} of them fail): see the report")
    wanted = ", ".join(f"{k} {three_digits(limits[k])} {KINDS[k]}" for k in kinds)
    bounds = f"[≤] bounds of the strata hold all together with {summary['confidence']:.0%}"
    return [*lines, _filled(f"targets: {wanted}; {bounds}; ! not below the target", "  ")]


#: Checks whose failures stand in the table of strata.
_IN_TABLE = tuple(f"strata_{kind}" for kind in KINDS)
#: Strata that are shown: of more the report tells.
_MOST_STRATA = 20
#: Characters of a name that stands in the line of its numbers.
_WIDE = 42


def _filled(words: str, indent: str, further: str | None = None) -> str:
    return textwrap.fill(
        words,
        100,
        initial_indent=indent,
        subsequent_indent=indent if further is None else further,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _table(generations: list[dict[str, Any]], confidence: float | None) -> list[str]:
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
    each = "" if confidence is None else f", each holds with {confidence:.0%}"
    return [*lines, f"  errors in meV/Å; [≤] upper bounds{each}"]


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
