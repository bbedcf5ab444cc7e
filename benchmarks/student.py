"""One model that learns the mean of the kept models of a molecule, scored on the published split.

    OMP_NUM_THREADS=1 python benchmarks/student.py --data DATA --set malonaldehyde --epochs 90

DATA as for ``accuracy.py``. The 950 training frames, and frames of 500 K MD (the temperature of
rMD17) that are labelled by the mean of all models in ``--models``, which may differ in kind; none
of them knows a label of the test part. MD is by the smallest of them. Where it is cut off, the
walks are repeated and the training goes on. The model and its row lie in ``--out``/models.
``maceloop distill`` does this for a campaign's committee.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from accuracy import LR, MODELS, TRAIN, fit, row_of
from accuracy_table import SIZES, markdown
from published import split

from mace_core.calculator import MACECalculator
from mace_core.committee import Committee
from mace_core.config.sections import Explore
from mace_core.distill.lessons import taught
from mace_core.explore.walk import langevin
from mace_core.frames import canonical, write_frames
from mace_core.model.files import WEIGHTS
from mace_core.progress import Progress

TEMPERATURE = 500.0  # K
WALKERS = 40
EQUILIBRATION = 400  # steps of 0.5 fs
SAVE_INTERVAL = 15
SEED = 1  # of the split of all kept models, and of the training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path(__file__).parent / "models")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "student")
    parser.add_argument("--set", default="malonaldehyde", choices=[n for n in SIZES if n != "3bpa"])
    parser.add_argument("--model", default="64x0e+64x1o+64x2e", choices=list(MODELS))
    parser.add_argument("--frames", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=90)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    arguments.out = out = arguments.out.absolute()
    teachers = sorted(p.parent for p in arguments.models.glob(f"{arguments.set}_*/row.json"))
    print("teachers: " + ", ".join(path.name for path in teachers))
    data = split(arguments.data, arguments.set, *SIZES[arguments.set], 0, SEED)
    if not (out / "valid.xyz").is_file():
        committee = Committee.load(teachers)
        driver = min(teachers, key=lambda path: (path / WEIGHTS).stat().st_size)
        frames = visited(data.train, driver, arguments.frames)
        lessons = taught(committee, frames, 1.0, np.inf)
        write_frames(out / "train.xyz", [*data.train, *lessons])
        write_frames(out / "valid.xyz", data.valid)
    run = {"set": arguments.set, "model": arguments.model, "optimizer": "student"}
    run |= {"batch_size": TRAIN["batch_size"], "epochs": arguments.epochs, "seed": SEED}
    model = MODELS[run["model"]]
    fit(out, run, model, data.E0s, {"optimizer": "muon", "lr": LR["muon"], "eval_interval": 1})
    print(markdown([row_of(arguments, run, out)], []))


def visited(training: list, driver: Path, n_frames: int) -> list:
    """Frames of MD from training frames, those of its first steps left out."""
    rng, calculator, frames = np.random.default_rng(7), MACECalculator(driver), []
    with Progress("MD", WALKERS, "walker") as progress:
        for k in range(WALKERS):
            atoms = canonical(training[rng.integers(len(training))])
            atoms.calc = calculator
            dynamics = langevin(atoms, Explore(), TEMPERATURE, rng)
            dynamics.run(EQUILIBRATION)
            for _ in range(-(-n_frames // WALKERS)):
                dynamics.run(SAVE_INTERVAL)
                frames.append(canonical(atoms))
            progress.update(k + 1, f"{len(frames)} frames")
    return frames[:n_frames]


if __name__ == "__main__":
    main()
