"""Label stores brought together, and training sets taken out of one."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms

from mace_core.conventions import (
    CHARGE,
    CONFIG_TYPE,
    ISOLATED_ATOM,
    LABEL_STATUS,
    REF_ENERGY,
    LabelStatus,
)
from mace_core.errors import UserError
from mace_core.label.claims import Claims
from mace_core.label.ledger import Filter, judged, levels, row_of
from mace_core.label.notes import Notes
from mace_core.label.record import Record
from mace_core.label.store import LabelFolder
from mace_core.label.theory import id_of
from mace_core.storage import read_json, write_json


@dataclass
class Conflict:
    """Two converged labels of one frame at one level of theory that differ."""

    frame_id: str
    kept: float  # energy in the target, eV
    other: float  # energy that was brought, eV
    force: float  # largest difference of a force component, eV/Å


@dataclass
class Merged:
    """What became of one level of theory of the source."""

    theory_id: str
    new: int = 0  # labels that the target lacked
    failures: int = 0  # records of failures that the target lacked
    mended: int = 0  # damaged records of the target that were replaced
    rechecks: int = 0  # second computations of labels that the target lacked
    same: int = 0  # already there: the same label, or an outcome that is not worse
    notes: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    not_copied: list[tuple[Path, str]] = field(default_factory=list)  # file, why


def merge(source: str | Path, target: str | Path) -> list[Merged]:
    """Bring all labels and notes of one store into another; the source stays as it is.

    A converged label wins over a failure, and the one that is there over another one, which is
    reported if it differs. What is damaged is not copied; where the target's record is damaged,
    it is set aside and the source's takes its place. What was begun and broke off goes on with
    the same call.

    Args:
        source: root of a store.
        target: root of a store; made if it is not there.

    Raises:
        UserError: the source is no store, or both are the same.
        OSError: the target cannot be written; all that was copied is whole.
    """
    source, target = Path(source), Path(target)
    folders = levels(source)
    if not folders:
        raise UserError(
            f"no level of theory in {source}", mend="give the folder that holds <theory id>/"
        )
    if target.exists():
        if source.samefile(target):
            raise UserError(f"{source} and {target} are the same store")
        levels(target)
    return [_merge(folder, LabelFolder(target / folder.theory_id)) for folder in folders]


def _merge(source: LabelFolder, target: LabelFolder) -> Merged:
    done = Merged(source.theory_id)
    _copy_theory(source, target, done)
    target.folder.mkdir(parents=True, exist_ok=True)
    # Doubts first: nobody is to see a doubted label without them.
    _copy_notes(source.doubts, target.doubts, done)
    _copy_records(source, target, done)
    rechecks = Merged(source.theory_id)
    _copy_records(source.rechecks, target.rechecks, rechecks)
    done.rechecks = rechecks.new + rechecks.failures + rechecks.mended
    done.not_copied += rechecks.not_copied
    _copy_notes(source.releases, target.releases, done)
    return done


def _copy_theory(source: LabelFolder, target: LabelFolder, done: Merged) -> None:
    if (target.folder / "theory.json").exists():
        return
    path = source.folder / "theory.json"
    try:
        theory = read_json(path)
        problem = "" if id_of(theory) == source.theory_id else "it is of another theory"
    except (ValueError, OSError) as err:
        problem = str(err)
    if problem:
        done.not_copied.append((path, problem))
    else:
        write_json(target.folder / "theory.json", theory, exclusive=True)


def _copy_records(source: LabelFolder, target: LabelFolder, done: Merged) -> None:
    for frame_id in source.frame_ids():
        for path in (source.path(frame_id), source.failed_path(frame_id)):
            try:
                record = source.read(path, frame_id)
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as err:
                done.not_copied.append((path, str(err)))
                continue
            _copy(record, source, target, done)


def _copy(record: Record, source: LabelFolder, target: LabelFolder, done: Merged) -> None:
    there = target.stored(record.frame_id)
    if record.converged and there is not None and there.status == LabelStatus.DAMAGED:
        if not _set_aside(target, record.frame_id):
            path = target.path(record.frame_id)
            done.not_copied.append((path, "the record there is damaged, and its frame is claimed"))
            return
        done.mended += 1
    if record.converged:
        if target.put(record):
            done.new += 1
        elif conflict := conflict_of(target.stored(record.frame_id), record):
            done.conflicts.append(conflict)
        else:
            done.same += 1
    elif there is None and target.put(record):
        done.failures += 1
        _copy_outputs(record.frame_id, source, target)
    else:
        done.same += 1


def conflict_of(kept: Record, other: Record) -> Conflict | None:
    """In what two converged records of one frame differ, or None where their labels agree."""
    if (kept.energy, kept.forces, kept.stress) == (other.energy, other.forces, other.stress):
        return None
    pairs = zip(kept.forces, other.forces, strict=True)
    force = max(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True))
    return Conflict(kept.frame_id, kept.energy, other.energy, force)


def _set_aside(folder: LabelFolder, frame_id: str) -> bool:
    """Move a damaged record away, unless somebody is about to compute its frame again."""
    claims = Claims(folder.folder)
    if not claims.acquire(frame_id):
        return False
    folder.set_aside(frame_id)
    claims.release(frame_id)
    return True


def _copy_outputs(frame_id: str, source: LabelFolder, target: LabelFolder) -> None:
    """For people only: what cannot be copied must not cost a record."""
    with contextlib.suppress(OSError):
        if source.outputs(frame_id).is_dir():
            shutil.copytree(source.outputs(frame_id), target.outputs(frame_id), dirs_exist_ok=True)


def _copy_notes(source: Notes, target: Notes, done: Merged) -> None:
    for frame_id in source.frame_ids():
        note = source.read(frame_id)
        if note is None:
            done.not_copied.append((source.path(frame_id), "no note on this frame"))
        else:
            done.notes += target.adopt(note)


def training_set(
    folders: Iterable[LabelFolder], wanted: Filter | None = None
) -> tuple[list[Atoms], Counter]:
    """The labels of one level of theory that may be trained on.

    Returns:
        Frames with ``REF_*`` in the order of their ids, a neutral free atom of each element marked
        ``config_type=IsolatedAtom`` (the one of lowest energy); and how many that the filter
        keeps were left out, by status.

    Raises:
        UserError: there are labels at several levels of theory.
    """
    wanted = wanted or Filter()
    left_out: Counter = Counter()
    frames: dict[str, list[Atoms]] = {}
    for folder in folders:
        for frame_id in folder.frame_ids():
            record, released = judged(folder, frame_id)
            if record is None or not wanted.keeps(row_of(record, released)):
                continue
            if record.converged:
                atoms = record.to_atoms()
                del atoms.info[LABEL_STATUS]
                frames.setdefault(folder.theory_id, []).append(atoms)
            else:
                left_out[str(record.status)] += 1
    if len(frames) > 1:
        raise UserError(
            f"labels at {len(frames)} levels of theory must not be trained on together",
            where=", ".join(f"{name} ({len(some)})" for name, some in frames.items()),
            mend="choose one with --theory; `maceloop labels count` says which is which",
        )
    chosen = next(iter(frames.values()), [])
    _mark_free_atoms(chosen)
    return chosen, left_out


def _mark_free_atoms(frames: list[Atoms]) -> None:
    lowest: dict[int, Atoms] = {}
    for atoms in frames:
        if len(atoms) == 1 and not atoms.pbc.any() and atoms.info[CHARGE] == 0:
            other = lowest.setdefault(int(atoms.numbers[0]), atoms)
            if atoms.info[REF_ENERGY] < other.info[REF_ENERGY]:
                lowest[int(atoms.numbers[0])] = atoms
    for atoms in lowest.values():
        atoms.info[CONFIG_TYPE] = ISOLATED_ATOM
