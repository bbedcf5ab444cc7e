"""What a campaign left on disk, read for those who show it (tracking, report).

Only files in the shapes of docs/contracts.md are read, and each only when it is asked for. A file
that is not there gives None or an empty list: generation 0 has no models, and not every campaign
has a frozen test set.
"""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from mace_core.assess.strata import targets
from mace_core.assess.strata_shown import stratum_rows
from mace_core.assess.withheld import withheld
from mace_core.config import Config
from mace_core.conventions import (
    FRAME_ID,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_UNCERTAINTY,
    MEV,
    REF_ENERGY,
    REF_FORCES,
    LabelStatus,
    Outcome,
)
from mace_core.frames import read_frames
from mace_core.label.store import LabelFolder
from mace_core.layout import Layout
from mace_core.storage import read_json
from mace_core.summary import best_generation
from mace_core.tables import read_table

#: Sets of frames that a generation's models are scored on.
KINDS = ("audit", "frozen", "picked")


class Generation:
    """One assessed generation."""

    def __init__(self, layout: Layout, g: int, label_store: Path, config: Config):
        self.layout, self.g, self.label_store, self.config = layout, g, label_store, config

    @cached_property
    def assess(self) -> dict:
        return read_json(self.layout.assess(self.g))

    @cached_property
    def plan(self) -> dict:
        return _json(self.layout.plan(self.g)) or {}

    @cached_property
    def committee(self) -> dict | None:
        return _json(self.layout.committee(self.g))

    @cached_property
    def merged(self) -> dict:
        return _json(self.layout.merged(self.g)) or {"labels": []}

    @cached_property
    def dataset(self) -> dict | None:
        return _json(self.layout.dataset(self.g) / "dataset.json")

    @cached_property
    def selected(self) -> list[Atoms]:
        """Frames sent to be labelled, isolated atoms included."""
        path = self.layout.selected(self.g)
        return read_frames(path) if path.is_file() else []

    @cached_property
    def walkers(self) -> list[dict]:
        """How each walker ended, in their order."""
        paths = (self.layout.gen(self.g) / "explore").glob("walker_*.json")
        return [read_json(path) for path in sorted(paths, key=_number)]

    @cached_property
    def member_folders(self) -> list[Path]:
        return sorted((self.layout.gen(self.g) / "train").glob("member_*"), key=_number)

    @cached_property
    def model_files(self) -> list[Path]:
        """All that is needed to load the committee again."""
        files = [
            path
            for folder in self.member_folders
            for path in sorted(folder.glob("model.*"))
            if path.suffix in (".safetensors", ".json")
        ]
        committee = self.layout.committee(self.g)
        return [*files, *([committee] if committee.is_file() else [])]

    def member_metrics(self, folder: Path) -> dict:
        return _json(folder / "metrics.json") or {}

    def member_history(self, folder: Path) -> pd.DataFrame:
        if not (folder / "history.parquet").is_file():
            return pd.DataFrame()
        return read_table(folder / "history")

    @cached_property
    def scored(self) -> dict[str, list[Atoms]]:
        """Frames with both labels and predictions, by kind."""
        sets = {}
        for kind in KINDS:
            path = self.layout.predictions(self.g, kind)
            frames = read_frames(path) if path.is_file() else []
            sets[kind] = [a for a in frames if REF_FORCES in a.arrays and MACE_FORCES in a.arrays]
        return sets

    @property
    def judged_by(self) -> Config:
        """The configuration with the stop rule's settings of this generation's plan."""
        return _with_stop(self.config, self.plan)

    @cached_property
    def strata(self) -> list[dict]:
        """Each stratum's errors, those that fail first; [] of an earlier version."""
        config = self.judged_by
        return stratum_rows(self.assess, targets(config), config.stop.streak)

    @property
    def factor(self) -> float | None:
        """Calibration factor that this generation's walkers and selection used."""
        calibration = (self.committee or {}).get("calibration")
        return calibration["factor"] if calibration else None

    @cached_property
    def doubted(self) -> list[Atoms]:
        """Scored frames whose label the committee doubts."""
        path = self.layout.predictions(self.g, "quarantine")
        return read_frames(path) if path.is_file() else []

    @cached_property
    def withheld_labels(self) -> list[dict]:
        """Labels that do not train, with the failed attempts that the label store has of them."""
        folder = LabelFolder(self.label_store / str(self.merged.get("theory")))
        rows = []
        for row in withheld(self.merged, self.assess, folder):
            record = _json(folder.failed_path(row[FRAME_ID])) or {}
            rows.append({**row, "generation": self.g, "attempts": record.get("attempts", [])})
        return rows

    @cached_property
    def label_status(self) -> dict[str, dict]:
        """The outcome of each frame's label by frame id."""
        rows = [*self.merged["labels"], *self.withheld_labels]
        return {row[FRAME_ID]: row for row in rows}

    @property
    def rungs(self) -> Counter[str]:
        """How many labels converged at which rung of the engine's retry ladder."""
        return Counter(
            label["rung"]
            for label in self.merged["labels"]
            if label["status"] == LabelStatus.CONVERGED and label.get("rung")
        )


class Chronicle:
    """A campaign's generations up to one of them, and what belongs to all.

    Args:
        config: the campaign's configuration (names the folder).
        through: the last generation to look at; None means all assessed ones.
    """

    def __init__(self, config: Config, through: int | None = None):
        self.config = config
        self.name = config.campaign.name
        self.layout = Layout(config.campaign.results_dir, self.name)
        self.label_store = Path(config.campaign.label_store)
        self.generations = [
            Generation(self.layout, g, self.label_store, config)
            for g in self.layout.assessed_generations()
            if through is None or g <= through
        ]

    @property
    def is_latest(self) -> bool:
        """Whether no later generation is assessed by now."""
        return len(self.generations) == len(self.layout.assessed_generations())

    @property
    def last(self) -> Generation:
        return self.generations[-1]

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.last.assess["outcome"])

    @property
    def target(self) -> float:
        """Force MAE that the last generation's plan asks for, eV/Å."""
        stop = self.last.plan.get("config", {}).get("stop", {})
        return stop.get("target_force_mae", self.config.stop.target_force_mae) * MEV

    @cached_property
    def theory(self) -> dict | None:
        """The level of theory as the label store states it."""
        return _json(self.label_store / str(self.last.plan.get("theory")) / "theory.json")

    @cached_property
    def best(self) -> int | None:
        """The generation whose committee to use, by the rule of summary.json."""
        return best_generation([generation.assess for generation in self.generations])


def parity(frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Reference and predicted values of scored frames.

    Energies are less the mean reference; the prediction also less its mean deviation, the constant
    shift that no force depends on.

    Returns:
        ``ref_forces``, ``forces`` [n components] eV/Å; ``ref_energy``, ``energy``
        [n_frames] eV/atom; ``shift`` eV/atom.
    """
    reference = [a.arrays[REF_FORCES].ravel() for a in frames]
    predicted = [a.arrays[MACE_FORCES].ravel() for a in frames]
    with_energy = [a for a in frames if REF_ENERGY in a.info and MACE_ENERGY in a.info]
    energy = np.array([[a.info[REF_ENERGY], a.info[MACE_ENERGY]] for a in with_energy]).reshape(
        -1, 2
    )
    energy = energy / np.array([len(a) for a in with_energy]).reshape(-1, 1)
    shift = float((energy[:, 1] - energy[:, 0]).mean()) if len(energy) else 0.0
    mean = energy[:, 0].mean() if len(energy) else 0.0
    return {
        "ref_forces": np.concatenate(reference) if reference else np.empty(0),
        "forces": np.concatenate(predicted) if predicted else np.empty(0),
        "ref_energy": energy[:, 0] - mean,
        "energy": energy[:, 1] - mean - shift,
        "shift": np.array(shift),
    }


def true_error(atoms: Atoms) -> float:
    """The frame's largest atomic force error |F_MACE − F_REF|, eV/Å; NaN without either."""
    if REF_FORCES not in atoms.arrays or MACE_FORCES not in atoms.arrays:
        return float("nan")
    delta = atoms.arrays[MACE_FORCES] - atoms.arrays[REF_FORCES]
    return float(np.linalg.norm(delta, axis=1).max())


def uncertainty(atoms: Atoms, factor: float | None) -> float:
    """The frame's calibrated uncertainty, eV/Å: factor × largest spread; NaN where unknown."""
    if factor is not None and MACE_FORCES_STD in atoms.arrays:
        return factor * float(np.max(atoms.arrays[MACE_FORCES_STD]))
    return float(atoms.info.get(MACE_UNCERTAINTY, np.nan))


def _with_stop(config: Config, plan: dict) -> Config:
    said = plan.get("config", {}).get("stop")
    if said is None:
        return config
    return config.model_copy(update={"stop": type(config.stop).model_validate(said)})


def _json(path: Path) -> Any:
    return read_json(path) if path.is_file() else None


def _number(path: Path) -> int:
    return int(path.stem.rsplit("_", 1)[1])
