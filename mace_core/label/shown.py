"""The ledger as text: aligned columns for people, CSV for spreadsheets."""

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mace_core.conventions import LabelStatus
from mace_core.label.adopt import Adopted
from mace_core.label.agreement import difference
from mace_core.label.exchange import Merged
from mace_core.label.ledger import Count, Row
from mace_core.label.orphans import Orphan
from mace_core.label.record import Record
from mace_core.label.store import LabelFolder


def table(heads: Sequence[str], body: Sequence[Sequence[str]], right: str = "") -> str:
    """Columns as wide as their longest cell.

    Args:
        heads: of the columns.
        body: one sequence of cells a line.
        right: the letter r for each column that is aligned to the right, any other for the rest.
    """
    widths = [max(len(line[n]) for line in (heads, *body)) for n in range(len(heads))]
    lines = [
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(line, widths, right.ljust(len(heads)), strict=True)
        ).rstrip()
        for line in (heads, *body)
    ]
    return "\n".join(lines)


def list_text(found: Sequence[Row]) -> str:
    """The rows of one level of theory."""
    heads = ("frame", "formula", "status", "eV", "eV/Å", "rung", "s", "core-h", "written", "note")
    return table(heads, [_cells(row) for row in found], "lllrrlrr")


def _cells(row: Row) -> tuple[str, ...]:
    note = row.reason or (f"released: {row.released}" if row.released else "")
    if row.origin and not note:
        note = f"from {row.origin.get('file')}, frame {row.origin.get('frame')}"
    return (
        row.frame_id,
        row.formula,
        row.status,
        "" if row.energy is None else f"{row.energy:.4f}",
        "" if row.max_force is None else f"{row.max_force:.3f}",
        row.rung,
        "" if row.origin else f"{row.wall_seconds:.1f}",
        "" if row.core_hours is None else f"{row.core_hours:.4f}",
        row.created[:16].replace("T", " "),
        note,
    )


def csv_text(found: Iterable[Row]) -> str:
    """All that rows know."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [item.name for item in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in found:
        writer.writerow(
            asdict(row) | {"origin": json.dumps(row.origin, sort_keys=True) if row.origin else ""}
        )
    return buffer.getvalue()


def count_text(count: Count) -> str:
    """One level of theory in a few lines."""
    lines = [
        f"theory {count.theory_id} · {count.level}",
        f"  labels    {count.labels}" + (": " + _tally(count.status) if count.labels else ""),
    ]
    if count.released:
        lines.append(f"  released  {count.released}")
    if count.imported:
        lines.append(f"  imported  {count.imported}")
    computed = count.labels - count.imported - count.status[LabelStatus.DAMAGED]
    if computed:
        unknown = count.core_hours_unknown
        lines += [
            f"  rungs     {_tally(count.rung) or 'none converged'}",
            f"  wall time {count.wall_seconds / 3600:.3f} h, {count.core_hours:.3f} core-hours"
            + (f" (and {unknown} labels that do not say their cores)" if unknown else ""),
            f"  hosts     {_tally(count.processor, '; ')}",
        ]
    return "\n".join(lines)


def record_text(folder: LabelFolder, level: str, record: Record, row: Row) -> str:
    """All that is known of one frame at one level of theory."""
    lines = [
        f"frame {row.frame_id} · {row.formula}, {row.n_atoms} atoms, charge {record.charge}, "
        f"spin {record.spin}",
        f"  theory    {row.theory_id} · {level}",
        f"  status    {row.status}" + (f": {row.reason}" if row.reason else ""),
    ]
    if row.released:
        lines.append(f"  released  {row.released}{_by(folder.releases.read(row.frame_id))}")
    note = folder.doubts.read(row.frame_id)
    if note:
        lines.append(f"  doubted   {note.get('reason', '')}{_by(note)}")
    again = folder.rechecks.stored(row.frame_id)
    if again is not None:
        lines.append(f"  recheck   {_recheck(again, record)}")
    if row.energy is not None:
        stress = "" if record.stress is None else ", with stress"
        label = f"{row.energy:.6f} eV, force up to {row.max_force:.4f} eV/Å{stress}"
        lines.append(f"  label     {label}")
    if row.origin:
        lines.append(f"  imported  {_origin(row.origin)}, {row.created}")
    elif row.status != LabelStatus.DAMAGED:
        core = "not recorded" if row.core_hours is None else f"{row.core_hours:.4f}"
        lines += [
            f"  computed  {row.engine_version}, {row.created}, on {row.host} "
            f"({row.processor or 'processor not recorded'})",
            f"  cost      {row.wall_seconds:.1f} s wall, {record.cpu_seconds:.1f} s CPU, "
            f"core-hours: {core}",
        ]
    lines += [
        f"  attempt   {attempt['rung']}: {attempt['status']}, {attempt['seconds']:.1f} s"
        + (f", {attempt['reason']}" if attempt["reason"] else "")
        for attempt in record.attempts
    ]
    if folder.outputs(row.frame_id).is_dir():
        lines.append(f"  outputs   {folder.outputs(row.frame_id)}")
    return "\n".join(lines)


def orphan_text(found: Sequence[Orphan], gone: Collection[Path]) -> str:
    """What is left behind, and a line of sums."""
    lines = [
        f"{'removed ' if orphan.path in gone else ''}{orphan.kind} {orphan.path}: {orphan.why}"
        for orphan in found
    ]
    kinds = Counter(str(orphan.kind) for orphan in found)
    size = sum(orphan.bytes for orphan in found) / 1e6
    said = ", ".join(f"{n} × {kind}" for kind, n in sorted(kinds.items()))
    return "\n".join([*lines, f"{said} ({size:.3f} MB); {len(gone)} removed"])


def merged_text(done: Merged) -> str:
    """What became of one level of theory of a store that was merged."""
    lines = [
        f"CONFLICT frame {c.frame_id}: {c.kept:.6f} eV is there and stays, the other one is "
        f"{c.other:.6f} eV; forces differ by up to {c.force:.2g} eV/Å"
        for c in done.conflicts
    ]
    lines += [f"NOT COPIED {path}: {why}" for path, why in done.not_copied]
    parts = [f"{done.new} new labels", f"{done.same} there already"]
    parts += [
        f"{n} {what}"
        for n, what in (
            (done.failures, "new failures"),
            (done.mended, "damaged ones replaced"),
            (done.rechecks, "rechecks"),
            (done.notes, "notes"),
            (len(done.conflicts), "in conflict"),
            (len(done.not_copied), "not copied"),
        )
        if n
    ]
    return "\n".join([*lines, f"theory {done.theory_id} · {', '.join(parts)}"])


def adopted_text(done: Adopted, level: str) -> str:
    """What became of labels that were imported."""
    lines = [
        f"REPEATED {here}: the same frame as {there}, which counts"
        + (f"; its energy is higher by {change:.6g} eV" if change else "")
        for here, there, change in done.repeats
    ]
    lines += [
        f"CONFLICT {where}: the store has {c.kept:.6f} eV for frame {c.frame_id}, which stays; "
        f"the file has {c.other:.6f} eV"
        for where, c in done.conflicts
    ]
    parts = [f"{done.frames} frames", f"{done.new} new labels"]
    parts += [
        f"{n} {what}"
        for n, what in (
            (done.quarantined, "of them in quarantine"),
            (done.same, "there already"),
            (len(done.repeats), "repeated"),
            (len(done.conflicts), "in conflict"),
        )
        if n
    ]
    return "\n".join([*lines, f"theory {done.theory_id} · {level}", f"  {', '.join(parts)}"])


def _recheck(again: Record, label: Record) -> str:
    """A second computation from another starting guess, beside the label."""
    if not again.converged:
        return f"{again.status}: {again.reason}"
    said = f"{again.energy:.6f} eV"
    if (apart := difference(label, again)) is not None:
        said += f", {apart.said()}"
    return f"{said}; rung {again.rung}, {again.wall_seconds:.1f} s, {again.created}"


def _origin(origin: dict[str, Any]) -> str:
    return (
        f"from {origin.get('file')}, frame {origin.get('frame')} "
        f"(sha256 {str(origin.get('sha256'))[:12]}…)"
    )


def _by(note: dict[str, Any] | None) -> str:
    return f" (by {note.get('by')}, {note.get('created')})" if note else ""


def _tally(counter: dict[str, int], between: str = ", ") -> str:
    return between.join(f"{n} {name}" for name, n in sorted(counter.items()))
