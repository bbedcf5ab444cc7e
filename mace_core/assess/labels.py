"""A generation's labels as its assessment sees them: counts, and the frames to score on."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.conventions import FRAME_ID, GROUP, ROLE, FrameRole, LabelStatus
from mace_core.errors import UserError
from mace_core.frames import read_frames
from mace_core.label.store import LabelStore
from mace_core.train.labelled import read_labelled

#: Labels that converged, and on closer look are none to score on.
_HELD_BACK = (LabelStatus.QUARANTINED, LabelStatus.DAMAGED)


def label_counts(
    merged: dict[str, Any],
    before: dict[str, Any],
    doubted: int = 0,
    recheck: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The ``labels`` of docs/contracts.md.

    Args:
        merged: merged.json.
        before: the same of the generation before; empty for generation 0.
        doubted: how many of the converged labels the committee doubts.
        recheck: recheck.json, where there is one: its calls are label calls as well.
    """
    rechecks = recheck["calls"] if recheck else 0
    calls = merged["calls"] + rechecks
    seconds = round(merged["wall_seconds"] + (recheck["wall_seconds"] if recheck else 0.0), 3)
    counts = {str(status): merged["counts"].get(status, 0) for status in LabelStatus}
    counts["converged"] -= doubted
    counts["quarantined"] += doubted
    found = _found(merged, recheck)
    earlier = before.get("total_found") if before else 0
    return {
        "calls": calls,
        "found": found,
        **counts,
        "rechecks": rechecks,
        "seconds": seconds,
        "total_calls": calls + before.get("total_calls", 0),
        "total_found": None if found is None or earlier is None else found + earlier,
        "total_converged": counts["converged"] + before.get("total_converged", 0),
        "total_rechecks": rechecks + before.get("total_rechecks", 0),
        "total_seconds": seconds + before.get("total_seconds", 0.0),
    }


def _found(merged: dict[str, Any], recheck: dict[str, Any] | None) -> int | None:
    """Labels that lay in the store already; None if merged.json does not say of each."""
    again = [row for row in (recheck or {}).get("rechecks", ()) if row["status"] is not None]
    computed = [entry.get("computed") for entry in [*merged["labels"], *again]]
    return None if None in computed else sum(not done for done in computed)


def start(config: Config, merged: dict[str, Any], selected: Sequence[Atoms]) -> dict[str, Any]:
    """What generation 0 gives to train on: counts of frames, and elements without an E0."""
    status = {entry[FRAME_ID]: entry["status"] for entry in merged["labels"]}
    frames = sum(
        entry["status"] == LabelStatus.CONVERGED and entry[ROLE] != FrameRole.ISOLATED
        for entry in merged["labels"]
    )
    keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
    labelled, atoms_given = [], []
    for path in config.data.labelled:
        some, isolated = read_labelled(path, *keys)
        labelled += some
        atoms_given += isolated
    needed = {str(s) for a in [*selected, *labelled] for s in a.symbols}
    known = {str(a.symbols[0]) for a in atoms_given}
    why = {}
    for atoms in selected:
        if atoms.info.get(ROLE) == FrameRole.ISOLATED:
            why[str(atoms.symbols[0])] = status.get(atoms.info[FRAME_ID], "not labelled")
    known |= {element for element, end in why.items() if end == LabelStatus.CONVERGED}
    missing = sorted(needed - known) if config.data.E0s == "isolated" else []
    return {
        "frames": frames,
        "labelled_frames": len(labelled),
        "without_E0": {element: why.get(element, "not labelled") for element in missing},
    }


def labelled_frames(store: LabelStore, merged: dict[str, Any], select_path: Path) -> list[Atoms]:
    """A generation's converged labels, on frames that still say where they come from.

    Raises:
        UserError: they are not in the store, or the store is of another level of theory.
    """
    if store.theory_id != merged["theory"]:
        raise UserError(
            f"the labels are at theory {merged['theory']}, "
            f"the installed engine gives {store.theory_id}",
            where=str(store.folder.parent),
            mend="go back to the version of the engine that computed them (theory.json says which)",
        )
    selected = select_path.parent / "frames.extxyz"
    told = {atoms.info[FRAME_ID]: atoms.info for atoms in read_frames(selected)}
    frames = []
    for entry in merged["labels"]:
        if entry["status"] != LabelStatus.CONVERGED or entry[ROLE] == FrameRole.ISOLATED:
            continue
        record = store.get(entry[FRAME_ID])
        if record is not None and record.status in _HELD_BACK:
            print(
                f"maceloop: frame {record.frame_id} is not scored: {record.reason}", file=sys.stderr
            )
            continue
        if record is None or not record.converged:
            raise UserError(
                f"frame {entry[FRAME_ID]} has a converged label, but not in the label store",
                where=str(store.folder),
                mend="restore the store, or run label and merge-labels of this generation again",
            )
        atoms = record.to_atoms()
        atoms.info = told.get(entry[FRAME_ID], {}) | atoms.info
        atoms.info[ROLE] = entry[ROLE]
        if entry.get("group"):
            atoms.info[GROUP] = entry["group"]
        frames.append(atoms)
    return frames
