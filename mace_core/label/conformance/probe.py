"""Labels for the checks, from the very code that labels a campaign's frames."""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.config.labellers import LabellerBase
from mace_core.frames import canonical
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore, Record


class NoLabel(Exception):  # noqa: N818
    """A frame that a check needs a label of has none; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A frame that is checked, with its label."""

    name: str
    frame: Atoms
    label: Record

    @property
    def periodic(self) -> bool:
        return bool(self.frame.pbc.all())

    @property
    def seconds(self) -> float:
        """What a label of it takes."""
        return self.label.wall_seconds


class Probe:
    """Labels in throw-away stores; nothing of the user's is written.

    Args:
        settings: of the labeller.
        threads: of the engine.
        quick: fewer labels: one direction, one strain, one size of full disk.
        unconverged: a frame of which the user says that its SCF does not converge.
        force, stress: limits against finite differences, eV/Å and eV/Å³.
    """

    def __init__(
        self,
        settings: LabellerBase,
        *,
        threads: int = 1,
        quick: bool = False,
        unconverged: Atoms | None = None,
        force: float,
        stress: float,
    ):
        self.settings, self.threads, self.quick = settings, threads, quick
        self.unconverged, self.force, self.stress = unconverged, force, stress
        self._folder = tempfile.TemporaryDirectory(prefix="maceloop-check-")
        self.folder = Path(self._folder.name)
        self._numbers = itertools.count()
        self.computed = 0

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: Any) -> None:
        self._folder.cleanup()

    def new_folder(self) -> Path:
        """A folder that nobody has used."""
        folder = self.folder / f"{next(self._numbers):03d}"
        folder.mkdir()
        return folder

    def outcomes(
        self,
        frames: Sequence[Atoms],
        settings: LabellerBase | None = None,
        *,
        anew: bool = True,
        store: Path | None = None,
        **options: Any,
    ) -> list[Record]:
        """The records of frames, converged or not.

        Args:
            frames: computed in this order, by one worker.
            settings: other ones than the labeller's.
            anew: compute them even if they were labelled before.
            store: folder of the store, to be shared.
            options: of :func:`label_frames`.
        """
        root = store or (self.new_folder() if anew else self.folder / "labels")
        settings = settings or self.settings
        labelled = label_frames(
            frames, settings, LabelStore(root, settings), threads=self.threads, **options
        )
        self.computed += sum(outcome.computed for outcome in labelled)
        return [outcome.record for outcome in labelled]

    def labels(self, frames: Sequence[Atoms], **options: Any) -> list[Record]:
        """Converged labels of frames, computed once.

        Raises:
            NoLabel: one of them did not converge.
        """
        records = self.outcomes(frames, **({"anew": False} | options))
        for record in records:
            if not record.converged:
                raise NoLabel(f"a frame of this check ended {record.status}: {record.reason}")
        return records

    def changed(self, frame: Atoms, **info: Any) -> Atoms:
        """The frame with other entries in ``info``, e.g. another charge."""
        atoms = frame.copy()
        atoms.info |= info
        return canonical(atoms)
