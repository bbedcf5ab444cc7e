"""Energy conservation of MD on the native engine's splines, beside the torch path.

    OMP_NUM_THREADS=1 python benchmarks/nve_drift.py MODEL [--steps 20000] [--torch-steps 2000]

MODEL is the folder of a trained model of H, C and O, such as a member of the demo's committee.
Velocity Verlet with 0.5 fs, ethanol at 200 to 300 K. Prints the drift of the total energy (slope of
a straight line, meV per atom and ps) and its fluctuation about that line (meV per atom).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from ase import units
from ase.io import read
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from mace_core.calculator import MACECalculator
from mace_core.committee import Committee
from mace_core.model.files import load_model
from mace_core.model.model import MACE

DATA = Path(__file__).parents[1] / "config" / "data" / "ethanol.xyz"
EVERY = 10  # steps


def run(model: MACE, backend: str, steps: int) -> str:
    """NVE of ``steps`` steps; what it says."""
    atoms = read(DATA)
    atoms.calc = MACECalculator(committee=Committee([model], backend=backend))
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
    rng = np.random.default_rng(0)
    thermalize_momenta(atoms, 600, rng=rng)  # half goes to potential energy
    Stationary(atoms)
    energies, kinetic = [], []

    def observe():
        kinetic.append(atoms.get_kinetic_energy())
        energies.append(atoms.get_potential_energy() + kinetic[-1])

    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    dynamics.attach(observe, interval=EVERY)
    start = time.process_time()
    dynamics.run(steps)
    seconds = time.process_time() - start
    t = np.arange(len(energies)) * EVERY * 0.5e-3  # ps
    meV = 1e3 * np.array(energies) / len(atoms)
    slope, offset = np.polyfit(t, meV, 1)
    spread = np.std(meV - slope * t - offset)
    searches = atoms.calc._follower.neighbours.n_builds
    temperature = np.mean(kinetic) / (1.5 * units.kB * len(atoms))
    return (
        f"{steps:6d} steps  drift {slope:+9.5f} meV/atom/ps  fluctuation {spread:8.5f} meV/atom  "
        f"{temperature:4.0f} K  {1e3 * seconds / steps:6.2f} ms/step  {searches} neighbour searches"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a trained model of H, C and O")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--torch-steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in (torch.float64, torch.float32):
        model = load_model(arguments.model, dtype)
        name = str(dtype).removeprefix("torch.")
        for backend, steps in (("native", arguments.steps), ("torch", arguments.torch_steps)):
            print(f"{name} {backend:6s} {run(model, backend, steps)}", flush=True)


if __name__ == "__main__":
    main()
