"""A label, or the story of why there is none, as one record with its own hash."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from ase import Atoms

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
from mace_core.storage import sha256_json

#: Keys that records of format 1 lack.
_SINCE_2 = frozenset({"threads", "core_seconds", "processor", "origin"})


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
    threads: int | None = None  # of the last attempt
    core_seconds: float | None = None  # threads × wall time of all attempts: what was reserved
    engine_version: str = ""
    host: str = ""
    processor: str = ""  # the host's class, e.g. "AMD EPYC 7763, 64 cores"
    created: str = ""  # ISO 8601
    origin: dict[str, Any] = field(default_factory=dict)  # of an imported label: where it is from
    format: int = LABEL_FORMAT

    @property
    def converged(self) -> bool:
        return self.status == LabelStatus.CONVERGED

    @property
    def imported(self) -> bool:
        """Whether it came from a file of somebody's, and was not computed here."""
        return bool(self.origin)

    @property
    def sha256(self) -> str:
        """Hash of the whole content."""
        return sha256_json(self._content())

    def to_json(self) -> dict[str, Any]:
        """The record as it is stored, with its hash."""
        return {**self._content(), "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Record":
        """Inverse of :meth:`to_json`, for this format and the ones before it.

        Raises:
            ValueError: keys are missing or unknown, the content does not match its hash, or a
                newer version wrote it.
        """
        content = {key: item for key, item in value.items() if key != "sha256"}
        known = content.get("format")
        if isinstance(known, int) and known > LABEL_FORMAT:
            raise ValueError(f"it has format {known}, and this version knows {LABEL_FORMAT}")
        if set(content) != _keys(known):
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

    @classmethod
    def damaged(cls, frame_id: str, theory: str, reason: str) -> "Record":
        """What stands for a record that cannot be believed: of its content nothing is known."""
        return cls(frame_id, theory, str(LabelStatus.DAMAGED), reason, [], [], [], [], 0, 0)

    def frame(self) -> Atoms:
        """The canonical frame, without labels."""
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update({FRAME_ID: self.frame_id, CHARGE: self.charge, SPIN: self.spin})
        return atoms

    def to_atoms(self) -> Atoms:
        """The frame with ``REF_energy``, ``REF_forces`` and, where known, ``REF_stress``.

        Raises:
            ValueError: the label did not converge, or is in quarantine: it is never handed out.
        """
        if not self.converged:
            raise ValueError(f"frame {self.frame_id} has no label: {self.status}")
        atoms = self.frame()
        atoms.info.update({LABEL_STATUS: self.status, REF_ENERGY: self.energy})
        atoms.arrays[REF_FORCES] = np.array(self.forces)
        if self.stress is not None:
            atoms.info[REF_STRESS] = np.array(self.stress)
        return atoms

    def _content(self) -> dict[str, Any]:
        content = asdict(self)
        return {key: item for key, item in content.items() if key in _keys(self.format)}


def _keys(known: Any) -> set[str]:
    """Keys of a record of one format."""
    return {f.name for f in fields(Record)} - (_SINCE_2 if known == 1 else frozenset())
