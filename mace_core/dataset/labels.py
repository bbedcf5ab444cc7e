"""What earlier generations and the user's files have labelled: the rows of the ledger."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.conventions import (
    FRAME_ID,
    GENERATION,
    GROUP,
    LABEL_STATUS,
    REF_ENERGY,
    REF_FORCES,
    ROLE,
    STRATUM,
    WALKER,
    FrameRole,
    LabelStatus,
)
from mace_core.dataset.strata import Origins, add_origin, stratum_of_entry, stratum_of_users
from mace_core.errors import UserError
from mace_core.label.store import LabelStore, Record
from mace_core.label.theory import theory_id
from mace_core.storage import sha256_file
from mace_core.train.labelled import is_isolated_atom, read_labelled
from mace_core.train.split import NONE

#: Where a frame came from: ``gen_02``, or the name of a labelled file.
SOURCE = "source"

#: ``generation`` of frames from labelled files: they were there before the campaign.
BEFORE = -1


@dataclass
class Label:
    """One row of the ledger, with its frame where the label converged."""

    row: dict[str, Any]
    arrival: tuple[str, int]
    frame: Atoms | None


def campaign_labels(
    plan: dict, config: Config, merged: list[dict], doubted: dict[str, str]
) -> tuple[list[Label], Origins]:
    """What was labelled in earlier generations, and which strata generation 0 has.

    Args:
        plan: of the generation.
        config: in it.
        merged: labels of each earlier generation.
        doubted: reasons by frame id.
    """
    now = theory_id(config.labeller)
    if now != plan["theory"]:
        raise UserError(
            f"the labeller is level of theory {now} now, and was {plan['theory']} when the "
            "generation was planned",
            where=f"labeller.engine: {config.labeller.engine}",
            mend="install the engine's version that theory.json in the label store names",
        )
    store = LabelStore(config.campaign.label_store, config.labeller)
    labels: list[Label] = []
    origins: Origins = {}
    for part in merged:
        other_theory = part["theory"] != plan["theory"]
        if other_theory:
            print(
                f"generation {part['generation']} was labelled at theory {part['theory']}, the "
                f"plan is for {plan['theory']}: only labels of the plan's theory train",
                file=sys.stderr,
            )
        for entry in part["labels"]:
            record = store.get(entry[FRAME_ID])
            if record is None and not other_theory:
                raise UserError(
                    f"label {entry[FRAME_ID]} was merged but is not in the label store",
                    where=str(store.folder),
                    mend="bring the store back, or label the frames of "
                    f"generation {part['generation']} again",
                )
            doubt = doubted.get(entry[FRAME_ID])
            if record and record.converged and doubt and not store.releases.read(entry[FRAME_ID]):
                record = replace(record, status=str(LabelStatus.QUARANTINED), reason=doubt)
            label = _campaign_label(entry, record, part["generation"])
            labels.append(label)
            if part["generation"] == 0:
                add_origin(origins, label.row[STRATUM], record)
    return labels, origins


def _campaign_label(entry: dict, record: Record | None, generation: int) -> Label:
    row = {
        FRAME_ID: entry[FRAME_ID],
        "generation": generation,
        "role": entry["role"],
        "status": record.status if record else entry["status"],
        "reason": record.reason if record else "labelled at another level of theory",
        "source": f"gen_{generation:02d}",
        STRATUM: stratum_of_entry(entry, record),
        "split": NONE,
        "energy_per_atom": np.nan,
        "max_force": np.nan,
        "wall_seconds": entry["wall_seconds"],
    }
    frame = None
    if record is not None and record.status == LabelStatus.CONVERGED:
        frame = record.to_atoms()
        frame.info.pop(LABEL_STATUS, None)
        if entry["role"] == FrameRole.ISOLATED:
            frame.info["config_type"] = "IsolatedAtom"
        frame.info |= {
            key: entry[key] for key in (GROUP, WALKER) if entry.get(key) not in (None, "")
        }
        _describe(frame, row)
    return Label(row, ("campaign", generation), frame)


def user_labels(plan: dict, config: Config, origins: Origins) -> list[Label]:
    """What the user had labelled already, as it was when the plan was made.

    Args:
        plan: of the generation.
        config: in it.
        origins: the strata of generation 0.
    """
    labels = []
    names = _source_names([item["path"] for item in plan["labelled"]])
    for number, item in enumerate(plan["labelled"]):
        path = Path(item["path"])
        if not path.is_file():
            raise UserError(f"data.labelled: file not found: {path}", mend="bring it back")
        if sha256_file(path) != item["sha256"]:
            raise UserError(
                f"data.labelled: {path} changed since generation {plan['generation']} was planned",
                mend="restore it; new frames go into a file of their own, which is taken up by the "
                "next generation",
            )
        keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
        frames, isolated = read_labelled(path, *keys)
        for frame in frames + isolated:
            free_atom = is_isolated_atom(frame)
            row = {
                FRAME_ID: frame.info[FRAME_ID],
                "generation": BEFORE,
                "role": str(FrameRole.ISOLATED if free_atom else FrameRole.SEED),
                "status": str(LabelStatus.CONVERGED),
                "reason": "",
                "source": names[number],
                STRATUM: None if free_atom else stratum_of_users(frame, origins),
                "split": NONE,
                "energy_per_atom": np.nan,
                "max_force": np.nan,
                "wall_seconds": 0.0,
            }
            _describe(frame, row)
            labels.append(Label(row, ("files", number), frame))
    return labels


def _describe(frame: Atoms, row: dict) -> None:
    """Copy between a frame and its row what both carry."""
    frame.info |= {GENERATION: row["generation"], ROLE: row["role"], SOURCE: row["source"]}
    frame.info.pop(STRATUM, None)
    if row[STRATUM] is not None:
        frame.info[STRATUM] = row[STRATUM]
    if REF_ENERGY in frame.info:
        row["energy_per_atom"] = frame.info[REF_ENERGY] / len(frame)
    if REF_FORCES in frame.arrays:
        row["max_force"] = float(np.linalg.norm(frame.arrays[REF_FORCES], axis=1).max())


def _source_names(paths: list[str]) -> list[str]:
    """File names, or whole paths where two files share a name."""
    names = [Path(path).name for path in paths]
    return [
        name if names.count(name) == 1 else path for name, path in zip(names, paths, strict=True)
    ]
