"""The label store: one file a label, written once, never lost."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import LabelStatus
from mace_core.errors import UserError
from mace_core.label.notes import Notes
from mace_core.label.record import Record
from mace_core.label.sanity import doubt
from mace_core.label.theory import describe, theory_id
from mace_core.storage import move_aside, read_json, write_json

__all__ = ["LabelFolder", "LabelStore", "Record"]

#: What a record can say of itself; other statuses are judgements on it.
_STORED = frozenset(LabelStatus) - {LabelStatus.QUARANTINED, LabelStatus.DAMAGED}


class LabelFolder:
    """All labels at one level of theory, as they lie in a folder.

    Any number of processes, on any number of machines with a common file system, may write at
    once: each file appears whole, a converged record is never replaced (the first one wins), and
    a converged record hides a failed one.

    Labels that were computed again from another starting guess, because they were doubted, lie in a
    folder of the same kind, :attr:`rechecks`. They are evidence, and train nowhere.

    Args:
        folder: ``<store>/<theory id>``.
        limits: of what is plausible; by default those of any engine.
    """

    def __init__(self, folder: str | Path, limits: LabellerBase | None = None):
        self.folder = Path(folder)
        self.level = self.folder  # of theory; theory.json lies there
        self.theory_id = self.folder.name
        self.limits = limits or LabellerBase()
        self.doubts = Notes(self.folder / "quarantine")
        self.releases = Notes(self.folder / "released")

    @property
    def rechecks(self) -> "LabelFolder":
        """Second computations of the labels here; the folder need not be there."""
        folder = LabelFolder(self.folder / "rechecks", self.limits)
        folder.level, folder.theory_id = self.level, self.theory_id
        return folder

    def path(self, frame_id: str) -> Path:
        """Where a converged record lies."""
        return self.folder / f"{frame_id}.json"

    def failed_path(self, frame_id: str) -> Path:
        """Where the record of a failure lies."""
        return self.folder / f"{frame_id}.failed.json"

    def outputs(self, frame_id: str) -> Path:
        """Folder with the engine's output of failed attempts."""
        return self.folder / "failed" / frame_id

    def get(self, frame_id: str) -> Record | None:
        """The converged record of a frame, else its failed one, else None.

        A converged one that is implausible (:func:`mace_core.label.sanity.doubt`) has status
        ``quarantined`` and the reason, and keeps its numbers, until it is released by hand.
        """
        record = self.stored(frame_id)
        return None if record is None else self.judged(record)

    def stored(self, frame_id: str) -> Record | None:
        """A frame's record as it lies there, without judgement on its numbers.

        One that is not what was written has status ``damaged``, and nothing else but the reason.
        """
        for path in (self.path(frame_id), self.failed_path(frame_id)):
            try:
                return self.read(path, frame_id)
            except FileNotFoundError:
                continue
            except ValueError as err:
                return Record.damaged(frame_id, self.theory_id, f"{err} ({path})")
        return None

    def judged(self, record: Record) -> Record:
        """The record, or the same in quarantine."""
        if not record.converged:
            return record
        reason = doubt(record, self.limits)
        if not reason or self.releases.read(record.frame_id):
            return record
        return replace(record, status=str(LabelStatus.QUARANTINED), reason=reason)

    def put(self, record: Record) -> bool:
        """Store a record.

        A converged record is written once. A failed one replaces an earlier failure (it carries
        the attempts of both), never a converged record.

        Returns:
            False if the frame had a converged record already, which stays.

        Raises:
            ValueError: the record belongs to another level of theory, is no outcome of a
                computation, or says that it converged without saying to what.
            OSError: it could not be written; nothing of it is left.
        """
        if record.theory_id != self.theory_id:
            raise ValueError(f"record of theory {record.theory_id} in store {self.theory_id}")
        if record.status not in _STORED:
            raise ValueError(f"{record.status} is a judgement on record {record.frame_id}")
        if record.converged:
            if record.energy is None or record.forces is None:
                raise ValueError(f"converged record {record.frame_id} lacks energy or forces")
            return write_json(self.path(record.frame_id), record.to_json(), exclusive=True)
        if self.path(record.frame_id).exists():
            return False
        return write_json(self.failed_path(record.frame_id), record.to_json())

    def set_aside(self, frame_id: str) -> list[Path]:
        """Move a frame's damaged files out of the way, into ``damaged/``: it has no label then.

        Returns:
            Where they lie now.
        """
        moved = []
        for path in (self.path(frame_id), self.failed_path(frame_id)):
            try:
                self.read(path, frame_id)
            except FileNotFoundError:
                continue
            except ValueError:
                moved.append(move_aside(path, self.folder / "damaged"))
        return moved

    def frame_ids(self) -> list[str]:
        """Frames that have a record, in the order of their ids."""
        if not self.folder.is_dir():
            return []
        names = (name for name in os.listdir(self.folder) if name.endswith(".json"))
        return sorted({name.split(".")[0] for name in names if name[0] != "."} - {"theory"})

    def records(self) -> Iterator[Record]:
        """All records, judged, in the order of frame ids; the converged one where there are two."""
        for frame_id in self.frame_ids():
            record = self.get(frame_id)
            if record is not None:
                yield record

    def refresh(self) -> None:
        """Make records that another machine just wrote visible here.

        NFS caches that a file does not exist; opening the folder revalidates that.
        """
        os.close(os.open(self.folder, os.O_RDONLY))

    def read(self, path: Path, frame_id: str) -> Record:
        """The record in a file of the store.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is not what was written, or of another frame or level of theory.
        """
        try:
            record = Record.from_json(read_json(path))
        except (ValueError, TypeError, AttributeError) as err:
            raise ValueError(f"damaged or changed after it was written: {err}") from err
        if record.frame_id != frame_id or record.theory_id != self.theory_id:
            raise ValueError(
                f"the record of frame {record.frame_id} at theory {record.theory_id} "
                "lies under another name"
            )
        return record


class LabelStore(LabelFolder):
    """The labels of one labeller.

    Args:
        root: the store's folder, shared by all levels of theory.
        theory: the labeller's settings; ``theory.json`` is written when the level is new.

    Raises:
        UserError: the engine's package is not installed, or the folder cannot be written.
    """

    def __init__(self, root: str | Path, theory: LabellerBase):
        super().__init__(Path(root) / theory_id(theory), theory)
        if not (self.folder / "theory.json").is_file():
            try:
                write_json(self.folder / "theory.json", describe(theory), exclusive=True)
            except OSError as err:
                raise UserError(
                    f"the label store cannot be written: {err.strerror}",
                    where=str(self.folder),
                    mend="see its permissions and the space on its disk, or set "
                    "campaign.label_store",
                ) from err
