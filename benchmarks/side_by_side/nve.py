"""Constant-energy MD with any ASE calculator; runs in our environment and in the peer's.

    python nve.py MODULE MODEL START STEPS DTYPE OUT [key=value …]

MODULE has a class MACECalculator, START is an extxyz with momenta, key=value are further arguments
of the calculator. OUT is a JSON with the total energy (meV/atom) every 10 steps.
"""

import json
import sys
import time
import warnings
from importlib import import_module

import torch
from ase import units
from ase.io import read
from ase.md.verlet import VelocityVerlet

EVERY = 10  # steps
TIMESTEP = 0.5  # fs


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    module, model, start, steps, dtype, out = sys.argv[1:7]
    options = dict(option.split("=") for option in sys.argv[7:])
    atoms = read(start)
    calculator = import_module(module).MACECalculator
    atoms.calc = calculator(model_paths=model, device="cpu", default_dtype=dtype, **options)
    energies, kinetic = [], []

    def observe():
        kinetic.append(float(atoms.get_kinetic_energy()))
        energies.append(1e3 * (float(atoms.get_potential_energy()) + kinetic[-1]) / len(atoms))

    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP * units.fs)
    dynamics.attach(observe, interval=EVERY)
    begun = time.process_time()
    dynamics.run(int(steps))
    found = {
        "steps": int(steps),
        "ps": [EVERY * TIMESTEP * 1e-3 * k for k in range(len(energies))],
        "meV_per_atom": energies,
        "kelvin": sum(kinetic) / len(kinetic) / (1.5 * units.kB * len(atoms)),
        "ms_per_step": 1e3 * (time.process_time() - begun) / int(steps),
    }
    with open(out, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
