"""Optimisers beside each other at equal epochs, on the published splits (rMD17: 950 + 50 frames).

    OMP_NUM_THREADS=1 python benchmarks/optimisers.py --data DATA --sets ethanol --epochs 20

DATA holds the folders ``3bpa`` and ``rmd17`` (see ``published.py``). All recipes have the loss,
moving average and cosine of ``accuracy.py``, and its batches where they name none. Each run leaves
one JSON in ``--out``, and what is there is not run again. Errors are mean absolute ones on frames
never seen (of 3BPA those of mixed temperatures), energies total, constants not refitted.
"""

import argparse
import time
from pathlib import Path

import torch
from accuracy import MODELS, TRAIN
from accuracy_table import SIZES
from ase.data import atomic_numbers
from published import split, unseen_frames_of_3bpa

from mace_core.config.sections import Model, Train
from mace_core.model.model import MACE
from mace_core.storage import derived_seed, read_json, write_json
from mace_core.train.data import Dataset
from mace_core.train.loss import Loss, Residuals
from mace_core.train.metrics import evaluate
from mace_core.train.optimizer import MovingAverage, new_optimizer
from mace_core.train.schedule import cosine
from mace_core.train.statistics import Statistics
from mace_core.train.step import WeightStep

#: Name → settings of ``train``.
RECIPES = {
    "adam 0.01": {"optimizer": "adam", "lr": 0.01},
    "adam 0.03": {"optimizer": "adam", "lr": 0.03},
    "adam 0.01, batch 2": {"optimizer": "adam", "lr": 0.01, "batch_size": 2},
    "muon 0.01": {"optimizer": "muon", "lr": 0.01},
    "muon 0.02": {"optimizer": "muon", "lr": 0.02},
    "muon 0.04": {"optimizer": "muon", "lr": 0.04},
    "muon 0.02, batch 2": {"optimizer": "muon", "lr": 0.02, "batch_size": 2},
}


def train(data: list[Dataset], model: MACE, run: dict) -> tuple[torch.nn.Module, Loss, dict]:
    """The averaged model, the loss, and CPU seconds: all, and those of the optimiser alone."""
    settings = Train(**{**TRAIN, **RECIPES[run["recipe"]], "max_num_epochs": run["epochs"]})
    loss_of = Loss(settings)
    optimizer = new_optimizer(model, settings)
    average = MovingAverage(model, settings.ema_decay)
    move = WeightStep(optimizer, settings.clip_grad, average)
    parameters = list(model.parameters())
    shape = cosine(run["epochs"] * data[0].steps_per_epoch(settings.batch_size))
    begun, of_optimizer, step = time.process_time(), 0.0, 0
    for epoch in range(1, run["epochs"] + 1):
        for indices in data[0].shuffled(
            settings.batch_size, derived_seed(run["seed"], "order", epoch)
        ):
            graph, targets = data[0].batch(indices)
            out = model(graph, forces=True, stress=False, training=True)
            loss_of(Residuals.of(out, targets), targets).backward(inputs=parameters)
            start = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * shape(step)
            move()
            of_optimizer += time.process_time() - start
            step += 1
        if epoch % max(1, run["epochs"] // 10) == 0:
            forces = 1e3 * evaluate(average.module, data[1], loss_of)["forces_mae"]
            print(f"  epoch {epoch}, held-out F {forces:.1f} meV/Å", flush=True)
    seconds = {"cpu_seconds": time.process_time() - begun, "of_optimizer": of_optimizer}
    return average.module, loss_of, seconds


def one(data_folder: Path, run: dict) -> dict:
    """Train once and score."""
    n_train, n_valid = SIZES[run["set"]]
    frames = split(
        data_folder, run["set"], n_train, n_valid, 1000 * (run["set"] != "3bpa"), run["seed"]
    )
    test = unseen_frames_of_3bpa(data_folder) if run["set"] == "3bpa" else frames.test
    E0s = dict(sorted((atomic_numbers[s], e) for s, e in frames.E0s.items()))
    architecture = Model(**MODELS[run["model"]])
    data = [
        Dataset(part, list(E0s), architecture.r_max, torch.float32)
        for part in (frames.train, frames.valid, test)
    ]
    found = Statistics.of(data[0], E0s, Train().scaling)
    model = MACE(
        architecture,
        list(E0s),
        E0s,
        avg_num_neighbors=found.avg_num_neighbors,
        scale=found.scale,
        shift=found.shift,
        dtype=torch.float32,
        seed=derived_seed(run["seed"], "train", 0),
    )
    averaged, loss_of, seconds = train(data, model, run)
    errors = evaluate(averaged, data[2], loss_of)
    return {
        **run,
        "F": 1e3 * errors["forces_mae"],
        "E": 1e3 * errors["energy_mae"] * len(test[0]),
        **seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "optimisers"
    )
    parser.add_argument("--sets", nargs="+", default=["ethanol"], choices=list(SIZES))
    parser.add_argument("--model", default="32x0e", choices=list(MODELS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in arguments.sets:
        for seed in arguments.seeds:
            for recipe in arguments.recipes:
                run = {"set": name, "model": arguments.model, "epochs": arguments.epochs}
                run |= {"recipe": recipe, "seed": seed}
                path = arguments.out / (
                    "_".join(map(str, run.values())).replace(" ", "-") + ".json"
                )
                if not path.exists():
                    print(f"{name}, {recipe}, seed {seed} …", flush=True)
                    write_json(path, one(arguments.data, run))
                rows.append(read_json(path))
    print("| data | model | optimiser | epochs | seed | F, meV/Å | E, meV | CPU s, optimiser's |")
    print("|---" * 8 + "|")
    for r in rows:
        print(
            f"| {r['set']} | {r['model']} | {r['recipe']} | {r['epochs']} | {r['seed']} "
            f"| {r['F']:.1f} | {r['E']:.2f} | {r['cpu_seconds']:.0f}, {r['of_optimizer']:.0f} |"
        )


if __name__ == "__main__":
    main()
