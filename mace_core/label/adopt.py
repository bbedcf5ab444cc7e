"""Labels that somebody else computed, taken from extxyz files into a label store."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.conventions import REF_ENERGY, REF_FORCES, REF_STRESS, LabelStatus
from mace_core.errors import UserError
from mace_core.frames import read_frames
from mace_core.label.exchange import Conflict, conflict_of
from mace_core.label.record import Record
from mace_core.label.store import LabelFolder
from mace_core.storage import sha256_file, write_json
from mace_core.train.labelled import frames_keys, labelled_frames


@dataclass
class Adopted:
    """What became of the frames in the files."""

    theory_id: str
    frames: int = 0
    new: int = 0
    same: int = 0  # the store had this very label
    quarantined: int = 0  # of the new ones: implausible
    repeats: list[tuple[str, str, float]] = field(default_factory=list)  # where, first where, ΔE
    conflicts: list[tuple[str, Conflict]] = field(default_factory=list)  # where; the store's stays


def adopt(
    folder: LabelFolder,
    theory: dict[str, Any],
    files: Sequence[Path],
    keys: tuple[str, str, str] = (REF_ENERGY, REF_FORCES, REF_STRESS),
    engine_version: str = "",
) -> Adopted:
    """Import labelled frames as records that say where they are from.

    All files are read and checked before anything is written. What was begun and broke off goes
    on with the same call: labels that are there already are not written again.

    Args:
        folder: of the level of theory that the labels were computed at; made where it is new.
        theory: what ``theory.json`` is to say.
        files: extxyz; energy (eV) and forces (eV/Å) on each frame, but that the force on a single
            atom in empty space, which is zero, may be missing; stress (eV/Å³) where known.
        keys: of energy, forces and stress.
        engine_version: of the program that computed them, where it is known.

    Raises:
        UserError: a frame lacks a label or has one that is not finite or of a wrong shape, or
            there is no room for the labels; nothing was written then. Or the disk was filled by
            others meanwhile: what was written is whole.
    """
    done = Adopted(folder.theory_id)
    first: dict[str, Record] = {}
    for path in files:
        sha256 = sha256_file(path) if Path(path).is_file() else ""
        for number, atoms in enumerate(labelled_frames(path, *keys)):
            _check(atoms, path, number, keys)
            origin = {"file": str(path), "sha256": sha256, "frame": number, "keys": list(keys)}
            record = _record(atoms, folder.theory_id, origin, engine_version)
            done.frames += 1
            other = first.setdefault(record.frame_id, record)
            if other is not record:
                here, there = _place(record.origin), _place(other.origin)
                done.repeats.append((here, there, record.energy - other.energy))
    _check_target(folder, list(first.values()))
    written = 0
    try:
        write_json(folder.folder / "theory.json", theory, exclusive=True)
        for record in first.values():
            _store(folder, record, done)
            written += 1
    except OSError as err:
        raise UserError(
            f"{written} of {len(first)} labels are written, the next one cannot be: {err.strerror}",
            where=str(folder.folder),
            mend="mend that and give the same command again: it goes on from there",
        ) from err
    return done


def _store(folder: LabelFolder, record: Record, done: Adopted) -> None:
    if folder.put(record):
        done.new += 1
        done.quarantined += folder.judged(record).status == LabelStatus.QUARANTINED
        return
    conflict = conflict_of(folder.stored(record.frame_id), record)
    if conflict:
        done.conflicts.append((_place(record.origin), conflict))
    else:
        done.same += 1


def _check(atoms: Atoms, path: Path, number: int, keys: tuple[str, str, str]) -> None:
    if not len(atoms):
        raise UserError("a frame without atoms", where=f"{path}, frame {number}")
    if len(atoms) == 1 and not atoms.pbc.any():
        atoms.arrays.setdefault(REF_FORCES, np.zeros((1, 3)))
    missing = [
        f"{name} (--{name}_key {key})"
        for name, key, there in (
            ("energy", keys[0], REF_ENERGY in atoms.info),
            ("forces", keys[1], REF_FORCES in atoms.arrays),
        )
        if not there
    ]
    if missing:
        seen = sorted(set(frames_keys(read_frames(path, f"{number}:{number + 1}"))))
        raise UserError(
            f"no {' and no '.join(missing)}: nothing was imported",
            where=f"{path}, frame {number} (it has: {', '.join(seen) or 'nothing'})",
            mend="name the keys that the file has, or take the frame out",
        )


def _record(atoms: Atoms, theory: str, origin: dict[str, Any], engine_version: str) -> Record:
    stress = atoms.info.get(REF_STRESS)
    return Record.of_frame(
        atoms,
        theory,
        status=str(LabelStatus.CONVERGED),
        reason="",
        energy=atoms.info[REF_ENERGY],
        forces=atoms.arrays[REF_FORCES].tolist(),
        stress=None if stress is None else stress.tolist(),
        engine_version=engine_version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        origin=origin,
    )


def _place(origin: dict[str, Any]) -> str:
    return f"{origin['file']}, frame {origin['frame']}"


def _check_target(folder: LabelFolder, records: list[Record]) -> None:
    """Raise where a damaged record is in the way, or the disk has no room."""
    missing = []
    for record in records:
        there = folder.stored(record.frame_id)
        if there is None or there.status != LabelStatus.DAMAGED:
            missing += [record] if there is None or not there.converged else []
            continue
        raise UserError(
            f"the store's record of frame {record.frame_id} is damaged: nothing was imported",
            where=f"{_place(record.origin)}; {there.reason}",
            mend="bring the record back (`maceloop labels merge BACKUP STORE`) or compute it again "
            "(`maceloop label --retry-failed`)",
        )
    place = folder.folder
    while not place.exists():
        place = place.parent
    disk = os.statvfs(place)
    blocks = sum(len(json.dumps(r.to_json(), indent=1)) // disk.f_frsize + 1 for r in missing)
    # A temporary file, theory.json, folders.
    if blocks + 4 > disk.f_bavail or (disk.f_files and len(missing) + 4 > disk.f_favail):
        raise UserError(
            f"no room for {len(missing)} labels ({blocks * disk.f_frsize / 1e6:.1f} MB): nothing "
            "was imported",
            where=str(folder.folder),
            mend="make room, or give --store on another disk",
        )
