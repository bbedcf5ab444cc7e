"""What fitting the energy's constants after training brings, on frames of four formulas.

    OMP_NUM_THREADS=1 python benchmarks/energy_constants.py --data DATA

DATA holds the folder ``rmd17`` (see ``published.py``). One model is trained on 20 frames each of
four molecules, with E0s of free atoms and with average ones, for a few numbers of epochs; then its
energies on other frames are scored as trained, with the shift refitted, and with E0s refitted.
Prints a table and writes it beside the JSON of each run; what is there is not run again.
"""

import argparse
import sys
from pathlib import Path

import torch
import yaml
from ase.data import chemical_symbols
from published import errors, split
from training_parity import predict

from mace_core.frames import write_frames
from mace_core.model.files import load_model
from mace_core.storage import read_json, write_json, write_text
from mace_core.train.data import Dataset
from mace_core.train.e0s import average_energies
from mace_core.train.member import train_member
from mace_core.train.refit import refit

MOLECULES = ("ethanol", "malonaldehyde", "uracil", "aspirin")
EPOCHS = (5, 20, 60)
SEEDS = (1, 2)
#: eV; free atoms by PBE/def2-SVP (PySCF, UKS, grid level 4), rMD17's level of theory.
FREE_ATOMS = {"H": -13.568398, "C": -1027.263474, "N": -1482.111096, "O": -2038.531983}


def one(data: Path, run: dict, folder: Path) -> dict:
    """Train once, score with each refit."""
    splits = [split(data, name, 20, 5, 100, run["seed"]) for name in MOLECULES]
    frames = {
        part: [atoms for s in splits for atoms in getattr(s, part)]
        for part in ("train", "valid", "test")
    }
    E0s = FREE_ATOMS
    if run["E0s"] == "average":
        E0s = {chemical_symbols[z]: E0 for z, E0 in average_energies(frames["train"]).items()}
    for part in ("train", "valid"):
        write_frames(folder / f"{part}.xyz", frames[part])
    settings = {
        "campaign": {"name": "constants"},
        "labeller": {"engine": "emt"},  # labels nothing here
        "data": {"labelled": [str(folder / "train.xyz")], "E0s": E0s},
        "train": {
            "loss": "weighted",
            "batch_size": 5,
            "optimizer": "adam",
            "lr": 0.01,
            "scheduler": "ReduceLROnPlateau",
            "max_num_epochs": run["epochs"],
            "refit": "none",
            "default_dtype": "float32",
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    train_member(
        folder / "train.xyz",
        folder / "config.yaml",
        folder,
        valid_file=folder / "valid.xyz",
        seed=run["seed"],
    )
    result = {}
    for which in ("none", "shift", "E0s"):
        model = load_model(folder)
        refit(model, Dataset(frames["train"], model.elements, model.r_max, model.dtype), which)
        result[which] = errors(frames["test"], *predict(model, frames["test"]))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "energy_constants")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out.absolute()
    lines = [
        "| E0s | epochs | E MAE as trained | shift refitted | E0s refitted | F MAE |",
        "|---|---|---|---|---|---|",
    ]
    for E0s in ("isolated", "average"):
        for epochs in EPOCHS:
            found = []
            for seed in SEEDS:
                run = {"E0s": E0s, "epochs": epochs, "seed": seed}
                name = f"{E0s}_{epochs}_{seed}"
                path = out / "runs" / f"{name}.json"
                if not path.exists():
                    write_json(path, {**run, **one(arguments.data, run, out / "work" / name)})
                found.append(read_json(path))
            cells = [E0s, str(epochs)]
            for which in ("none", "shift", "E0s"):
                cells.append(f"{sum(r[which]['energy_mae'] for r in found) / len(found):.2f}")
            cells.append(f"{sum(r['none']['forces_mae'] for r in found) / len(found):.1f}")
            lines.append("| " + " | ".join(cells) + " |")
    write_text(out / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
