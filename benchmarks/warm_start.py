"""How a generation of a campaign should train: from scratch, or from the last generation's weights.

    OMP_NUM_THREADS=1 python benchmarks/warm_start.py --data DATA

DATA holds the folders ``3bpa`` and ``rmd17`` (see ``published.py``). A chain of three generations
has 20, 40 and 60 frames, each set with all frames of the one before, a fifth of each addition held
out. As in a campaign the first frames are the easy ones: those of the lower half in energy; the
others are drawn from all. Errors are those of the last generation's model on 200 other frames. Each
run leaves one JSON in ``--out``, and what is there is not run again.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from published import errors, frames_of_3bpa, split
from small_data import BASE, N_TEST, PAIRS
from training_parity import predict

from mace_core.frames import write_frames
from mace_core.model.files import load_model
from mace_core.storage import read_json, write_json, write_text
from mace_core.train.member import train_member

SIZES = (20, 40, 60)
NORMS = {**PAIRS, "loss": "l1l2energyforces", "patience": 10_000}
ORTHOGONAL = {**NORMS, "optimizer": "muon", "lr": 0.06}
OLD = {**BASE, "patience": 30}

#: Name → ``train`` section of the last generation, and what the warm generations have of ``lr``;
#: None: no warm start.
VARIANTS = {
    "plateau, from scratch": (OLD, None),
    "plateau, warm": (OLD, 1.0),
    "from scratch": (NORMS, None),
    "warm": (NORMS, 1.0),
    "warm, lr / 3": (NORMS, 1 / 3),
    "warm, lr / 10": (NORMS, 1 / 10),
    "Muon, from scratch": (ORTHOGONAL, None),
    "Muon, warm": (ORTHOGONAL, 1.0),
    "Muon, warm, lr / 3": (ORTHOGONAL, 1 / 3),
    "Muon, warm, lr / 10": (ORTHOGONAL, 1 / 10),
}


def draw(folder: Path, name: str, seed: int) -> tuple[list, list[list[Atoms]], list[Atoms], dict]:
    """Training and held-out frames of each generation, test frames, E0s."""
    rng = np.random.default_rng(seed)
    if name == "3bpa":
        E0s = split(folder, name, 1, 1, 1).E0s
        frames = frames_of_3bpa(folder, "train_mixedT")
        order = rng.permutation(len(frames))
        test = [frames[i] for i in order[:N_TEST]]
        frames = [frames[i] for i in order[N_TEST:]]
    else:
        data = split(folder, name, 900, 2, N_TEST, seed)
        frames, test, E0s = data.train, data.test, data.E0s
    median = np.median([atoms.info["REF_energy"] for atoms in frames])
    low = [i for i, atoms in enumerate(frames) if atoms.info["REF_energy"] < median][: SIZES[0]]
    order = low + [i for i in range(len(frames)) if i not in low]
    train, valid = [], []
    for size in SIZES:
        chosen = order[:size]
        train.append([frames[i] for n, i in enumerate(chosen) if n % 5 != 4])
        valid.append([frames[i] for n, i in enumerate(chosen) if n % 5 == 4])
    return train, valid, test, E0s


def generation(
    frames: tuple[list[Atoms], list[Atoms]],
    E0s: dict[str, float],
    run: dict,
    train: dict,
    folder: Path,
    parent: Path | None,
) -> float:
    """Train one generation, unless it is there; CPU seconds."""
    if (folder / "metrics.json").exists():
        return read_json(folder / "cpu.json")
    for part, of_part in zip(("train", "valid"), frames, strict=True):
        write_frames(folder / f"{part}.xyz", of_part)
    settings = {
        "campaign": {"name": "warm"},
        "labeller": {"engine": "emt"},  # labels nothing here
        "data": {"labelled": [str(folder / "train.xyz")], "E0s": E0s},
        "model": {"num_channels": run["channels"], "radial_MLP": [64, 64, 64]},
        "train": {**train, "max_num_epochs": run["epochs"], "default_dtype": "float32"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    start = time.process_time()
    train_member(
        folder / "train.xyz",
        folder / "config.yaml",
        folder,
        valid_file=folder / "valid.xyz",
        seed=run["seed"],
        warm_start=parent,
    )
    seconds = time.process_time() - start
    write_json(folder / "cpu.json", seconds)
    return seconds


def one(arguments: argparse.Namespace, run: dict, work: Path) -> dict:
    """The last generation of one variant."""
    train, valid, test, E0s = draw(arguments.data, run["set"], run["seed"])
    settings, factor = VARIANTS[run["variant"]]
    name = f"{run['set']}_{run['epochs']}_{run['channels']}_{run['seed']}"
    recipe = run["variant"].split(",")[0] if run["variant"].startswith("plateau") else "norms"
    parent = None
    if factor is not None:
        parent = work / f"{name}_{recipe}_first"
        generation((train[0], valid[0]), E0s, run, settings, parent, None)
        settings = {**settings, "lr": settings["lr"] * factor}
    for g in (1, 2):
        if g == 1 and factor is None:
            continue
        folder = work / f"{name}_{run['variant'].replace(', ', '-').replace(' ', '_')}_{g}".replace(
            "/", "by"
        )
        seconds = generation((train[g], valid[g]), E0s, run, settings, folder, parent)
        parent = folder
    model, metrics = load_model(parent), read_json(parent / "metrics.json")
    return {
        "cpu_seconds": seconds,
        "best_epoch": metrics["best_epoch"],
        "epochs_done": metrics["epochs"],
        "valid": errors(valid[-1], *predict(model, valid[-1])),
        "test": errors(test, *predict(model, test)),
    }


def markdown(results: list[dict]) -> str:
    """Test errors of the last generation by variant."""
    columns = sorted({(r["set"], r["epochs"]) for r in results})
    lines = [
        "| | " + " | ".join(f"{s}, {e} epochs: F, E" for s, e in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for variant in VARIANTS:
        cells = []
        for data, epochs in columns:
            rows = [
                r
                for r in results
                if (r["set"], r["epochs"], r["variant"]) == (data, epochs, variant)
            ]
            F, E = ([r["test"][error] for r in rows] for error in ("forces_mae", "energy_mae"))
            cells.append(
                f"{statistics.mean(F):.1f}, {statistics.mean(E):.2f} ({len(F)})" if F else ""
            )
        if any(cells):
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "warm_start"
    )
    parser.add_argument("--sets", nargs="+", default=["ethanol", "malonaldehyde", "3bpa"])
    parser.add_argument("--epochs", nargs="+", type=int, default=[50, 100])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out.absolute()
    for seed in range(1, arguments.seeds + 1):
        for data in arguments.sets:
            for epochs in arguments.epochs:
                for variant in arguments.variants:
                    run = {"set": data, "epochs": epochs, "variant": variant, "seed": seed}
                    run["channels"] = arguments.channels
                    name = "_".join(str(value) for value in run.values())
                    path = out / "runs" / f"{name.replace(' ', '').replace('/', 'by')}.json"
                    if path.exists():
                        continue
                    result = one(arguments, run, out / "work")
                    write_json(path, {**run, **result})
                    test = result["test"]
                    print(
                        f"{name}: F {test['forces_mae']:.1f} E {test['energy_mae']:.2f}", flush=True
                    )
    text = markdown([read_json(path) for path in sorted((out / "runs").glob("*.json"))])
    write_text(out / "warm_start.md", text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
