"""Time of an MD step with the ASE calculator on one thread, and where it goes.

    OMP_NUM_THREADS=1 python benchmarks/md_speed.py [--backend torch] [--only TEXT] [--repeats 10]

A step moves every atom a little, as MD does, and asks for energy and forces; pairs are kept with
the calculator's skin, and now and then searched again within the steps. Process-CPU ms, min and
median; the configurations alternate, ten steps at a time, so that a slow moment of the machine
falls on all of them and steps follow each other as in MD. ``kernel`` is the native call alone,
``search`` one neighbour search, ``first`` the first call, which packs the weights.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read

from mace_core.calculator import MACECalculator
from mace_core.committee import Committee
from mace_core.config.sections import Model
from mace_core.inference.pairs import Pairs
from mace_core.model.model import MACE

CONFIGURATIONS = {
    "a": {"num_channels": 64, "max_L": 1, "radial_MLP": [64, 64, 64]},
    "b": {"num_channels": 128, "max_L": 1, "radial_MLP": [64, 64, 64]},
    "c": {"num_channels": 32, "max_L": 0, "radial_MLP": [64, 64, 64]},
}
#: (system, configuration, members, dtype)
ROWS = [
    *(("3BPA", c, 1, dtype) for c in "abc" for dtype in ("float32", "float64")),
    *(("Si64", c, 1, dtype) for c in "ac" for dtype in ("float32", "float64")),
    ("Si512", "c", 1, "float32"),
    ("Si512", "c", 1, "float64"),
    ("3BPA", "a", 4, "float32"),
    ("3BPA", "c", 4, "float32"),
]


def system(name: str) -> Atoms:
    """``3BPA``, or ``Si`` and a number of atoms: rattled diamond."""
    if name == "3BPA":
        return read(Path(__file__).parent / "data" / "3bpa.xyz")
    cells = round((int(name.removeprefix("Si")) / 8) ** (1 / 3))
    atoms = bulk("Si", cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    return atoms


def models(name: str, configuration: str, members: int, dtype: str) -> list[MACE]:
    """Of the paper's shape: an agnostic first layer, a residual second one; first weights."""
    elements = [1, 6, 7, 8] if name == "3BPA" else [14]
    architecture = Model(
        r_max=5.0,
        max_ell=3,
        correlation=3,
        num_interactions=2,
        interaction_first="RealAgnosticInteractionBlock",
        **CONFIGURATIONS[configuration],
    )
    return [
        MACE(
            architecture,
            elements,
            dict.fromkeys(elements, 0.0),
            avg_num_neighbors=16.5 if name == "3BPA" else 28.0,
            dtype=getattr(torch, dtype),
            seed=seed,
        )
        for seed in range(members)
    ]


CONSECUTIVE = 10


class Row:
    """One line of the table."""

    def __init__(self, name: str, configuration: str, members: int, dtype: str, backend: str):
        self.name = f"{name} {configuration} {dtype}" + (f" × {members}" if members > 1 else "")
        self.atoms = system(name)
        committee = Committee(models(name, configuration, members, dtype), backend=backend)
        self.atoms.calc = MACECalculator(committee=committee)
        self.rng = np.random.default_rng(0)
        self.velocities = self.rng.normal(0, 0.005, self.atoms.positions.shape)
        self.steps, self.kernel, self.search = [], [], []
        start = time.process_time()
        self.atoms.get_forces()
        self.first = 1e3 * (time.process_time() - start)

    def step(self) -> None:
        """One step and its parts, each by itself."""
        committee = self.atoms.calc.committee
        self.velocities *= np.sign(self.rng.uniform(-0.2, 1, self.velocities.shape))
        for _ in range(CONSECUTIVE):
            self.steps.append(milliseconds(self._md_step))
        if committee.engine is not None:
            bound = self.atoms.calc._follower._bound
            self.kernel.append(milliseconds(lambda: bound.evaluate(self.atoms.positions)))
        self.search.append(milliseconds(lambda: Pairs.build([self.atoms], 5.6, committee.elements)))

    def _md_step(self) -> None:
        self.atoms.positions += self.velocities
        self.atoms.get_potential_energy()
        self.atoms.get_forces()


def milliseconds(work) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        Row(*row, arguments.backend) for row in ROWS if arguments.only in " ".join(map(str, row))
    ]
    for _ in range(arguments.repeats):
        for row in rows:
            row.step()
    print("ms                       step min  median   kernel min  search min   first")
    for row in rows:
        kernel = f"{min(row.kernel):11.2f}" if row.kernel else "          –"
        print(
            f"{row.name:22s} {min(row.steps):10.2f} {statistics.median(row.steps):7.2f} {kernel} "
            f"{min(row.search):11.2f} {row.first:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
