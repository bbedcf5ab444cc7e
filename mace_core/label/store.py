"""The label store: one file a label, written once, never lost."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import (
    CHARGE,
    FRAME_ID,
    LABEL_FORMAT,
    LABEL_STATUS,
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
    SPIN,
    LabelStatus,
)
from mace_core.errors import UserError
from mace_core.label.theory import describe, theory_id
from mace_core.storage import read_json, sha256_json, write_json


@dataclass
class Record:
    """One label, or the story of why there is none. eV, Å, eV/Å, eV/Å³, seconds."""

    frame_id: str
    theory_id: str
    status: str  # a LabelStatus
    reason: str  # one line; empty for converged labels
    numbers: list[int]  # [n]
    positions: list[list[float]]  # [n, 3]
    cell: list[list[float]]  # [3, 3]
    pbc: list[bool]  # [3]
    charge: int
    spin: int
    energy: float | None = None
    forces: list[list[float]] | None = None  # [n, 3]
    stress: list[float] | None = None  # [6] Voigt
    rung: str = ""  # of the retry ladder; the last one tried
    attempts: list[dict[str, Any]] = field(default_factory=list)  # rung, status, reason, seconds
    wall_seconds: float = 0.0  # of all attempts
    cpu_seconds: float = 0.0
    engine_version: str = ""
    host: str = ""
    created: str = ""  # ISO 8601
    format: int = LABEL_FORMAT

    @property
    def converged(self) -> bool:
        return self.status == LabelStatus.CONVERGED

    @property
    def sha256(self) -> str:
        """Hash of the whole content."""
        return sha256_json(asdict(self))

    def to_json(self) -> dict[str, Any]:
        """The record as it is stored, with its hash."""
        return {**asdict(self), "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Record":
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: keys are missing or unknown, or the content does not match its hash.
        """
        content = {key: item for key, item in value.items() if key != "sha256"}
        if set(content) != {f.name for f in fields(cls)}:
            raise ValueError("it has not the keys of a label record")
        if value.get("sha256") != sha256_json(content):
            raise ValueError("its content does not match its sha256")
        return cls(**content)

    @classmethod
    def of_frame(cls, frame: Atoms, theory: str, **outcome: Any) -> "Record":
        """A record for a canonical frame (:func:`mace_core.frames.canonical`)."""
        return cls(
            frame_id=frame.info[FRAME_ID],
            theory_id=theory,
            numbers=frame.numbers.tolist(),
            positions=frame.positions.tolist(),
            cell=frame.cell[:].tolist(),
            pbc=frame.pbc.tolist(),
            charge=frame.info[CHARGE],
            spin=frame.info[SPIN],
            **outcome,
        )

    def to_atoms(self) -> Atoms:
        """The frame with ``REF_energy``, ``REF_forces`` and, where known, ``REF_stress``.

        Raises:
            ValueError: the label did not converge: it is never handed out as one.
        """
        if not self.converged:
            raise ValueError(f"frame {self.frame_id} has no label: {self.status}")
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update(
            {FRAME_ID: self.frame_id, CHARGE: self.charge, SPIN: self.spin}
            | {LABEL_STATUS: self.status, REF_ENERGY: self.energy}
        )
        atoms.arrays[REF_FORCES] = np.array(self.forces)
        if self.stress is not None:
            atoms.info[REF_STRESS] = np.array(self.stress)
        return atoms


class LabelStore:
    """All labels at one level of theory.

    Any number of processes, on any number of machines with a common file system, may write at
    once: each file appears whole, a converged record is never replaced (the first one wins), and
    a converged record hides a failed one.

    Args:
        root: the store's folder, shared by all levels of theory.
        theory: the labeller's settings; ``theory.json`` is written when the level is new.

    Raises:
        UserError: the engine's package is not installed.
    """

    def __init__(self, root: str | Path, theory: LabellerBase):
        self.theory_id = theory_id(theory)
        self.folder = Path(root) / self.theory_id
        if not (self.folder / "theory.json").is_file():
            write_json(self.folder / "theory.json", describe(theory), exclusive=True)

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

        Raises:
            UserError: the file was changed after it was written.
        """
        for path in (self.path(frame_id), self.failed_path(frame_id)):
            record = self._read(path, frame_id)
            if record is not None:
                return record
        return None

    def put(self, record: Record) -> bool:
        """Store a record.

        A converged record is written once. A failed one replaces an earlier failure (it carries
        the attempts of both), never a converged record.

        Returns:
            False if the frame had a converged record already, which stays.

        Raises:
            ValueError: the record belongs to another level of theory, or says that it converged
                without saying to what.
        """
        if record.theory_id != self.theory_id:
            raise ValueError(f"record of theory {record.theory_id} in store {self.theory_id}")
        if record.converged:
            if record.energy is None or record.forces is None:
                raise ValueError(f"converged record {record.frame_id} lacks energy or forces")
            return write_json(self.path(record.frame_id), record.to_json(), exclusive=True)
        if self.path(record.frame_id).exists():
            return False
        return write_json(self.failed_path(record.frame_id), record.to_json())

    def records(self) -> Iterator[Record]:
        """All records, in the order of frame ids; the converged one where a frame has both."""
        names = {path.name.split(".")[0] for path in self.folder.glob("*.json")} - {"theory"}
        for frame_id in sorted(names):
            record = self.get(frame_id)
            if record is not None:
                yield record

    def refresh(self) -> None:
        """Make records that another machine just wrote visible here.

        NFS caches that a file does not exist; opening the folder revalidates that.
        """
        os.close(os.open(self.folder, os.O_RDONLY))

    def _read(self, path: Path, frame_id: str) -> Record | None:
        try:
            record = Record.from_json(read_json(path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError) as err:
            raise UserError(
                f"a label record was damaged or changed after it was written: {err}",
                where=str(path),
                mend="restore it from a backup, or move it away: the frame is then labelled again",
            ) from err
        if record.frame_id != frame_id or record.theory_id != self.theory_id:
            raise UserError(
                f"a label record of frame {record.frame_id} at theory {record.theory_id} "
                "lies under another name",
                where=str(path),
                mend="move it back to where it was",
            )
        return record
