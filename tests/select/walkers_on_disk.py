"""Walkers' output written by hand: argon pairs, whose descriptor is their distance."""

from pathlib import Path

import numpy as np
from ase import Atoms

from mace_core.config.campaign import parse_config
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.select.run import select
from mace_core.storage import write_json

FACTOR = 2.0


def pair(distance: float) -> Atoms:
    return canonical(Atoms("Ar2", positions=[[0, 0, 0], [distance, 0, 0]]))


def distances(frames):
    """A descriptor of one number an atom."""
    return [np.full((2, 1), atoms.get_distance(0, 1)) for atoms in frames]


class Campaign:
    """A folder with a training set, a committee and walkers, and the selection from them."""

    def __init__(self, folder: Path, training=(4.0, 6.0), **select_section):
        self.folder = folder
        self.walkers: list[Path] = []
        self.config = self.configured(**select_section)
        write_frames(folder / "train.extxyz", [pair(d) for d in training])
        write_json(
            folder / "committee.json", {"members": ["none"], "calibration": {"factor": FACTOR}}
        )

    def configured(self, seed=0, **select_section):
        return parse_config(
            {
                "campaign": {"name": "t", "seed": seed},
                "labeller": {"engine": "emt"},
                "seed": {"structures": ["x.xyz"]},
                "explore": {"save_interval": 10, "max_force_error": 900.0},
                "select": {"window": [100, 1500]} | select_section,
            },
            where="test",
        )

    def walker(self, visited, end="completed", stratum=None, exam=False, displacement=0.3):
        """Add a walker from (md_step, distance, uncertainty in eV/Å) of each kept frame.

        The last frame is the end, unless ``end`` is None. Without a stratum it is a walker of an
        earlier version. ``displacement`` is each frame's, Å.
        """
        w = len(self.walkers)
        frames = []
        for step, distance, uncertainty in visited:
            atoms = pair(distance)
            atoms.info |= {"walker": w, "group": "300K", "md_step": step, "MACE_energy": -1.0}
            atoms.info |= {} if stratum is None else {"stratum": stratum}
            atoms.info |= {"exam": True} if exam else {}
            atoms.info["displacement"] = displacement
            atoms.arrays["MACE_forces"] = np.zeros((2, 3))
            atoms.arrays["MACE_forces_std"] = np.array([0.3, 1.0]) * uncertainty / FACTOR
            frames.append(atoms)
        if frames and end is not None:
            frames[-1].info["walker_end"] = end
        path = self.folder / f"walker_{w}.extxyz"
        write_frames(path, frames)
        steps_done = visited[-1][0] if visited else 0
        record = {
            "walker": w,
            "end": end or "not_a_number",
            "reason": f"ended at step {steps_done}",
            "steps_done": steps_done,
        }
        record |= {} if stratum is None else {"stratum": stratum, "exam": exam}
        write_json(path.with_suffix(".json"), record)
        self.walkers.append(path)
        return self

    def strata(self, *names):
        """dataset.json with these strata."""
        rows = {name: {"labels": 9, "n_train": 9, "n_valid": 0} for name in names}
        write_json(self.folder / "dataset.json", {"strata": rows})
        return self

    def select(self, config=None, generation=1, exam=None):
        """The content of select.json and the frames chosen."""
        self.out = self.folder / "select" / "frames.extxyz"
        content = select(
            config or self.config,
            generation,
            self.folder / "committee.json",
            self.folder / "train.extxyz",
            self.walkers,
            self.out,
            describe=distances,
            exam=exam,
        )
        return content, read_frames(self.out)


def of_role(frames, role):
    return [f for f in frames if f.info["role"] == role]


def spacing(frames):
    return sorted(round(float(f.get_distance(0, 1)), 6) for f in frames)
