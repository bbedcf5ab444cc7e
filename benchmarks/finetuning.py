"""Fine-tuning on few frames: which optimiser, what it brings, what the model forgets.

    OMP_NUM_THREADS=1 python benchmarks/finetuning.py --data DATA
    OMP_NUM_THREADS=1 python benchmarks/finetuning.py --data DATA --level GFN2-xTB

DATA holds the folder ``rmd17`` (see ``published.py``). The base model knows three molecules of
rMD17, 200 frames each, by their own labels (PBE) or by GFN2-xTB, and is fine-tuned to PBE labels of
the fourth. The errors are those of 200 other frames of the fourth, and, with a base of PBE, of 100
frames of each of the others that has no further element. Each run leaves one JSON in ``--out``, and
what is there is not run again.
"""

import argparse
import statistics
import time
from itertools import product
from pathlib import Path

import torch
import yaml
from ase import Atoms
from energy_constants import FREE_ATOMS, MOLECULES
from published import errors, split
from training_parity import predict

from mace_core.frames import write_frames
from mace_core.model.files import load_model
from mace_core.storage import read_json, write_json, write_text
from mace_core.train.member import train_member

N_BASE, N_TEST = 200, 200
#: Frames, held-out ones included → epochs.
SIZES = {20: 200, 50: 100, 200: 50}
#: Frames a batch of the base's training, and its learning rate, as with a thousand frames.
BASE = {"batch_size": 5, "lr": 0.02, "max_num_epochs": 100}
ADAM = {"optimizer": "adam"}
FROZEN = {"freeze": ["embedding", "interactions"]}
REPLAY = {"pt_train_file": "replay.xyz", "num_samples_pt": 50}

#: ``train`` section beside the defaults; None: no base model.
VARIANTS = {
    "from scratch": None,
    "Muon 0.06": {"lr": 0.06},
    "Muon 0.02": {"lr": 0.02},
    "Muon 0.01": {"lr": 0.01},
    "Muon 0.006": {"lr": 0.006},
    "Muon 0.002": {"lr": 0.002},
    "Adam 0.03": {**ADAM, "lr": 0.03},
    "Adam 0.01": {**ADAM, "lr": 0.01},
    "Adam 0.003": {**ADAM, "lr": 0.003},
    "Adam 0.001": {**ADAM, "lr": 0.001},
    "Muon 0.02, embedding and interactions frozen": {"lr": 0.02, **FROZEN},
    "Muon 0.02, replay": {"lr": 0.02, **REPLAY},
}


def by_xtb(frames: list[Atoms]) -> list[Atoms]:
    """Copies with labels of GFN2-xTB."""
    from tblite.ase import TBLite

    calculator = TBLite(method="GFN2-xTB", verbosity=0)
    labelled = [atoms.copy() for atoms in frames]
    for atoms in labelled:
        atoms.info["REF_energy"] = calculator.get_potential_energy(atoms)
        atoms.arrays["REF_forces"] = calculator.get_forces(atoms)
    return labelled


def trained(folder: Path, parts: dict[str, list[Atoms]], E0s, train: dict, seed: int) -> Path:
    """The folder of a model, trained unless it is there."""
    if (folder / "metrics.json").exists():
        return folder
    for part, frames in parts.items():
        write_frames(folder / f"{part}.xyz", frames)
    train = {**train, "default_dtype": "float32"}
    if "pt_train_file" in train:
        train["pt_train_file"] = str(folder / train["pt_train_file"])
    settings = {
        "campaign": {"name": "finetuning"},
        "labeller": {"engine": "emt"},  # labels nothing here
        "data": {"labelled": [str(folder / "train.xyz")], "E0s": E0s},
        "train": train,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    files = (folder / "train.xyz", folder / "config.yaml", folder)
    train_member(*files, valid_file=folder / "valid.xyz", seed=seed)
    return folder


def base_of(arguments: argparse.Namespace, name: str, out: Path) -> tuple[Path, list[Atoms]]:
    """The base model of all molecules but one, and frames that it was trained on."""
    parts = [split(arguments.data, other, N_BASE, 20, 0) for other in MOLECULES if other != name]
    train, valid = ([a for p in parts for a in getattr(p, kind)] for kind in ("train", "valid"))
    folder = out / "work" / f"base_{name}_{arguments.level}"
    if arguments.level == "PBE":
        return trained(folder, {"train": train, "valid": valid}, FREE_ATOMS, BASE, 0), train
    E0s = "average"  # of its own level: there are no free atoms by tight binding
    if not (folder / "metrics.json").exists():
        trained(folder, {"train": by_xtb(train), "valid": by_xtb(valid)}, E0s, BASE, 0)
    return folder, train


def one(arguments: argparse.Namespace, run: dict, out: Path, folder: Path) -> dict:
    """Train once and score."""
    n_valid = max(2, run["n"] // 10)
    data = split(arguments.data, run["set"], run["n"] - n_valid, n_valid, N_TEST, run["seed"])
    base, known = base_of(arguments, run["set"], out)
    parts = {"train": data.train, "valid": data.valid}
    train = {"max_num_epochs": SIZES[run["n"]]}
    variant = VARIANTS[run["variant"]]
    if variant is not None:
        of_base = "foundation" if arguments.level == "PBE" else "estimated"
        train |= {"foundation_model": str(base), "foundation_E0s": of_base, **variant}
    if "pt_train_file" in train:
        parts["replay"] = known
    start = time.process_time()
    trained(folder, parts, FREE_ATOMS, train, run["seed"])
    seconds = time.process_time() - start
    before, after = load_model(base), load_model(folder)
    result = {"cpu_seconds": seconds, "test": errors(data.test, *predict(after, data.test))}
    if arguments.level == "PBE" and variant is not None:
        for other in MOLECULES:
            frames = split(arguments.data, other, 0, 0, 100).test
            # Without replay a fine-tuned model keeps the elements of its data only.
            if other != run["set"] and {*frames[0].symbols} <= {*data.train[0].symbols}:
                found = [errors(frames, *predict(m, frames))["forces_mae"] for m in (before, after)]
                result.setdefault("forgotten", {})[other] = found
    return result


def markdown(results: list[dict]) -> str:
    """Means over seeds: errors of the new molecule by its number of frames; those of the old."""
    sizes = sorted({r["n"] for r in results})
    heads = [f"{n} frames: F, E" for n in sizes]
    lines = [f"| | {' | '.join(heads)} | other molecules: F before → after |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for variant in VARIANTS:
        rows = [r for r in results if r["variant"] == variant]
        cells = []
        for n in sizes:
            tests = [r["test"] for r in rows if r["n"] == n]
            mean = (statistics.mean(t[k] for t in tests) for k in ("forces_mae", "energy_mae"))
            cells.append("{:.1f}, {:.2f}".format(*mean) + f" ({len(tests)})" if tests else "")
        old = [pair for r in rows for pair in r.get("forgotten", {}).values()]
        cells.append(" → ".join(f"{statistics.mean(v):.1f}" for v in zip(*old, strict=True)))
        if rows:
            lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "finetuning")
    parser.add_argument("--level", default="PBE", choices=["PBE", "GFN2-xTB"], help="of the base")
    parser.add_argument("--sets", nargs="+", default=["aspirin"], choices=MOLECULES)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out.absolute()
    seeds = range(1, arguments.seeds + 1)
    for seed, name, n, variant in product(
        seeds, arguments.sets, arguments.sizes, arguments.variants
    ):
        run = {"level": arguments.level, "set": name, "n": n, "seed": seed, "variant": variant}
        key = "_".join(str(value) for value in run.values()).replace(", ", "-").replace(" ", "_")
        path = out / "runs" / f"{key}.json"
        if not path.exists():
            write_json(path, run | one(arguments, run, out, out / "work" / key))
            test = read_json(path)["test"]
            print(f"{key}: F {test['forces_mae']:.1f} E {test['energy_mae']:.2f}", flush=True)
    done = [read_json(path) for path in sorted((out / "runs").glob("*.json"))]
    for name in arguments.sets:
        rows = [r for r in done if (r["set"], r["level"]) == (name, arguments.level)]
        text = markdown(rows)
        write_text(out / f"{name}_{arguments.level}.md", text)
        print(f"{name}, base by {arguments.level}; meV/Å and meV/atom (runs)\n\n{text}")


if __name__ == "__main__":
    main()
