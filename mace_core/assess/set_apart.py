"""Labels in quarantine are set apart: errors, bounds and calibration are without them."""

from typing import Any

import numpy as np
from ase import Atoms

from mace_core.assess.recheck import doubts_of
from mace_core.config.campaign import Config
from mace_core.conventions import FRAME_ID, MACE_FORCES, MEV, REF_FORCES
from mace_core.label.store import LabelStore

#: Of the frames scored, those whose label is in doubt.
QUARANTINE = "quarantine"


def doubted(
    config: Config,
    g: int,
    store: LabelStore,
    scored: dict[str, list[Atoms]],
    recheck: dict[str, Any] | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Labels that the committee doubts and nothing released, and a sentence on the others.

    The store gets a note of each. What was computed again stands in the reason.

    Args:
        config: of the plan.
        g: the generation.
        store: of the labels.
        scored: frames by kind, with predictions.
        recheck: recheck.json, where doubted labels were computed again.
    """
    entries = recheck["doubted"] if recheck else doubts_of(scored, config, store)
    again = {row[FRAME_ID]: row for row in recheck["rechecks"]} if recheck else {}
    found, released = [], []
    for entry in entries:
        row = again.get(entry[FRAME_ID])
        if store.releases.read(entry[FRAME_ID]) is not None:
            released += [entry[FRAME_ID]] if row and row["agrees"] else []
            continue
        if row:
            entry = entry | {"reason": f"{entry['reason']}; {row['reason']}"}
        found.append(entry)
        store.doubts.write(
            entry[FRAME_ID], {**entry, "campaign": config.campaign.name, "generation": g}
        )
    if not released:
        return found, []
    return found, [
        f"{len(released)} labels that the committee doubted were computed again, agree, and are "
        f"used: the models are wrong there ({', '.join(released)})"
    ]


def set_apart(
    scored: dict[str, list[Atoms]], names: set[str]
) -> tuple[dict[str, list[Atoms]], list[str]]:
    """Scored frames with the doubted ones as a kind of their own, and sentences on what changed.

    A wrong label would say that the models are wrong, and enlarge the calibration factor with which
    all walkers are judged.
    """
    notes = []
    new = {kind: scored[kind] for kind in ("audit", "picked")}
    sound = dict(scored)
    for kind, frames in new.items():
        sound[kind] = [atoms for atoms in frames if atoms.info[FRAME_ID] not in names]
        lost = len(frames) - len(sound[kind])
        if lost:
            every = np.concatenate([a.arrays[MACE_FORCES] - a.arrays[REF_FORCES] for a in frames])
            notes.append(
                f"{lost} of {len(frames)} {kind} labels in quarantine: errors and calibration are "
                f"without them (with them the {kind} force MAE is "
                f"{np.abs(every).mean() / MEV:.1f} meV/Å)"
            )
    sound[QUARANTINE] = [
        atoms for frames in new.values() for atoms in frames if atoms.info[FRAME_ID] in names
    ]
    return sound, notes
