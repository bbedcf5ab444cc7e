"""The training set of a generation: every converged label of the generations before it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import chemical_symbols

from mace_core.config.campaign import Config, parse_config
from mace_core.conventions import (
    FRAME_ID,
    GENERATION,
    GROUP,
    LABEL_STATUS,
    REF_ENERGY,
    REF_FORCES,
    ROLE,
    WALKER,
    FrameRole,
    LabelStatus,
)
from mace_core.errors import UserError
from mace_core.frames import dataset_hash, write_frames
from mace_core.label.store import LabelStore, Record
from mace_core.label.theory import theory_id
from mace_core.model.graph import neighbours
from mace_core.storage import read_json, sha256_file, write_json
from mace_core.tables import write_table
from mace_core.train.e0s import atomic_energies
from mace_core.train.labelled import is_isolated_atom, read_labelled
from mace_core.train.split import NONE, TRAIN, VALID, split_frames

#: Where a frame came from: ``gen_02``, or the name of a labelled file.
SOURCE = "source"

#: ``generation`` of frames from labelled files: they were there before the campaign.
BEFORE = -1

LEDGER = (
    "frame_id",
    "generation",
    "role",
    "status",
    "reason",
    "source",
    "split",
    "energy_per_atom",
    "max_force",
    "wall_seconds",
)


@dataclass
class _Label:
    """One row of the ledger, with its frame where the label converged."""

    row: dict[str, Any]
    arrival: tuple[str, int]
    frame: Atoms | None


def build_dataset(plan_file: str | Path, merged_files: list[str | Path], out: str | Path) -> dict:
    """Write ``train.extxyz``, ``valid.extxyz``, ``dataset.json`` and the ledger of one generation.

    The same labels give the same files byte for byte, whatever the order of ``merged_files`` and
    of what they list. How frames are held out: :func:`mace_core.train.split.split_frames`, with
    the campaign's generations and the user's labelled files as its two streams.

    Args:
        plan_file: the generation's ``plan.json``.
        merged_files: ``merged.json`` of the earlier generations.
        out: folder to write to.

    Returns:
        The content of ``dataset.json``.

    Raises:
        UserError: a labelled file changed since the plan was made, the store lacks a label that
            was merged, there are fewer than two labels to train on, or an element has no E0.
    """
    plan = read_json(plan_file)
    config = parse_config(plan["config"], where=str(plan_file))
    merged = _read_merged(merged_files, plan["generation"])
    labels = _campaign_labels(plan, config, merged) + _user_labels(plan, config)
    labels.sort(key=lambda label: (label.row["generation"], label.row[FRAME_ID], label.arrival))

    repeats = _repeats(labels)
    usable = [label for label in labels if label.frame is not None and id(label) not in repeats]
    isolated = [label for label in usable if is_isolated_atom(label.frame)]
    trainable = [label for label in usable if not is_isolated_atom(label.frame)]
    if len(trainable) < 2:
        raise UserError(
            f"{len(trainable)} converged labels: at least two are needed to train",
            where=f"{len(labels)} labels in {', '.join(str(path) for path in merged_files)}",
            mend="the ledger of labels says why the others failed; add frames with seed.n_frames "
            "or data.labelled",
        )
    sides = split_frames(
        [label.frame for label in trainable],
        config.data.valid_fraction,
        config.campaign.seed,
        [label.arrival for label in trainable],
    )
    for label, side in zip(trainable, sides, strict=True):
        label.row["split"] = side
    _drop_second_copies(trainable)
    for label in trainable:
        if label.row["split"] == NONE and not label.row["reason"]:
            label.row["reason"] = "near-duplicate of a held-out frame"

    train = [label.frame for label in trainable if label.row["split"] == TRAIN]
    valid = [label.frame for label in trainable if label.row["split"] == VALID]
    free_atoms = _free_atoms(isolated)
    both = train + valid
    e0s = atomic_energies(config.data.E0s, both, free_atoms)
    summary = {
        "generation": plan["generation"],
        "n_train": len(train),
        "n_valid": len(valid),
        "sha256": dataset_hash(both + free_atoms),
        "E0s": {chemical_symbols[z]: energy for z, energy in e0s.items()},
        "elements": [chemical_symbols[z] for z in e0s],
        "mean_neighbours": mean_neighbours(train, config.model.r_max),
        "sources": _count(frame.info[SOURCE] for frame in both),
    }
    out = Path(out)
    write_frames(out / "train.extxyz", train)
    write_frames(out / "valid.extxyz", valid)
    write_table(pd.DataFrame([label.row for label in labels], columns=LEDGER), out / "ledger")
    write_json(out / "dataset.json", summary)
    return summary


def mean_neighbours(frames: list[Atoms], r_max: float) -> float:
    """Neighbours within ``r_max`` (Å) of an atom, averaged over all atoms of all frames."""
    edges = sum(neighbours(frame, r_max)[0].shape[1] for frame in frames)
    return edges / sum(len(frame) for frame in frames)


def _read_merged(paths: list[str | Path], generation: int) -> list[dict]:
    """The merged labels, ascending by generation, each generation once and before this one."""
    merged = sorted((read_json(path) for path in paths), key=lambda m: m["generation"])
    generations = [m["generation"] for m in merged]
    if generations != sorted(set(generations)) or any(g >= generation for g in generations):
        raise UserError(
            f"merged labels of generations {generations} for the data of generation {generation}",
            mend="give the merged.json of each earlier generation once",
        )
    return merged


def _campaign_labels(plan: dict, config: Config, merged: list[dict]) -> list[_Label]:
    """What was labelled in earlier generations."""
    now = theory_id(config.labeller)
    if now != plan["theory"]:
        raise UserError(
            f"the labeller is level of theory {now} now, and was {plan['theory']} when the "
            "generation was planned",
            where=f"labeller.engine: {config.labeller.engine}",
            mend="install the engine's version that theory.json in the label store names",
        )
    store = LabelStore(config.campaign.label_store, config.labeller)
    labels = []
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
            labels.append(_campaign_label(entry, record, part["generation"]))
    return labels


def _campaign_label(entry: dict, record: Record | None, generation: int) -> _Label:
    row = {
        FRAME_ID: entry[FRAME_ID],
        "generation": generation,
        "role": entry["role"],
        "status": record.status if record else entry["status"],
        "reason": record.reason if record else "labelled at another level of theory",
        "source": f"gen_{generation:02d}",
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
    return _Label(row, ("campaign", generation), frame)


def _user_labels(plan: dict, config: Config) -> list[_Label]:
    """What the user had labelled already, as it was when the plan was made."""
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
            row = {
                FRAME_ID: frame.info[FRAME_ID],
                "generation": BEFORE,
                "role": str(FrameRole.ISOLATED if is_isolated_atom(frame) else FrameRole.SEED),
                "status": str(LabelStatus.CONVERGED),
                "reason": "",
                "source": names[number],
                "split": NONE,
                "energy_per_atom": np.nan,
                "max_force": np.nan,
                "wall_seconds": 0.0,
            }
            _describe(frame, row)
            labels.append(_Label(row, ("files", number), frame))
    return labels


def _describe(frame: Atoms, row: dict) -> None:
    """Copy between a frame and its row what both carry."""
    frame.info |= {GENERATION: row["generation"], ROLE: row["role"], SOURCE: row["source"]}
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


def _repeats(labels: list[_Label]) -> set[int]:
    """Labels (by ``id``) whose frame came before within the campaign, or within the files."""
    first, repeats = {}, set()
    for label in sorted(labels, key=lambda label: label.arrival):
        if label.frame is None:
            continue
        key = (label.arrival[0], label.row[FRAME_ID])
        other = first.setdefault(key, label)
        if other is not label:
            label.row["reason"] = f"the same frame as in {other.row['source']}"
            repeats.add(id(label))
    return repeats


def _drop_second_copies(labels: list[_Label]) -> None:
    """Of a frame that both the campaign and a file brought to one side, keep the campaign's."""
    kept = {}
    for label in sorted(labels, key=lambda label: label.arrival):
        if label.row["split"] == NONE:
            continue
        other = kept.setdefault(label.row[FRAME_ID], label)
        if other is not label:
            label.row |= {"split": NONE, "reason": f"the same frame as in {other.row['source']}"}


def _free_atoms(isolated: list[_Label]) -> list[Atoms]:
    """One free atom an element: the campaign's own before a file's."""
    chosen = {}
    for label in sorted(isolated, key=lambda label: (label.arrival, label.row[FRAME_ID])):
        chosen.setdefault(int(label.frame.numbers[0]), label.frame)
    return [chosen[z] for z in sorted(chosen)]


def _count(values) -> dict[str, int]:
    series = pd.Series(list(values)).value_counts()
    return {str(key): int(series[key]) for key in sorted(series.index)}
