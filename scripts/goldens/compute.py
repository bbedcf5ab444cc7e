"""What the real mace-torch says: models, frames, and its numbers for them.

Runs in a venv of its own that has mace-torch (see make.sh), knows nothing of maceloop, and writes
for each case NAME.model (the module) and NAME.npz (frames and numbers) into the folder given.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc100
from ase.io import read

# isort: split
from mace import modules  # before e3nn, which mace-torch patches
from mace.calculators import MACECalculator

# isort: split
from e3nn import o3

R_MAX = 4.0
SETTINGS = {
    "r_max": R_MAX,
    "num_bessel": 6,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "interaction_cls_first": "RealAgnosticResidualInteractionBlock",
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "num_interactions": 2,
    "hidden_irreps": "4x0e+4x1o",
    "MLP_irreps": "6x0e",
    "correlation": 3,
    "radial_MLP": [8, 8],
    "avg_num_neighbors": 2.3,
}
DENSITY = {
    "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
    "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
}
L0, L2 = "4x0e", "4x0e+4x1o+4x2e"
CHON = [1, 6, 7, 8]

#: What differs from SETTINGS; "class", "elements", "dtype" say the rest.
CASES = {
    "default": {},
    "max_ell_3": {"max_ell": 3},
    "max_ell_1": {"max_ell": 1, "hidden_irreps": L0},
    "one_layer": {"num_interactions": 1},
    "three_layers": {"num_interactions": 3},
    "max_L_0": {"hidden_irreps": L0},
    "max_L_2": {"hidden_irreps": L2},
    "max_L_2_max_ell_3": {"hidden_irreps": L2, "max_ell": 3, "elements": [6, 8]},
    "correlation_1": {"correlation": 1},
    "correlation_2": {"correlation": 2, "max_ell": 3},
    "agnostic_first": {"interaction_cls_first": "RealAgnosticInteractionBlock"},
    "agnostic_both": {
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "interaction_cls": "RealAgnosticInteractionBlock",
        "hidden_irreps": L2,
    },
    "density": DENSITY,
    "density_other": {
        "interaction_cls_first": "RealAgnosticDensityResidualInteractionBlock",
        "interaction_cls": "RealAgnosticDensityInteractionBlock",
    },
    "gaussian": {"radial_type": "gaussian"},
    "chebyshev": {"radial_type": "chebyshev", "distance_transform": "Agnesi"},
    "agnesi": {"distance_transform": "Agnesi", "avg_num_neighbors": 30.7},
    "soft": {"distance_transform": "Soft"},
    "zbl": {"pair_repulsion": True},
    "mace_class": {"class": "MACE", "interaction_cls_first": "RealAgnosticInteractionBlock"},
    "mace_class_zbl": {"class": "MACE", "pair_repulsion": True},
    "two_heads": {"heads": ["pbe", "Default"]},
    "foundation": {
        **DENSITY,
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
        "elements": list(range(1, 90)),
        "heads": ["Default", "replay"],
        "hidden_irreps": "2x0e+2x1o",
        "dtype": "float32",
    },
    "foundation_of_few": {
        **DENSITY,
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
        "elements": [1, 6, 8],
        "max_ell": 1,
        "hidden_irreps": "2x0e+2x1o",
        "dtype": "float32",
    },
    "elements_89": {"elements": list(range(1, 90)), "hidden_irreps": "2x0e+2x1o"},
    "float32": {"dtype": "float32"},
}


def frames(elements: list[int], seed: int) -> list[Atoms]:
    """One of each kind that a neighbour list can get wrong; elements drawn from the model's."""
    rng = np.random.default_rng(seed)

    def draw(n: int) -> list[int]:
        return rng.choice(elements, n).tolist()

    molecule = read(Path(__file__).parents[2] / "tests/goldens/ethanol.xyz", index="0")
    molecule.numbers = draw(len(molecule))
    molecule.calc, molecule.info = None, {}
    crystal = bulk("Si", cubic=True)
    crystal.numbers = draw(8)
    crystal.cell += rng.normal(0, 0.15, (3, 3))
    crystal.positions += rng.normal(0, 0.1, (8, 3))
    slab = fcc100("Al", (1, 1, 3), vacuum=5.0)
    slab.numbers, slab.pbc = draw(3), [True, True, False]
    slab.rattle(0.05, seed=seed)
    small = Atoms(draw(2), [[0, 0, 0], [1.2, 1.1, 1.4]], cell=np.eye(3) * 2.3 + 0.1, pbc=True)
    pair = [[0, 0, 0], [0, 0, R_MAX * (1 - 1e-4)]]
    return [
        molecule,
        crystal,
        slab,
        small,
        Atoms(draw(1), [[0.3, 0.2, 0.1]]),
        Atoms(draw(2), pair),
        Atoms(draw(2), [[0, 0, 0], [0, 0, R_MAX]]),
        Atoms(draw(2), [[0, 0, 0], [0.3, 0.2, 0.7]]),
    ]


def build(name: str, case: dict) -> torch.nn.Module:
    """A model with weights from a seed, constants that are not round numbers."""
    settings = {**SETTINGS, **case}
    elements = settings.pop("elements", CHON)
    dtype = getattr(torch, settings.pop("dtype", "float64"))
    kind = settings.pop("class", "ScaleShiftMACE")
    n_heads = len(settings.get("heads", ["Default"]))
    seed = sum(name.encode())
    rng = np.random.default_rng(seed)
    for key in ("interaction_cls", "interaction_cls_first"):
        settings[key] = modules.interaction_classes[settings[key]]
    for key in ("hidden_irreps", "MLP_irreps"):
        settings[key] = o3.Irreps(settings[key])
    if kind == "ScaleShiftMACE":
        settings["atomic_inter_scale"] = rng.uniform(0.5, 2, n_heads).tolist()
        settings["atomic_inter_shift"] = rng.normal(0, 1, n_heads).tolist()
    torch.set_default_dtype(dtype)
    torch.manual_seed(seed)
    return getattr(modules, kind)(
        **settings,
        num_elements=len(elements),
        atomic_numbers=elements,
        atomic_energies=rng.normal(-500, 300, (n_heads, len(elements))),
        gate=torch.nn.functional.silu,
        use_reduced_cg=False,
    )


def evaluate(model: torch.nn.Module, atoms_list: list[Atoms]) -> dict[str, np.ndarray]:
    """Arrays by name, those of a frame and head prefixed FRAME.HEAD."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    found = {}
    for k, atoms in enumerate(atoms_list):
        found[f"{k}.numbers"] = atoms.numbers
        found[f"{k}.positions"] = atoms.positions
        found[f"{k}.cell"] = atoms.cell.array
        found[f"{k}.pbc"] = atoms.pbc
        for h, head in enumerate(getattr(model, "heads", ["Default"])):
            calculator = MACECalculator(models=[model], default_dtype=dtype, head=head)
            batch = calculator._atoms_to_batch(atoms)
            out = model(batch.to_dict(), compute_stress=True)
            for key in ("energy", "node_energy", "forces", "stress", "node_feats"):
                found[f"{k}.{h}.{key}"] = out[key].detach().numpy()
    return found


def trained(folder: Path) -> torch.nn.Module:
    """A model that the real mace_run_train made, by its default blocks."""
    data = Path(__file__).parents[2] / "tests/goldens/ethanol.xyz"
    options = {
        "name": "trained",
        "train_file": data,
        "valid_fraction": 0.2,
        "E0s": "average",
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "r_max": R_MAX,
        "num_radial_basis": 6,
        "num_cutoff_basis": 5,
        "max_ell": 1,
        "num_channels": 4,
        "max_L": 1,
        "radial_MLP": "[8, 8]",
        "MLP_irreps": "6x0e",
        "batch_size": 4,
        "max_num_epochs": 15,
        "default_dtype": "float64",
        "device": "cpu",
        "seed": 1,
        "work_dir": folder / "run",
    }
    command = [sys.executable, "-m", "mace.cli.run_train", "--ema", "--ema_decay=0.9"]
    command += [f"--{key}={value}" for key, value in options.items()]
    with open(folder / "trained.log", "w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    found = [p for p in (folder / "run").rglob("trained.model")]
    return torch.load(found[0], map_location="cpu", weights_only=False)


def main(folder: Path, only: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or [*CASES, "trained"]:
        case = CASES.get(name, {})
        model = trained(folder) if name == "trained" else build(name, case)
        torch.save(model, folder / f"{name}.model")
        elements = [int(z) for z in model.atomic_numbers]
        atoms_list = frames(elements, sum(name.encode()))
        if name == "trained":
            atoms_list += read(Path(__file__).parents[2] / "tests/goldens/ethanol.xyz", index=":3")
        np.savez(folder / f"{name}.npz", **evaluate(model, atoms_list))
        torch.set_default_dtype(torch.float64)
        print(f"{name}: {len(atoms_list)} frames", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
