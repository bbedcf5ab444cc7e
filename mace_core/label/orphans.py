"""What killed processes and finished failures left behind in a label store."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mace_core.label.claims import Claims, age
from mace_core.label.store import LabelFolder

#: Seconds after which a temporary file has no writer any more: writing one takes a moment.
FORSAKEN = 900.0
_TEMPORARY = re.compile(r"\..+\.tmp")


class Kind(StrEnum):
    """Of what is left behind."""

    CLAIM = "claim"  # of a process that is gone
    TEMPORARY = "temporary file"  # of a writer that is gone
    OUTPUTS = "outputs"  # of failed attempts at a frame that has converged since
    NOTE = "note"  # on a frame without a record


#: What nobody can miss; the rest is for a person to decide.
LITTER = frozenset({Kind.CLAIM, Kind.TEMPORARY})


@dataclass(frozen=True)
class Orphan:
    """A file or folder that belongs to nothing any more."""

    theory_id: str
    kind: Kind
    path: Path
    why: str
    bytes: int


def orphans(folders: Iterable[LabelFolder]) -> list[Orphan]:
    """What is left behind at these levels of theory.

    A claim of a process that may be alive is none, on whatever machine that is, and neither is
    any other claim of its frame.
    """
    found = []
    for folder in folders:
        for place in (folder, folder.rechecks):
            found += _claims(place) + _temporary(place) + _outputs(place)
        found += _notes(folder)
    return found


def remove(orphan: Orphan) -> bool:
    """Delete a claim, a temporary file or outputs, if what was found of it still holds.

    Returns:
        Whether it is gone by this call.

    Raises:
        ValueError: it is a note, which only a person can judge.
    """
    if orphan.kind == Kind.CLAIM:
        return Claims(orphan.path.parent).clear(orphan.path.name.split(".")[0])
    if orphan.kind == Kind.TEMPORARY:
        if age(orphan.path) <= FORSAKEN:
            return False
        orphan.path.unlink(missing_ok=True)
        return True
    if orphan.kind == Kind.OUTPUTS:
        shutil.rmtree(orphan.path)
        return True
    raise ValueError(f"a {orphan.kind} is never removed: {orphan.path}")


def _claims(folder: LabelFolder) -> list[Orphan]:
    claims = Claims(folder.folder)
    found = []
    for frame_id, paths in sorted(claims.found().items()):
        if all(claims.is_dead(path) for path in paths):
            record = folder.stored(frame_id)
            has = f"the frame is {record.status}" if record else "the frame has no record"
            found += [_orphan(folder, Kind.CLAIM, p, f"its process is gone; {has}") for p in paths]
    return found


def _temporary(folder: LabelFolder) -> list[Orphan]:
    places = [folder.folder, folder.doubts.folder, folder.releases.folder]
    return [
        _orphan(folder, Kind.TEMPORARY, path, f"{seconds / 60:.0f} minutes old")
        for place in places
        if place.is_dir()
        for path in sorted(place.iterdir())
        if _TEMPORARY.fullmatch(path.name) and (seconds := age(path)) > FORSAKEN
    ]


def _outputs(folder: LabelFolder) -> list[Orphan]:
    found = []
    for path in sorted((folder.folder / "failed").glob("[!.]*")):
        record = folder.stored(path.name)
        if record is not None and record.converged:
            found.append(
                _orphan(folder, Kind.OUTPUTS, path, "failed attempts; the frame converged since")
            )
    return found


def _notes(folder: LabelFolder) -> list[Orphan]:
    return [
        _orphan(folder, Kind.NOTE, notes.path(frame_id), "the frame has no record")
        for notes in (folder.doubts, folder.releases)
        for frame_id in notes.frame_ids()
        if folder.stored(frame_id) is None
    ]


def _orphan(folder: LabelFolder, kind: Kind, path: Path, why: str) -> Orphan:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return Orphan(folder.theory_id, kind, path, why, sum(_size(item) for item in files))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
