"""Labels of a generation that do not train, each with its reason."""

from typing import Any

from mace_core.conventions import FRAME_ID, LabelStatus
from mace_core.label.store import LabelFolder


def withheld(
    merged: dict[str, Any], assess: dict[str, Any], store: LabelFolder
) -> list[dict[str, Any]]:
    """What was labelled, and is not trained on.

    Args:
        merged: merged.json; what did not converge, or was quarantined as implausible.
        assess: assess.json; what the committee doubts.
        store: of that level of theory; what was released since.

    Returns:
        Entries of merged.json with the present ``status`` and ``reason``, and ``released``: the
        note of who released a label that was quarantined, or None.
    """
    doubted = {entry[FRAME_ID]: entry for entry in assess.get("quarantine") or []}
    rows = []
    for label in merged["labels"]:
        row = dict(label)
        if row["status"] == LabelStatus.CONVERGED and row[FRAME_ID] in doubted:
            row |= {
                "status": str(LabelStatus.QUARANTINED),
                "reason": doubted[row[FRAME_ID]]["reason"],
            }
        if row["status"] == LabelStatus.CONVERGED:
            continue
        quarantined = row["status"] == LabelStatus.QUARANTINED
        row["released"] = store.releases.read(row[FRAME_ID]) if quarantined else None
        rows.append(row)
    return rows


def in_quarantine(rows: list[dict[str, Any]]) -> int:
    """How many of these rows are quarantined and not released."""
    return sum(row["status"] == LabelStatus.QUARANTINED and not row["released"] for row in rows)
