"""One model with nearly the error of a committee: a student of what the committee says in its MD.

The errors of a committee's members differ in part, so its mean is better than its members. A model
that learns this mean beside the DFT labels keeps most of that (Hinton et al., arXiv 1503.02531),
costs one model in MD, and takes no further label.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms

from mace_core.committee import Committee
from mace_core.committee_file import read_committee
from mace_core.config.campaign import Config, load_settings
from mace_core.conventions import REF_FORCES
from mace_core.distill.lessons import displaced, taught, visited
from mace_core.errors import UserError
from mace_core.frames import dataset_hash, read_frames, write_frames
from mace_core.storage import read_json, sha256_file, sha256_json, write_json, write_text
from mace_core.train.member import train_member

#: Optimiser steps of the student, in those of a member.
STEPS = 6
_FEWEST_EPOCHS = 10
#: Kinds of a generation's frames that its committee had not seen (test, then train).
_UNSEEN = ("audit", "picked", "frozen")


def distill(
    generation: str | Path,
    out: str | Path,
    n_frames: int = 2000,
    max_num_epochs: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train one model on the labels of a generation's committee and on what that committee says.

    Frames come from Langevin MD of the committee, under ``explore`` of the frozen configuration,
    up to where it is unsure; half of them are displaced. A killed call goes on with the same
    arguments.

    Args:
        generation: folder of an assessed generation (``results/<campaign>/gen_NN``).
        out: folder to write to: the model, ``distill.json``, ``walks/`` and ``dataset/``.
        n_frames: labelled by the committee.
        max_num_epochs: by default :data:`STEPS` times the steps of a member, at least 10.
        seed: of MD, displacements and training.

    Returns:
        The content of ``distill.json``: sizes, and the errors of members, committee and student on
        frames that none of them was trained on, eV/Å.

    Raises:
        UserError: the generation has no committee, ``out`` is another one's, or the committee is
            sure of no frame.
    """
    generation, out = Path(generation), Path(out)
    config = _plan_of(generation)
    teachers = read_committee(generation / "train" / "committee.json")
    _claim(out, teachers.members, n_frames, seed)
    frames = visited(config, generation, out / "walks", n_frames, seed)
    where = {"dtype": config.train.default_dtype, "device": config.train.device}
    committee = Committee.load(teachers.members, **where)
    lessons = taught(
        committee,
        displaced(frames, config.seed.strain_max, seed),
        teachers.factor,
        config.explore.max_force_error,
    )
    labelled = read_frames(generation / "dataset" / "train.extxyz")
    _write_dataset(generation, out / "dataset", [*labelled, *lessons])
    epochs = max_num_epochs or max(
        _FEWEST_EPOCHS,
        math.ceil(
            STEPS * config.train.max_num_epochs * len(labelled) / (len(labelled) + len(lessons))
        ),
    )
    train = config.train.model_copy(update={"max_num_epochs": epochs})
    settings = config.model_copy(update={"train": train}).model_dump(mode="json")
    write_text(out / "config.yaml", yaml.safe_dump(settings))
    train_member(
        out / "dataset" / "train.extxyz",
        out / "config.yaml",
        out,
        valid_file=generation / "dataset" / "valid.extxyz",
        seed=seed,
    )
    content = read_json(out / "distill.json") | {
        "n_labelled": len(labelled),
        "n_taught": len(lessons),
        "max_num_epochs": epochs,
        "force_mae": _compared(generation, committee, Committee.load([out], **where)),
    }
    write_json(out / "distill.json", content)
    return content


def _plan_of(generation: Path) -> Config:
    """The frozen configuration of a generation that has all that is needed."""
    for name in ("plan.json", "dataset/dataset.json", "train/committee.json"):
        if not (generation / name).is_file():
            raise UserError(
                f"no {name} in it",
                where=str(generation),
                mend="give the folder of a generation with a committee: "
                "results/<campaign>/gen_NN, from 1 on",
            )
    return load_settings(generation / "plan.json")


def _claim(out: Path, members: list[str], n_frames: int, seed: int) -> None:
    """Say in ``out`` whose student it is."""
    hashes = [sha256_file(Path(member) / "model.safetensors") for member in members]
    mine = {"committee": sha256_json(hashes), "n_frames": n_frames, "seed": seed}
    path = out / "distill.json"
    begun = read_json(path) if path.is_file() else mine
    other = [key for key in mine if begun[key] != mine[key]]
    if other:
        raise UserError(
            f"it was begun with another {' and '.join(other)}",
            where=str(out),
            mend="give another --out, or remove the folder",
        )
    write_json(path, mine | {"members": members})


def _write_dataset(generation: Path, folder: Path, frames: list[Atoms]) -> None:
    """The student's training set, with the E0s of the committee's."""
    E0s = read_json(generation / "dataset" / "dataset.json")["E0s"]
    valid = read_frames(generation / "dataset" / "valid.extxyz")
    write_frames(folder / "train.extxyz", frames)
    write_json(folder / "dataset.json", {"E0s": E0s, "sha256": dataset_hash([*frames, *valid])})


def _compared(
    generation: Path, committee: Committee, student: Committee
) -> dict[str, dict[str, float]]:
    """Force MAE (eV/Å) by kind of frame: of a member (their mean), the committee, the student."""
    found = {}
    for kind in _UNSEEN:
        path = generation / "assess" / f"{kind}.extxyz"
        frames = [a for a in read_frames(path) if REF_FORCES in a.arrays] if path.is_file() else []
        if not frames:
            continue
        said = committee.predict(frames)
        of_members = [[p.member_forces[m] for p in said] for m in range(len(committee))]
        found[kind] = {
            "n_frames": len(frames),
            "member": float(np.mean([_mae(frames, forces) for forces in of_members])),
            "committee": _mae(frames, [p.forces for p in said]),
            "student": _mae(frames, [p.forces for p in student.predict(frames)]),
        }
    return found


def _mae(frames: list[Atoms], forces: list[np.ndarray]) -> float:
    """eV/Å, over the components of all atoms."""
    wrong = [f - a.arrays[REF_FORCES] for a, f in zip(frames, forces, strict=True)]
    return float(np.abs(np.concatenate(wrong)).mean())
