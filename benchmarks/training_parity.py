"""Training beside mace-torch's: the same architecture, data, settings and number of epochs.

    OMP_NUM_THREADS=1 python benchmarks/training_parity.py --data DATA --peer PEER/bin/python

DATA holds the folders ``3bpa`` and ``rmd17`` (see ``published.py``), PEER is a venv with mace-torch
0.3.16. Each run leaves one JSON in ``--out``, and what is there is not run again, so a stopped
benchmark goes on with the same command. The table is printed and written as ``parity.json`` and
``parity.md``.

mace-torch trains through its own ``mace_run_train`` and predicts through its own
``mace_eval_configs``. Frames are the same in all runs; seeds draw first weights and order. Errors
are those of the weights that training ends with (the average that was best on the held-out
frames). Ours are given as trained, and once more after the energy's constant is fitted.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from ase.data import atomic_numbers
from published import Split, errors, split

from mace_core.frames import read_frames, write_frames
from mace_core.model.files import load_model
from mace_core.storage import read_json, write_json, write_text
from mace_core.train.data import Dataset
from mace_core.train.member import train_member
from mace_core.train.refit import refit

SETS = ("ethanol", "3bpa")
#: Name → max_L of 32 channels.
MODELS = {"32x0e": 0, "32x0e+32x1o": 1}
SIDES = ("mace-torch", "maceloop")

#: mace-torch's flags, and keys of our ``model`` and ``train`` sections.
ARCHITECTURE = {
    "r_max": 5.0,
    "num_radial_basis": 8,
    "num_cutoff_basis": 5,
    "max_ell": 3,
    "correlation": 3,
    "num_interactions": 2,
    "num_channels": 32,
    "MLP_irreps": "16x0e",
    "radial_MLP": [64, 64, 64],
}
TRAINING = {
    "loss": "weighted",
    "energy_weight": 1.0,
    "forces_weight": 100.0,
    "batch_size": 5,
    "valid_batch_size": 10,
    "optimizer": "adam",
    "lr": 0.01,
    "weight_decay": 5e-7,
    "clip_grad": 10.0,
    "ema": True,
    "ema_decay": 0.99,
    "scheduler": "ReduceLROnPlateau",
    "lr_factor": 0.8,
    "scheduler_patience": 5,
    "patience": 10_000,
    "eval_interval": 1,
    "scaling": "rms_forces_scaling",
    "default_dtype": "float64",
}


def train_ours(data: Split, files: dict[str, Path], max_L: int, run: dict, folder: Path) -> dict:
    """Train with maceloop; errors as trained and with the refitted constant."""
    settings = {
        "campaign": {"name": "parity"},
        "labeller": {"engine": "emt"},  # labels nothing here
        "data": {"labelled": [str(files["train"])], "E0s": data.E0s},
        "model": {**ARCHITECTURE, "max_L": max_L},
        "train": {**TRAINING, "max_num_epochs": run["epochs"], "refit": "none"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    start = time.process_time()
    train_member(
        files["train"],
        folder / "config.yaml",
        folder,
        valid_file=files["valid"],
        seed=run["seed"],
    )
    seconds = time.process_time() - start
    model = load_model(folder)

    def scores() -> dict:
        return {part: errors(frames, *predict(model, frames)) for part, frames in parts(data)}

    trained = scores()
    refit(model, Dataset(data.train, model.elements, model.r_max, model.dtype), "E0s")
    return {"cpu_seconds": seconds, "as trained": trained, "refitted": scores()}


def predict(model, frames) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies and forces by one of our models."""
    energies, forces = [], []
    for graph, _ in Dataset(frames, model.elements, model.r_max, model.dtype).large_batches:
        out = model(graph)
        energies += out.energy.tolist()
        forces.append(out.forces.numpy())
    ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
    return np.array(energies), np.split(np.concatenate(forces), ends)


def train_theirs(
    data: Split, files: dict[str, Path], max_L: int, run: dict, folder: Path, peer: str
) -> dict:
    """Train with mace-torch and predict with it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    E0s = {atomic_numbers[symbol]: energy for symbol, energy in data.E0s.items()}
    flags = {
        **ARCHITECTURE,
        **TRAINING,
        "max_L": max_L,
        "model": "ScaleShiftMACE",
        "interaction": "RealAgnosticResidualInteractionBlock",
        "interaction_first": "RealAgnosticResidualInteractionBlock",
        "name": "parity",
        "train_file": files["train"],
        "valid_file": files["valid"],
        "E0s": E0s,
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "max_num_epochs": run["epochs"],
        "seed": run["seed"],
        "work_dir": folder,
        "device": "cpu",
        "plot": False,
    }
    del flags["ema"]
    command = [peer, "-m", "mace.cli.run_train", "--ema"]
    command += [f"--{key}={value}" for key, value in flags.items()]
    seconds = call(command, folder)
    scores = {}
    for part, frames in parts(data):
        out = folder / f"{part}.xyz"
        command = [peer, "-m", "mace.cli.eval_configs", f"--configs={files[part]}"]
        command += [f"--model={folder / 'parity.model'}", f"--output={out}", "--batch_size=20"]
        command += [f"--default_dtype={TRAINING['default_dtype']}"]
        call(command, folder)
        predicted = read_frames(out)
        energies = np.array([atoms.info["MACE_energy"] for atoms in predicted])
        scores[part] = errors(frames, energies, [a.arrays["MACE_forces"] for a in predicted])
    return {"cpu_seconds": seconds, "as trained": scores}


def call(command: list, folder: Path) -> float:
    """Run a command of the peer on one thread; returns its CPU seconds."""
    before = os.times()
    with open(folder / "output.log", "ab") as log:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:3]))} failed, see {folder / 'output.log'}")
    after = os.times()
    user, system = (
        getattr(after, key) - getattr(before, key) for key in ("children_user", "children_system")
    )
    return user + system


def parts(data: Split) -> Iterator[tuple[str, list]]:
    yield "valid", data.valid
    yield "test", data.test


def runs(arguments: argparse.Namespace) -> Iterator[dict]:
    """What is to be run, each seed on both sides before the next one."""
    for model in arguments.models:
        for data in arguments.sets:
            for seed in range(1, arguments.seeds + 1):
                for side in SIDES:
                    yield {
                        "set": data,
                        "model": model,
                        "seed": seed,
                        "side": side,
                        "epochs": arguments.epochs,
                        "n_train": arguments.n_train,
                        "n_valid": arguments.n_valid,
                        "n_test": arguments.n_test,
                    }


def name_of(run: dict) -> str:
    sizes = f"{run['n_train']}x{run['epochs']}"
    return f"{run['set']}_{run['model']}_{sizes}_{run['side']}_{run['seed']}"


def table(results: list[dict]) -> list[dict]:
    """Mean and standard deviation over seeds, by data, model and side."""
    rows = []
    groups: dict[tuple, list[dict]] = {}
    for result in results:
        for kind in ("as trained", "refitted"):
            if kind in result:
                key = (result["set"], result["model"], result["side"], kind)
                groups.setdefault(key, []).append(result)
    for (data, model, side, kind), members in groups.items():
        row = {"set": data, "model": model, "side": side, "kind": kind, "seeds": len(members)}
        row["cpu_seconds"] = statistics.mean(m["cpu_seconds"] for m in members)
        for part in ("valid", "test"):
            for error in ("energy_mae", "energy_centred", "forces_mae", "forces_rmse"):
                values = [m[kind][part][error] for m in members]
                spread = statistics.stdev(values) if len(values) > 1 else None
                row[f"{part}_{error}"] = [statistics.mean(values), spread]
        rows.append(row)
    return rows


def markdown(rows: list[dict]) -> str:
    """The table of errors, in meV/atom and meV/Å: mean ± standard deviation over seeds."""
    columns = {
        f"{part}_{error}": f"{part} {title}"
        for part in ("valid", "test")
        for error, title in (
            ("energy_mae", "E MAE"),
            ("energy_centred", "E centred"),
            ("forces_mae", "F MAE"),
            ("forces_rmse", "F RMSE"),
        )
    }
    lines = [
        "| data | model | | seeds | " + " | ".join(columns.values()) + " |",
        "|---|---|---|---|" + "---|" * len(columns),
    ]
    for row in rows:
        side = row["side"] + ("" if row["kind"] == "as trained" else ", refitted")
        cells = []
        for column in columns:
            mean, spread = row[column]
            digits = 1 if "forces" in column else 2
            cells.append(f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else ""))
        head = [row["set"], row["model"], side, str(row["seeds"])]
        lines.append("| " + " | ".join(head + cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", required=True, help="python with mace-torch 0.3.16")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "parity")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--n-train", type=int, default=100)
    parser.add_argument("--n-valid", type=int, default=50)
    parser.add_argument("--n-test", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Not resolved: a venv's python is a link, and what it links to is outside of the venv.
    peer = os.path.abspath(arguments.peer)
    out = arguments.out.absolute()
    results = []
    for run in runs(arguments):
        path = out / "runs" / f"{name_of(run)}.json"
        if not path.exists():
            sizes = (run["n_train"], run["n_valid"], run["n_test"])
            data = split(arguments.data, run["set"], *sizes)
            files = {}
            for part in ("train", "valid", "test"):
                files[part] = out / "frames" / f"{run['set']}_{sizes[0]}_{part}.xyz"
                write_frames(files[part], getattr(data, part))
            folder, max_L = out / "work" / name_of(run), MODELS[run["model"]]
            print(f"{name_of(run)} …", flush=True)
            if run["side"] == "maceloop":
                result = train_ours(data, files, max_L, run, folder)
            else:
                result = train_theirs(data, files, max_L, run, folder, peer)
            write_json(path, {**run, **result})
            test = result["as trained"]["test"]
            print(f"  test E {test['energy_mae']:.2f} F {test['forces_mae']:.1f}", flush=True)
        results.append(read_json(path))
        rows = table(results)
        write_json(out / "parity.json", rows)
        write_text(out / "parity.md", markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    sys.exit(main())
