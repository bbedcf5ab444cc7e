"""Errors of models on published data, as they are published, and the table of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from published import errors, split, unseen_frames_of_3bpa
from training_parity import predict

from mace_core.model.files import load_model
from mace_core.model.merge import merged
from mace_core.model.model import MACE
from mace_core.storage import read_json

#: Frames trained on and held out.
SIZES = {
    "ethanol": (950, 50),
    "malonaldehyde": (950, 50),
    "uracil": (950, 50),
    "aspirin": (950, 50),
    "3bpa": (450, 50),
}
#: arXiv 2206.07697: energy (meV) / forces (meV/Å); rMD17 MAE, 3BPA (L = 2) RMSE at 300 and 600 K,
#: on test frames of its own. MACE there has 256 channels.
PAPER = {
    "aspirin": "2.2 / 6.6",
    "ethanol": "0.4 / 2.1",
    "malonaldehyde": "0.8 / 4.1",
    "uracil": "0.5 / 2.1",
    "3bpa": "3.0 · 9.7 / 8.8 · 21.8",
}


def predictions(
    data: Path, run: dict, model: MACE
) -> tuple[list[Atoms], np.ndarray, list[np.ndarray]]:
    """Frames that the model never saw, and its energies and forces there."""
    if run["set"] == "3bpa":
        frames = unseen_frames_of_3bpa(data)
    else:
        n_train, n_valid = SIZES[run["set"]]
        frames = split(data, run["set"], n_train, n_valid, 1000, run["seed"]).test
    return frames, *predict(model, frames)


def score(frames: list[Atoms], energies: np.ndarray, forces: list[np.ndarray]) -> dict:
    """Errors, those of total energies with them; at each temperature too where frames have one."""
    found = errors(frames, energies, forces)
    residual = energies - np.array([atoms.info["REF_energy"] for atoms in frames])
    found["total_energy_mae"] = 1e3 * float(np.abs(residual).mean())
    found["total_energy_rmse"] = 1e3 * float(np.sqrt((residual**2).mean()))
    found["n_test"] = len(frames)
    at = np.array([atoms.info.get("temperature", 0) for atoms in frames])
    temperatures = np.unique(at).tolist()
    if len(temperatures) > 1:
        parts = {T: np.flatnonzero(at == T) for T in temperatures}
        found["at"] = {
            str(T): score([frames[i] for i in part], energies[part], [forces[i] for i in part])
            for T, part in parts.items()
        }
    return found


def energy_and_force(name: str, found: dict, digits: tuple[int, int] = (2, 1)) -> list[str]:
    """The errors that are published of a data set, in meV and meV/Å."""
    kind = "rmse" if name == "3bpa" else "mae"
    parts = list(found["at"].values()) if "at" in found else [found]
    return [
        " · ".join(f"{part[f'{quantity}_{kind}']:.{n}f}" for part in parts)
        for quantity, n in zip(("total_energy", "forces"), digits, strict=True)
    ]


def scores_of_kept(data: Path, kept: Path) -> Iterator[str]:
    """The table of models that were kept; the errors of the mean of all of one set; and of models
    that are one architecture's, merged."""
    folders = [path.parent for path in sorted(kept.glob("*/row.json"))]
    rows = [read_json(folder / "row.json") for folder in folders]
    found = [predictions(data, r, load_model(f)) for r, f in zip(rows, folders, strict=True)]
    yield markdown([r | score(*p) for r, p in zip(rows, found, strict=True)], [])
    # A seed has training frames of its own, and test frames.
    for key, alike in groups(rows, ("set", "seed")):
        frames = found[alike[0]][0]
        energies = np.mean([found[i][1] for i in alike], axis=0)
        of_frames = zip(*(found[i][2] for i in alike), strict=True)
        mean = score(frames, energies, [np.mean(of_frame, axis=0) for of_frame in of_frames])
        yield f"{key[0]}, mean of {len(alike)}: {in_words(key[0], mean)}"
    for (name, model, _), alike in groups(rows, ("set", "model", "seed")):
        if len(alike) > 1:
            whole = merged([load_model(folders[i]) for i in alike])
            channels = whole.architecture.num_channels
            found_of_it = score(*predictions(data, rows[alike[0]], whole))
            yield (
                f"{name}, {len(alike)} of {model} merged into one of {channels} channels: "
                f"{in_words(name, found_of_it)}"
            )


def groups(rows: list[dict], keys: tuple[str, ...]) -> Iterator[tuple[tuple, list[int]]]:
    """Which rows agree in these keys, but for models that are several already."""
    of = {i: tuple(row[key] for key in keys) for i, row in enumerate(rows) if "together" not in row}
    for value in sorted({*of.values()}):
        yield value, [i for i, other in of.items() if other == value]


def in_words(name: str, found: dict) -> str:
    E, F = energy_and_force(name, found, (2, 2))
    return f"E {E} meV, F {F} meV/Å"


def markdown(rows: list[dict], waiting: list[str]) -> str:
    """The table, and what is not in it yet."""
    lines = [
        "| data | model | parameters | optimiser | batch | epochs | seed | E (meV) | F (meV/Å) "
        "| paper, 256 channels | held-out F: half way → end | hours, 1 core |",
        "|---" * 12 + "|",
    ]
    for r in rows:
        E, F = energy_and_force(r["set"], r)
        kind = "RMSE at 300 · 600 · 1200 K" if r["set"] == "3bpa" else "MAE"
        lines.append(
            f"| {r['set']} ({kind}) | {r['model']} | {r['n_parameters']:,} "
            f"| {r['optimizer']}{', squares' * ('loss' in r)} | {r['batch_size']} "
            f"| {' + '.join(map(str, r['all_epochs']))} "
            f"| {r['seed']}{', member ' * ('member' in r)}{r.get('member', '')}"
            f"{', merged ' * ('together' in r)}{r.get('together', '')} "
            f"| {E} | {F} | {PAPER[r['set']]} | {r['valid_half_way']:.1f} → {r['valid_end']:.1f} "
            f"| {r['hours']:.2f} |"
        )
    if waiting:
        lines += ["", "Not complete: " + "; ".join(waiting) + "."]
    return "\n".join(lines) + "\n"
