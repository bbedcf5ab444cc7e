"""Recipes of training on 20 to 200 frames, which is what active learning lives on.

    OMP_NUM_THREADS=1 python benchmarks/small_data.py --data DATA
    …small_data.py --data DATA --sets ethanol malonaldehyde uracil

DATA holds the folders ``3bpa`` and ``rmd17`` (see ``published.py``); the set "alloys" is made anew,
of crystals (see ``alloy.py``). Recipes are tuned on the first sets and tested on the others. All
see the same frames in the same number of epochs. A tenth of the frames is held out of training, as
in a campaign; errors are those on other frames of the same source. Each run leaves one JSON in
``--out``, and what is there is not run again. The tables are printed and written as ``SETS.md``.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from alloy import alloys
from published import errors, split
from training_parity import predict

from mace_core.frames import write_frames
from mace_core.model.files import load_model
from mace_core.storage import read_json, write_json, write_text
from mace_core.train.member import train_member

RESULTS = Path(__file__).parent / "results"
N_TEST = 200
#: Frames, held-out ones included → epochs.
SIZES = {20: 200, 50: 100, 200: 50}

#: Keys of the ``train`` section, beside the defaults of mace-torch where they differ from ours.
BASE = {
    "loss": "weighted",
    "batch_size": 5,
    "optimizer": "adam",
    "lr": 0.01,
    "ema_decay": 0.99,
    "energy_weight": 1.0,
    "forces_weight": 100.0,
    "scheduler": "ReduceLROnPlateau",
    "scheduler_patience": 5,
    "eval_interval": 2,
    "amsgrad": True,
    "refit": "shift",
}
COSINE = {**BASE, "scheduler": "CosineAnnealingLR"}
PAIRS = {**COSINE, "batch_size": 2, "lr": 0.03}
MUON = {**COSINE, "batch_size": 2, "loss": "l1l2energyforces", "optimizer": "muon", "lr": 0.02}
RECIPES = {
    "plateau": BASE,
    "plateau, 1.5 × epochs": {**BASE, "max_num_epochs": 1.5},  # of what the others have
    "plateau, 2 × epochs": {**BASE, "max_num_epochs": 2},
    "plateau, lr 0.02": {**BASE, "lr": 0.02},
    "plateau, batch 2": {**BASE, "batch_size": 2},
    "plateau, batch 2, lr 0.02": {**BASE, "batch_size": 2, "lr": 0.02},
    "plateau, batch 1": {**BASE, "batch_size": 1},
    "cosine, batch 2": {**COSINE, "batch_size": 2},
    "cosine, batch 2, lr 0.03": PAIRS,
    "the same, l1l2": {**PAIRS, "loss": "l1l2energyforces"},
    "l1l2, 1.3 × epochs": {**PAIRS, "loss": "l1l2energyforces", "max_num_epochs": 1.3},
    "l1l2, Muon 0.01": {**MUON, "lr": 0.01},
    "l1l2, Muon 0.02": MUON,
    "l1l2, Muon 0.03": {**MUON, "lr": 0.03},
    "l1l2, Muon 0.04": {**MUON, "lr": 0.04},
    "l1l2, Muon 0.06": {**MUON, "lr": 0.06},
    "l1l2, Muon 0.06, R16": {**MUON, "lr": 0.06},
    "l1l2, Muon 0.06, R16-B5": {**MUON, "lr": 0.06},
    "l1l2, Muon 0.08": {**MUON, "lr": 0.08},
    "l1l2, Muon 0.02, batch 5": {**MUON, "batch_size": 5},
    "l1l2, energy 10": {**PAIRS, "loss": "l1l2energyforces", "energy_weight": 10.0},
    "l1l2, EMA 0.995": {**PAIRS, "loss": "l1l2energyforces", "ema_decay": 0.995},
    "l1l2, no amsgrad": {**PAIRS, "loss": "l1l2energyforces", "amsgrad": False},
    "l1l2, no amsgrad, lr 0.01": {
        **PAIRS,
        "loss": "l1l2energyforces",
        "amsgrad": False,
        "lr": 0.01,
    },
    "l1l2, lr 0.02": {**PAIRS, "loss": "l1l2energyforces", "lr": 0.02},
    "l1l2, batch 5, 1.7 × epochs": {
        **PAIRS,
        "loss": "l1l2energyforces",
        "batch_size": 5,
        "max_num_epochs": 1.7,
    },
    "l1l2, AdamW 0.02": {
        **PAIRS,
        "loss": "l1l2energyforces",
        "optimizer": "adamw",
        "weight_decay": 0.02,
    },
    "l1l2, plateau, lr 0.02": {
        **BASE,
        "batch_size": 2,
        "lr": 0.02,
        "loss": "l1l2energyforces",
    },
    "the same, energy 10": {**PAIRS, "energy_weight": 10.0},
    "the same, EMA 0.995": {**PAIRS, "ema_decay": 0.995},
    "the same, no amsgrad": {**PAIRS, "amsgrad": False},
    "the same, universal": {**PAIRS, "loss": "universal"},
    "the same, huber": {**PAIRS, "loss": "huber"},
}

#: Keys of the ``model`` section, of all recipes and of some. R16: the radial network is one layer
#: of 16, B5: of 5 Bessel functions.
MODEL = {"radial_MLP": [64, 64, 64]}
MODELS = {
    "l1l2, Muon 0.06, R16": {"radial_MLP": [16]},
    "l1l2, Muon 0.06, R16-B5": {"radial_MLP": [16], "num_radial_basis": 5},
}


def one(arguments: argparse.Namespace, run: dict, folder: Path) -> dict:
    """Train once and score."""
    n_valid = max(2, run["n"] // 10)
    sizes = run["n"] - n_valid, n_valid, N_TEST, run["seed"]
    data = alloys(*sizes) if run["set"] == "alloys" else split(arguments.data, run["set"], *sizes)
    write_frames(folder / "train.xyz", data.train)
    write_frames(folder / "valid.xyz", data.valid)
    recipe = RECIPES[run["recipe"]]
    settings = {
        "campaign": {"name": "recipe"},
        "labeller": {"engine": "emt"},  # labels nothing here
        "data": {"labelled": [str(folder / "train.xyz")], "E0s": data.E0s},
        "model": {"num_channels": run["channels"], **MODEL, **MODELS.get(run["recipe"], {})},
        "train": {
            **recipe,
            "max_num_epochs": round(run["epochs"] * recipe.get("max_num_epochs", 1)),
            "patience": 10_000,
            "default_dtype": "float32",
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    start = time.process_time()
    metrics = train_member(
        folder / "train.xyz",
        folder / "config.yaml",
        folder,
        valid_file=folder / "valid.xyz",
        seed=run["seed"],
    )
    seconds = time.process_time() - start
    model = load_model(folder)
    return {
        "cpu_seconds": seconds,
        "best_epoch": metrics["best_epoch"],
        "steps": metrics["steps"],
        "train": errors(data.train, *predict(model, data.train)),
        "valid": errors(data.valid, *predict(model, data.valid)),
        "test": errors(data.test, *predict(model, data.test)),
    }


def runs(arguments: argparse.Namespace) -> Iterator[dict]:
    for seed in range(1, arguments.seeds + 1):
        for n in arguments.sizes:
            for recipe in arguments.recipes:
                for data in arguments.sets:
                    yield {
                        "set": data,
                        "n": n,
                        "recipe": recipe,
                        "seed": seed,
                        "epochs": SIZES[n],
                        "channels": arguments.channels,
                    }


def name_of(run: dict) -> str:
    recipe = run["recipe"].replace(", ", "-").replace(" ", "_").replace("×", "x")
    return f"{run['set']}_{run['n']}x{run['epochs']}_{run['channels']}_{recipe}_{run['seed']}"


def markdown(results: list[dict], base: str = "plateau") -> str:
    """Test errors by recipe, and their ratio to those of the first recipe on the same frames."""
    cells = sorted({(r["set"], r["n"]) for r in results}, key=lambda cell: (cell[0], cell[1]))
    found = {(r["recipe"], r["set"], r["n"], r["seed"]): r for r in results}
    lines = [
        "| recipe | F / plateau | E / plateau | "
        + " | ".join(f"{data} {n}: F, E" for data, n in cells)
        + " | runs |",
        "|---|---|---|" + "---|" * (len(cells) + 1),
    ]
    for recipe in dict.fromkeys(r["recipe"] for r in results):
        mine = [r for r in results if r["recipe"] == recipe]
        ratios = {"forces_mae": [], "energy_mae": []}
        for r in mine:
            other = found.get((base, r["set"], r["n"], r["seed"]))
            if other:
                for error, values in ratios.items():
                    values.append(math.log(r["test"][error] / other["test"][error]))
        row = [recipe]
        for values in ratios.values():
            row.append(f"{math.exp(statistics.mean(values)):.3f}" if values else "")
        for data, n in cells:
            here = [r["test"] for r in mine if (r["set"], r["n"]) == (data, n)]
            if not here:
                row.append("")
                continue
            F, E = (statistics.mean(t[e] for t in here) for e in ("forces_mae", "energy_mae"))
            row.append(f"{F:.1f}, {E:.2f}")
        lines.append("| " + " | ".join([*row, str(len(mine))]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "small_data"
    )
    parser.add_argument("--sets", nargs="+", default=["3bpa", "aspirin"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out.absolute()
    results = []
    for run in runs(arguments):
        path = out / "runs" / f"{name_of(run)}.json"
        if not path.exists():
            print(f"{name_of(run)} …", flush=True)
            result = one(arguments, run, out / "work" / name_of(run))
            write_json(path, {**run, **result})
            test = result["test"]
            print(f"  test E {test['energy_mae']:.2f} F {test['forces_mae']:.1f}", flush=True)
        results.append(read_json(path))
    text = markdown(results)
    write_text(out / ("-".join(arguments.sets) + ".md"), text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
