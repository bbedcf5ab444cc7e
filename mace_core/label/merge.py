"""All batches of a generation as one table of outcomes, or an error if one label is missing."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.conventions import (
    EXAM,
    FRAME_ID,
    GROUP,
    LABEL_COMPUTED,
    LABEL_REASON,
    LABEL_RUNG,
    LABEL_SECONDS,
    LABEL_STATUS,
    LABEL_THEORY,
    ROLE,
    WALKER,
    WHY_PICKED,
    FrameRole,
)
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames
from mace_core.strata import stratum_of


def merge_labels(
    plan: dict[str, Any], selected: str | Path, batches: Sequence[str | Path]
) -> dict[str, Any]:
    """What ``label/merged.json`` holds.

    Args:
        plan: the generation's plan.
        selected: extxyz with the frames that were to be labelled.
        batches: the label batches' extxyz.

    Raises:
        UserError: the frames in the batches are not exactly the selected ones, or were labelled at
            another level of theory than the plan's.
    """
    asked = [canonical(atoms) for atoms in read_frames(selected)]
    labelled = [(path, atoms) for path in batches for atoms in read_frames(path)]
    _check_same(asked, [atoms for _, atoms in labelled], selected)
    outcomes = {}
    for path, atoms in labelled:
        theory = str(atoms.info[LABEL_THEORY]).removeprefix("theory-")
        if theory != plan["theory"]:
            raise UserError(
                f"labels at level of theory {theory}, where the plan says {plan['theory']}",
                where=str(path),
                mend="delete this batch file, and label again with the programs of the plan's time",
            )
        outcomes[canonical(atoms).info[FRAME_ID]] = atoms.info
    labels = []
    for frame_id, atoms in {atoms.info[FRAME_ID]: atoms for atoms in asked}.items():
        outcome = outcomes[frame_id]
        free_atom = atoms.info.get(ROLE) == FrameRole.ISOLATED
        labels.append(
            {
                "frame_id": frame_id,
                "role": atoms.info.get(ROLE),
                "status": outcome[LABEL_STATUS],
                "reason": str(outcome.get(LABEL_REASON, "")),
                "group": atoms.info.get(GROUP),
                "walker": atoms.info.get(WALKER),
                "stratum": None if free_atom else stratum_of(atoms),
                "exam": bool(atoms.info.get(EXAM, False)),
                "why_picked": atoms.info.get(WHY_PICKED),
                "rung": outcome.get(LABEL_RUNG),
                "wall_seconds": float(outcome[LABEL_SECONDS]),
                "computed": bool(outcome[LABEL_COMPUTED]),
            }
        )
    return {
        "generation": plan["generation"],
        "theory": plan["theory"],
        "labels": labels,
        "counts": dict(Counter(label["status"] for label in labels)),
        "calls": len(labels),
        "wall_seconds": round(sum(label["wall_seconds"] for label in labels), 3),
    }


def _check_same(asked: list[Atoms], labelled: list[Atoms], selected: str | Path) -> None:
    """Raise unless both hold the same frames, each as often."""
    expected = Counter(atoms.info[FRAME_ID] for atoms in asked)
    found = Counter(canonical(atoms).info[FRAME_ID] for atoms in labelled)
    problems = [
        f"{len(rows)} {what} ({', '.join(sorted(rows)[:3])}{', …' if len(rows) > 3 else ''})"
        for what, rows in (
            ("selected but not labelled", expected - found),
            ("labelled but not selected", found - expected),
        )
        if rows
    ]
    if problems:
        raise UserError(
            f"the labelled frames are not the selected ones: {'; '.join(problems)}",
            where=str(selected),
            mend="delete the batch files beside merged.json and run again: nothing that lies in "
            "the label store is computed twice",
        )
