"""Whether the files of a label store are what was written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mace_core.frames import frame_id as id_of_frame
from mace_core.label.record import Record
from mace_core.label.store import LabelFolder
from mace_core.label.theory import id_of
from mace_core.storage import read_json


@dataclass
class Checked:
    """What was found at one level of theory."""

    theory_id: str
    records: int = 0  # rechecks included
    notes: int = 0
    set_aside: int = 0  # damaged files that were moved out of the way earlier
    damaged: list[tuple[Path, str]] = field(default_factory=list)  # file, what is wrong


def verify(folders: Iterable[LabelFolder]) -> list[Checked]:
    """Read every file of these levels of theory.

    Of a record its hash, its name, the frame's id as its geometry gives it, and the shapes of
    its numbers are checked; of a note its name; of theory.json that it has the folder's name.
    """
    return [_verify(folder) for folder in folders]


def _verify(folder: LabelFolder) -> Checked:
    found = Checked(folder.theory_id)
    problem = _theory_problem(folder)
    if problem:
        found.damaged.append((folder.folder / "theory.json", problem))
    for place in (folder, folder.rechecks):
        for path in sorted(place.folder.glob("[!.]*.json")):
            if path.name == "theory.json":
                continue
            found.records += 1
            problem = _record_problem(place, path)
            if problem:
                found.damaged.append((path, problem))
    for notes in (folder.doubts, folder.releases):
        for frame_id in notes.frame_ids():
            found.notes += 1
            if notes.read(frame_id) is None:
                found.damaged.append((notes.path(frame_id), "no note on this frame"))
        found.set_aside += sum(1 for _ in (place.folder / "damaged").glob("[!.]*"))
    return found


def _theory_problem(folder: LabelFolder) -> str:
    try:
        theory = read_json(folder.folder / "theory.json")
    except FileNotFoundError:
        return "missing: nothing says what these labels were computed with"
    except (ValueError, OSError) as err:
        return f"cannot be read: {err}"
    name = id_of(theory)
    return "" if name == folder.theory_id else f"its content is that of theory {name}"


def _record_problem(folder: LabelFolder, path: Path) -> str:
    frame_id = path.name.split(".")[0]
    if path not in (folder.path(frame_id), folder.failed_path(frame_id)):
        return "no file of a label store has such a name"
    try:
        record = folder.read(path, frame_id)
        named = id_of_frame(record.frame())
    except (OSError, ValueError, TypeError, IndexError) as err:
        return str(err)
    if named != frame_id:
        return f"its geometry is that of frame {named}"
    if record.converged != (path == folder.path(frame_id)):
        return f"a record of status {record.status} lies under this name"
    return _numbers_problem(record) if record.converged else ""


def _numbers_problem(record: Record) -> str:
    shapes = {"energy": (), "forces": (len(record.numbers), 3), "stress": (6,)}
    for key, shape in shapes.items():
        value = getattr(record, key)
        if value is None and key == "stress":
            continue
        array = np.array(value, dtype=float)
        if array.shape != shape or not np.isfinite(array).all():
            return f"{key} is missing, not finite, or has a wrong shape"
    return ""
