"""Energy conservation of MD on the native engine's splines, beside the torch path and mace-torch.

    OMP_NUM_THREADS=1 python benchmarks/nve_drift.py MODEL [--peer PEER/bin/python] [--steps 20000]

MODEL is the folder of a trained model of H, C and O, such as a member of the demo's committee; PEER
a venv with mace-torch (`scripts/peer/make.sh`), for which the model is exported. Velocity Verlet
with 0.5 fs, ethanol at 200 to 300 K; all start from the same positions and momenta. Drift is the
slope of a straight line through the total energy (meV per atom and ps), fluctuation the standard
deviation about that line (meV per atom). Writes the table, the energies and a picture to
``benchmarks/results/nve``.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.io import read, write
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.optimize import BFGS

from mace_core.calculator import MACECalculator
from mace_core.storage import write_json, write_text

HERE = Path(__file__).parent
DATA = HERE.parent / "config" / "data" / "ethanol.xyz"
DTYPES = ("float64", "float32")


def start(model: str, path: Path) -> None:
    """The relaxed molecule with momenta of 600 K: half of it goes to potential energy."""
    atoms = read(DATA)
    atoms.calc = MACECalculator(model_paths=model)
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
    atoms.calc = None
    thermalize_momenta(atoms, 600, rng=np.random.default_rng(0))
    Stationary(atoms)
    write(path, atoms, format="extxyz")


def sides(arguments: argparse.Namespace) -> list[tuple[str, list, str, int, list[str]]]:
    """Name, Python, model, steps, and options of each."""
    ours, few = [sys.executable, "mace_core"], arguments.torch_steps
    found = [
        ("splines", ours, arguments.model, arguments.steps, ["backend=native"]),
        ("torch", ours, arguments.model, few, ["backend=torch"]),
    ]
    if arguments.peer:
        exported = str(arguments.out / "exported.model")
        maceloop = Path(sys.executable).with_name("maceloop")
        export = [maceloop, "export", arguments.model, "--format", "mace-torch", "--out", exported]
        subprocess.run(export, check=True)
        peer = [arguments.peer, "mace.calculators"]
        found.append(("mace-torch", peer, exported, arguments.steps, []))
    return found


def line(found: dict) -> tuple[float, float]:
    """Drift (meV/atom/ps) and fluctuation (meV/atom)."""
    ps, energy = np.array(found["ps"]), np.array(found["meV_per_atom"])
    slope, offset = np.polyfit(ps, energy, 1)
    return slope, float(np.std(energy - slope * ps - offset))


def picture(runs: dict[tuple[str, str], dict], path: Path) -> None:
    """Total energies against time, one panel a precision."""
    figure, axes = plt.subplots(1, len(DTYPES), figsize=(9, 3), sharey=True, layout="constrained")
    for axis, dtype in zip(axes, DTYPES, strict=True):
        # Ours last and thin: in float64 the lines lie on each other.
        for side, width in (("mace-torch", 1.6), ("torch", 0.8), ("splines", 0.5)):
            if (side, dtype) in runs:
                found = runs[side, dtype]
                energy = np.array(found["meV_per_atom"])
                axis.plot(found["ps"], energy - energy[0], lw=width, label=side)
        axis.set(title=dtype, xlabel="ps")
        axis.legend()
    axes[0].set_ylabel("total energy − first (meV/atom)")
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a trained model of H, C and O")
    parser.add_argument("--peer", help="a Python with mace-torch")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--torch-steps", type=int, default=2000, help="of our slow path")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "nve")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    start(arguments.model, arguments.out / "start.xyz")
    rows = [
        "| precision | side | steps | drift, meV/atom/ps | fluctuation, meV/atom | K | ms a step |",
        "|---|---|---|---|---|---|---|",
    ]
    runs = {}
    for dtype in DTYPES:
        for side, (python, module), model, steps, options in sides(arguments):
            out = arguments.out / f"{side}_{dtype}.json"
            command = [python, HERE / "side_by_side" / "nve.py", module, model]
            command += [arguments.out / "start.xyz", str(steps), dtype, out, *options]
            subprocess.run(command, check=True)
            found = runs[side, dtype] = json.loads(out.read_text())
            drift, fluctuation = line(found)
            rows.append(
                f"| {dtype} | {side} | {steps} | {drift:+.5f} | {fluctuation:.5f} "
                f"| {found['kelvin']:.0f} | {found['ms_per_step']:.2f} |"
            )
            print(rows[-1], flush=True)
    write_text(arguments.out / "nve.md", "\n".join(rows) + "\n")
    write_json(arguments.out / "nve.json", {"rows": rows})
    picture(runs, arguments.out / "nve.png")


if __name__ == "__main__":
    main()
