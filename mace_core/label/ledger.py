"""The ledger: every label of a store as a row, with its verdict and what it cost.

Here a record, the doubts that any campaign had of it, and a person's release of it are seen
together. What a campaign trains on is decided elsewhere: :meth:`LabelFolder.get` and its
assess.json.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ase.formula import Formula

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import LabelStatus
from mace_core.errors import UserError
from mace_core.label.levels import level_in
from mace_core.label.record import Record
from mace_core.label.sanity import doubt
from mace_core.label.store import LabelFolder
from mace_core.label.theory import theory_id

_THEORY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Row:
    """One label as the ledger shows it."""

    theory_id: str
    frame_id: str
    formula: str  # Hill order
    n_atoms: int
    status: str  # a LabelStatus
    reason: str  # why it is not converged, or in quarantine
    released: str  # why a person let it out of quarantine
    energy: float | None  # eV
    max_force: float | None  # eV/Å
    rung: str
    wall_seconds: float
    core_hours: float | None  # None: not recorded
    engine_version: str
    processor: str
    host: str
    created: str
    origin: dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """Which labels of a level of theory are meant; what is not given lets every one through."""

    statuses: frozenset[str] = frozenset()
    elements: frozenset[str] = frozenset()  # symbols that must all be in the frame
    formula: str = ""  # as ``H2O``, in any order
    since: datetime | None = None  # when the record was written

    def keeps(self, row: Row) -> bool:
        """Whether a row is meant."""
        return (
            (not self.statuses or row.status in self.statuses)
            and (not self.elements or self.elements <= set(Formula(row.formula).count()))
            and (not self.formula or hill(self.formula) == row.formula)
            and (self.since is None or _written_since(row.created, self.since))
        )


@dataclass
class Count:
    """The labels of one level of theory in numbers."""

    theory_id: str
    level: str
    labels: int = 0
    status: Counter = field(default_factory=Counter)
    released: int = 0
    imported: int = 0
    rung: Counter = field(default_factory=Counter)  # of converged and quarantined labels
    processor: Counter = field(default_factory=Counter)
    wall_seconds: float = 0.0
    core_hours: float = 0.0
    core_hours_unknown: int = 0  # computed labels whose record does not say

    def add(self, row: Row) -> None:
        """Count a row."""
        self.labels += 1
        self.status[row.status] += 1
        self.released += bool(row.released)
        self.wall_seconds += row.wall_seconds
        if row.origin:
            self.imported += 1
        elif row.status != LabelStatus.DAMAGED:
            self.processor[row.processor or "not recorded"] += 1
            self.core_hours += row.core_hours or 0.0
            self.core_hours_unknown += row.core_hours is None
            if row.energy is not None:
                self.rung[row.rung] += 1


def levels(
    root: str | Path, theory: str = "", labeller: LabellerBase | None = None
) -> list[LabelFolder]:
    """The levels of theory in a store, in the order of their ids.

    Args:
        root: the store's folder.
        theory: the beginning of the ids that are meant.
        labeller: whose limits decide what is plausible at its own level of theory.

    Raises:
        UserError: the folder is no label store, or has no such level.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"no such label store: {root}", mend="give --store, or --config of its campaign"
        )
    names = sorted(path.name for path in root.iterdir() if _THEORY.fullmatch(path.name))
    if not names and _THEORY.fullmatch(root.resolve().name):
        raise UserError(
            f"{root} is one level of theory of a label store",
            mend=f"give --store {root.resolve().parent} --theory {root.resolve().name}",
        )
    meant = [name for name in names if name.startswith(theory)]
    if theory and not meant:
        raise UserError(
            f"no level of theory begins with {theory!r}",
            where=str(root),
            mend=f"there are: {', '.join(names) or 'none'}",
        )
    own = _id_of(labeller)
    return [LabelFolder(root / name, labeller if name == own else None) for name in meant]


def judged(folder: LabelFolder, frame_id: str) -> tuple[Record | None, str]:
    """A frame's record as people are to see it, and why it was released (or nothing).

    A converged record that is implausible, or that a campaign's committee doubted, has status
    ``quarantined`` with the reasons, unless a person released it.
    """
    record = folder.stored(frame_id)
    if record is None or not record.converged:
        return record, ""
    note = folder.doubts.read(frame_id)
    reasons = [doubt(record, folder.limits), str(note.get("reason", "doubted")) if note else ""]
    if not any(reasons):
        return record, ""
    release = folder.releases.read(frame_id)
    if release:
        return record, str(release.get("reason") or "released")
    reason = "; ".join(reason for reason in reasons if reason)
    return replace(record, status=str(LabelStatus.QUARANTINED), reason=reason), ""


def rows(folders: Iterable[LabelFolder], wanted: Filter | None = None) -> Iterator[Row]:
    """The labels in these folders that a filter keeps, in the order of theory and frame ids."""
    wanted = wanted or Filter()
    for folder in folders:
        for frame_id in folder.frame_ids():
            record, released = judged(folder, frame_id)
            if record is not None and wanted.keeps(row := row_of(record, released)):
                yield row


def row_of(record: Record, released: str = "") -> Row:
    """A record as a row."""
    forces = None if record.forces is None else np.linalg.norm(record.forces, axis=1)
    core = record.core_seconds
    return Row(
        theory_id=record.theory_id,
        frame_id=record.frame_id,
        formula=record.frame().get_chemical_formula("hill") if record.numbers else "",
        n_atoms=len(record.numbers),
        status=str(record.status),
        reason=record.reason,
        released=released,
        energy=record.energy,
        max_force=None if forces is None else float(forces.max(initial=0.0)),
        rung=record.rung,
        wall_seconds=record.wall_seconds,
        core_hours=None if core is None else core / 3600,
        engine_version=record.engine_version,
        processor=record.processor,
        host=record.host,
        created=record.created,
        origin=record.origin,
    )


def counts(folders: Iterable[LabelFolder], wanted: Filter | None = None) -> list[Count]:
    """One count for each level of theory, those without a label included."""
    found = []
    for folder in folders:
        count = Count(folder.theory_id, level_in(folder.folder))
        for row in rows([folder], wanted):
            count.add(row)
        found.append(count)
    return found


def find(folders: Iterable[LabelFolder], prefix: str) -> list[tuple[LabelFolder, str]]:
    """Where a frame lies: levels and ids that begin with ``prefix``.

    Raises:
        UserError: no frame's id does, or those of several frames do.
    """
    found = [
        (folder, frame_id)
        for folder in folders
        for frame_id in folder.frame_ids()
        if frame_id.startswith(prefix)
    ]
    frames = sorted({frame_id for _, frame_id in found})
    if not frames:
        raise UserError(
            f"no label of a frame whose id begins with {prefix!r}",
            mend="`maceloop labels list` shows every id",
        )
    if len(frames) > 1:
        raise UserError(
            f"{len(frames)} frames' ids begin with {prefix!r}",
            mend=f"give more of it: {', '.join(frames[:5])}{', …' if len(frames) > 5 else ''}",
        )
    return found


def hill(formula: str) -> str:
    """A chemical formula in Hill order.

    Raises:
        UserError: it is none.
    """
    try:
        return Formula(formula).format("hill")
    except Exception as err:
        raise UserError(f"{formula!r} is no chemical formula", mend="e.g. H2O") from err


def _written_since(created: str, since: datetime) -> bool:
    try:
        written = datetime.fromisoformat(created)
    except ValueError:
        return False
    return (written if written.tzinfo else written.replace(tzinfo=UTC)) >= since


def _id_of(labeller: LabellerBase | None) -> str:
    """Of a labeller whose engine is installed here; else limits are those of any engine."""
    try:
        return "" if labeller is None else theory_id(labeller)
    except UserError:
        return ""
