"""Accuracy beside the paper's, on the published splits: rMD17 (950 + 50 frames) and 3BPA.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py --data DATA --hours 8

DATA holds the folders ``3bpa`` and ``rmd17`` (see ``published.py``). Trains one model after the
other, each in a process of its own, for ``--hours`` in all, and goes on where it was stopped: a
training that is cut off leaves its checkpoint, one that is complete leaves one JSON in ``--out``.
The table is printed and written as ``accuracy.json`` and ``accuracy.md``, the models are in
``--out``/models.

    python benchmarks/accuracy.py --data DATA --score benchmarks/models

scores models that were kept, the mean of those of one set, and those of one architecture merged
into one model; ``--start`` goes on from one of them, with the learning rate anew, or from several
merged into one (``--together``), whose channels mix from then on.

rMD17 is scored by mean absolute errors on the published test part, 3BPA by root mean squares at
each temperature. Its published test frames are not in BOTNet-datasets' training folder, so models
trained at 300 K are scored on the training set of mixed temperatures, less the frames both share.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from accuracy_table import SIZES, markdown, predictions, score, scores_of_kept
from published import split

from mace_core.frames import write_frames
from mace_core.model.files import DESCRIPTION, WEIGHTS, load_model, save_model
from mace_core.model.merge import WIDTHS, merged
from mace_core.storage import read_json, write_json, write_text
from mace_core.tables import read_table

#: Of the radial network, as in the paper.
WIDE = {"radial_MLP": [64, 64, 64]}
#: R16: the radial network is one layer of 16; B4, B5: of 4, 5 Bessel functions.
NARROW = {
    "R16": {"radial_MLP": [16]},
    "R16-B4": {"radial_MLP": [16], "num_radial_basis": 4},
    "R16-B5": {"radial_MLP": [16], "num_radial_basis": 5},
}
MODELS = {
    "32x0e": {"num_channels": 32, "max_L": 0, **WIDE},
    "64x0e+64x1o": {"num_channels": 64, "max_L": 1, **WIDE},
    "128x0e+128x1o": {"num_channels": 128, "max_L": 1, **WIDE},
}
for k in (64, 128, 256):
    name = f"{k}x0e+{k}x1o+{k}x2e"
    MODELS[name] = {"num_channels": k, "max_L": 2, **WIDE}
    MODELS |= {f"{name}-{kind}": {**MODELS[name], **NARROW[kind]} for kind in NARROW}
TRAIN = {
    "loss": "l1l2energyforces",  # the published errors are absolute ones
    "batch_size": 5,
    "ema_decay": 0.99,
    "energy_weight": 1.0,
    "forces_weight": 100.0,
    "scheduler": "CosineAnnealingLR",
    "eval_interval": 2,
    "patience": 10_000,
    "refit": "shift",
    "default_dtype": "float32",
}

#: Squares with the paper's weights (github.com/ACEsuit/mace/issues/57); nothing is clipped there.
SQUARES = {"loss": "weighted", "energy_weight": 27.0, "forces_weight": 1000.0, "clip_grad": 1000.0}

#: ``train.optimizer`` → ``train.lr``.
LR = {"adam": 0.01, "muon": 0.02}
#: The same of merged models.
LR_TOGETHER = 0.005


def train(arguments: argparse.Namespace, run: dict, folder: Path, seconds: float) -> bool:
    """Train for at most so long; whether it came to its end."""
    n_train, n_valid = SIZES[run["set"]]
    data = split(arguments.data, run["set"], n_train, n_valid, 0, run["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    write_frames(folder / "train.xyz", data.train)
    write_frames(folder / "valid.xyz", data.valid)
    settings = {
        "optimizer": run["optimizer"],
        "lr": LR[run["optimizer"]],
        "batch_size": run["batch_size"],
        **(SQUARES if "loss" in run else {}),
    }
    model = MODELS[run["model"]]
    if before := starts(arguments, run):
        start = before[0]
        if "together" in run:
            whole = merged([load_model(path) for path in before])
            model = model | {name: getattr(whole.architecture, name) for name in WIDTHS}
            start, settings["lr"] = folder / "merged", LR_TOGETHER
            save_model(whole, start)
        settings["foundation_model"] = str(start.absolute())
    return fit(folder, run, model, data.E0s, settings, seconds)


def starts(arguments: argparse.Namespace, run: dict) -> list[Path]:
    """The kept models that a run goes on from."""
    if not vars(arguments).get("start"):
        return []
    if "together" not in run:
        return [arguments.start / key_of(run)]
    alone = {key: value for key, value in run.items() if key != "together"}
    members = [int(k) for k in run["together"].split("+")]
    return [arguments.start / key_of(alone | ({"member": k} if k else {})) for k in members]


def fit(
    folder: Path,
    run: dict,
    model: dict,
    E0s: dict[str, float],
    settings: dict,
    seconds: float | None = None,
) -> bool:
    """Train on ``train.xyz`` and ``valid.xyz`` of a folder; ``settings`` are of ``train``."""
    values = {
        "campaign": {"name": "accuracy"},
        "labeller": {"engine": "emt"},  # labels nothing here
        "data": {"labelled": [str(folder / "train.xyz")], "E0s": E0s},
        "model": model,
        "train": {**TRAIN, "max_num_epochs": run["epochs"], **settings},
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    command = [Path(sys.executable).with_name("maceloop"), "train", "--config", config]
    command += ["--train", folder / "train.xyz", "--valid", folder / "valid.xyz"]
    command += ["--seed", str(run["seed"]), "--member", str(run.get("member", 0))]
    command += ["--out", folder]
    try:
        subprocess.run(command, check=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def row_of(arguments: argparse.Namespace, run: dict, folder: Path) -> dict:
    """The row of a complete training, which is kept with its model in ``--out``/models."""
    metrics = read_json(folder / "metrics.json")
    valid = read_table(folder / "history").valid_forces_mae_meV_A
    before = [read_json(path / "row.json") for path in starts(arguments, run)]
    row = {
        **run,
        "all_epochs": (before[0]["all_epochs"] if before else []) + [run["epochs"]],
        "n_parameters": metrics["n_parameters"],
        "best_epoch": metrics["best_epoch"],
        "hours": metrics["seconds"] / 3600 + sum(of["hours"] for of in before),
        "valid_half_way": valid.iloc[: max(1, len(valid) // 2)].min(),
        "valid_end": valid.min(),
        **score(*predictions(arguments.data, run, load_model(folder))),
    }
    kept = arguments.out / "models" / key_of(run)
    kept.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, DESCRIPTION):
        shutil.copyfile(folder / name, kept / name)
    write_json(kept / "row.json", row)
    return row


def runs(arguments: argparse.Namespace) -> Iterator[dict]:
    seeds = range(1, arguments.seeds + 1)
    for seed, member, model, data in itertools.product(
        seeds, arguments.members, arguments.models, arguments.sets
    ):
        run = {"set": data, "model": model, "optimizer": arguments.optimizer}
        if arguments.squares:
            run["loss"] = SQUARES["loss"]
        run |= {"batch_size": arguments.batch_size, "epochs": arguments.epochs, "seed": seed}
        if member:
            run["member"] = member
        if arguments.together:
            run["together"] = "+".join(map(str, arguments.together))
        if before := starts(arguments, run):
            run["after"] = sum(read_json(before[0] / "row.json")["all_epochs"])
        yield run


def name_of(run: dict) -> str:
    return "_".join(str(value).replace("+", "-") for value in run.values())


def key_of(run: dict) -> str:
    """What a model is kept under, however long it was trained."""
    keys = ("set", "model", "optimizer", "loss", "batch_size", "seed", "member", "together")
    return name_of({key: run[key] for key in keys if key in run})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "accuracy")
    parser.add_argument("--hours", type=float, default=8.0, help="stop then; 0: only the table")
    parser.add_argument("--optimizer", default="muon", choices=list(LR))
    parser.add_argument("--batch_size", type=int, default=TRAIN["batch_size"])
    parser.add_argument("--squares", action="store_true", help="in the loss, instead of norms")
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--members",
        type=int,
        nargs="+",
        default=[0],
        metavar="K",
        help="trainings on the frames of one seed, each with first weights and an order of its own",
    )
    parser.add_argument("--sets", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--models", nargs="+", default=list(MODELS)[:2], choices=list(MODELS))
    parser.add_argument("--start", type=Path, help="folder of kept models, to go on from")
    parser.add_argument(
        "--together",
        type=int,
        nargs="+",
        metavar="K",
        help="members of --start to merge into one model, which is gone on with",
    )
    parser.add_argument("--score", type=Path, help="folder of kept models, which are only scored")
    arguments = parser.parse_args()
    if arguments.together and (not arguments.start or arguments.members != [0]):
        parser.error("--together names the members of --start, which must be given, itself")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    if arguments.score:
        for text in scores_of_kept(arguments.data, arguments.score):
            print(text)
        return
    out, end = arguments.out.absolute(), time.monotonic() + 3600 * arguments.hours
    arguments.out = out
    for run in runs(arguments):
        path, folder = out / "runs" / f"{name_of(run)}.json", out / "work" / name_of(run)
        left = end - time.monotonic()
        if path.exists() or left <= 0:
            continue
        print(f"{name_of(run)} …", flush=True)
        if (folder / "metrics.json").exists() or train(arguments, run, folder, left):
            write_json(path, row_of(arguments, run, folder))
    # All that was ever completed, also with other options.
    rows = [read_json(path) for path in sorted((out / "runs").glob("*.json"))]
    waiting = [
        name_of(run)
        for run in runs(arguments)
        if not (out / "runs" / f"{name_of(run)}.json").exists()
    ]
    text = markdown(rows, waiting)
    write_json(out / "accuracy.json", {"rows": rows, "waiting": waiting})
    write_text(out / "accuracy.md", text)
    print(text)


if __name__ == "__main__":
    main()
