"""True errors of committees on their own MD: what the audit's statistics are tested on.

    OMP_NUM_THREADS=1 python benchmarks/audit_walks.py --out benchmarks/data/audit_errors.csv

A committee learns a few labels of each system, as in an early and in a later generation; many
independent walks run on its mean forces, as ``explore`` runs them; and every kept frame is labelled
by the engine (GFN2-xTB or EMT), so that the error of the potential on its own trajectory is known
for thousands of frames, with its stratum, temperature and walk.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS

from mace_core.calculator import MACECalculator
from mace_core.config.sections import Explore
from mace_core.conventions import CHARGE, MACE_FORCES_STD, REF_ENERGY, REF_FORCES, SPIN
from mace_core.explore.walk import walk
from mace_core.frames import canonical, write_frames
from mace_core.storage import derived_seed
from mace_core.train.member import train_member

MODEL = {"r_max": 5.0, "num_channels": 16, "max_ell": 2, "correlation": 2, "radial_MLP": [16]}
TRAIN = {"members": 3, "max_num_epochs": 80, "default_dtype": "float32"}
FIELDS = ("system", "stratum", "group", "walk", "step", "force_mae", "energy_error", "spread")


def xtb():
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def relaxed(atoms: Atoms, oracle) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = oracle()
    BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
    return canonical(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))


def molecules() -> dict[str, Atoms]:
    return {
        "ethanol": molecule("CH3CH2OH"),
        "acetamide": molecule("CH3CONH2"),
        "acetic acid": molecule("CH3COOH"),
    }


def alloys() -> dict[str, Atoms]:
    strata = {}
    for n in (3, 4, 5):
        cell = bulk("Cu", "fcc", a=3.83, cubic=True).repeat((2, 1, 1))
        cell.numbers[np.random.default_rng(n).permutation(8)[:n]] = 79
        strata[cell.get_chemical_formula()] = cell
    return strata


#: Name → structures, oracle, temperatures (K), time step (fs), labels per structure.
SYSTEMS = {
    "ethanol-20": (lambda: {"ethanol": molecules()["ethanol"]}, xtb, (400, 700, 1000), 1.0, 20),
    "ethanol-60": (lambda: {"ethanol": molecules()["ethanol"]}, xtb, (400, 700, 1000), 1.0, 60),
    "molecules-15": (molecules, xtb, (300, 600), 0.5, 15),
    "molecules-40": (molecules, xtb, (300, 600), 0.5, 40),
    "alloy-8": (alloys, EMT, (300, 600), 2.0, 8),
    "alloy-20": (alloys, EMT, (300, 600), 2.0, 20),
}


def labelled(atoms: Atoms, oracle) -> Atoms:
    frame = canonical(atoms)
    frame.calc = oracle()
    energy, forces = frame.get_potential_energy(), frame.get_forces()
    frame.calc = None
    frame.info[REF_ENERGY], frame.arrays[REF_FORCES] = float(energy), np.asarray(forces)
    return frame


def training_frames(start: Atoms, oracle, temperature: float, n: int, rng) -> list[Atoms]:
    """Half rattled copies, half frames of the oracle's MD."""
    frames = []
    for k in range(n // 2):
        copy = start.copy()
        copy.positions += rng.normal(scale=(0.03, 0.06)[k % 2], size=copy.positions.shape)
        frames.append(copy)
    atoms = start.copy()
    atoms.calc = oracle()
    thermalize_momenta(atoms, temperature, rng=rng)
    md = Langevin(
        atoms, 1.0 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng
    )
    while len(frames) < n:
        md.run(20)
        frames.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
    return [labelled(frame, oracle) for frame in frames]


def run(name: str, folder: Path, n_walks: int, steps: int, seed: int) -> list[dict]:
    structures, oracle, temperatures, timestep, n_labels = SYSTEMS[name]
    rng = np.random.default_rng(derived_seed(seed, name))
    train, valid, starts = [], [], {}
    for stratum, atoms in structures().items():
        start = relaxed(atoms, oracle)
        frames = training_frames(start, oracle, max(temperatures), n_labels, rng)
        starts[stratum] = frames[:-2]
        train += frames[:-2]
        valid += frames[-2:]
    write_frames(folder / "train.extxyz", train)
    write_frames(folder / "valid.extxyz", valid)
    config = {
        "campaign": {"name": "audit", "seed": seed},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["none.xyz"]},
        "data": {"E0s": "average"},
        "model": MODEL,
        "train": TRAIN,
    }
    members = [folder / f"member_{m}" for m in range(TRAIN["members"])]
    for m, out in enumerate(members):
        if not (out / "model.json").is_file():
            train_here(config, folder, m, out)
    calculator = MACECalculator(
        model_paths=members, default_dtype="float32", calibration_factor=1.0
    )
    explore = Explore(
        steps=steps, timestep=timestep, save_interval=20, max_force_error=1e6, temperatures=[300.0]
    )
    rows = []
    for stratum, frames in starts.items():
        for temperature in temperatures:
            for w in range(n_walks):
                start = canonical(frames[rng.integers(len(frames))])
                bare = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc)
                bare.info = {CHARGE: 0, SPIN: 0}
                found = walk(canonical(bare), calculator, explore, float(temperature), rng)
                for frame in found.frames:
                    if frame.info.get("walker_end", "completed") != "completed":
                        continue
                    truth = labelled(frame, oracle)
                    delta = frame.arrays["MACE_forces"] - truth.arrays[REF_FORCES]
                    rows.append(
                        {
                            "system": name,
                            "stratum": stratum,
                            "group": f"{temperature}K",
                            "walk": f"{stratum}-{temperature}-{w}",
                            "step": frame.info["md_step"],
                            "force_mae": round(float(np.abs(delta).mean()), 6),
                            "energy_error": round(
                                (frame.info["MACE_energy"] - truth.info[REF_ENERGY]) / len(frame), 7
                            ),
                            "spread": round(float(frame.arrays[MACE_FORCES_STD].mean()), 6),
                        }
                    )
            print(name, stratum, temperature, len(rows), flush=True)
    return rows


def train_here(config: dict, folder: Path, m: int, out: Path) -> None:
    settings = folder / "config.yaml"
    settings.write_text(yaml.safe_dump(config))
    train_member(
        folder / "train.extxyz", settings, out, valid_file=folder / "valid.extxyz", member=m
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="all rows, CSV")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/results/audit"))
    parser.add_argument("--walks", type=int, default=16, help="of each stratum and temperature")
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    parts = []
    for name in SYSTEMS:
        part = given.work / f"{name}.csv"
        parts.append(part)
        if part.is_file():
            continue
        folder = given.work / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = run(name, folder, given.walks, given.steps, seed=0)
        with part.open("w") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    lines = [part.read_text().splitlines() for part in parts]
    given.out.write_text(
        "\n".join([lines[0][0], *(row for some in lines for row in some[1:])]) + "\n"
    )


if __name__ == "__main__":
    main()
