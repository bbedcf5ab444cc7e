"""Numbers of the real mace-torch that tests of training compare with.

    PEER/bin/python tests/train/goldens/make_training_goldens.py

PEER is a venv with mace-torch 0.3.16; this script imports nothing of this project. It writes
``training.json`` beside itself: the inputs, and what mace-torch's losses, statistics, average E0s,
moving average and learning-rate schedules make of them; and a whole ``mace_run_train`` of a tiny
model, from its first weights through stage two. All frames make one batch there, so that the order
of the frames does not matter.
"""

import json
import tempfile
from argparse import Namespace
from pathlib import Path

import ase.io
import mace
import numpy as np
import torch
from ase import Atoms
from mace import data, modules, tools
from mace.cli import run_train
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.scripts_utils import LRScheduler, get_loss_fn, get_swa
from torch_ema import ExponentialMovingAverage

torch.set_default_dtype(torch.float64)
R_MAX = 3.0
E0S = {1: -1.25, 8: -7.5}
LOSSES = ("weighted", "stress", "forces_only", "huber", "universal", "l1l2energyforces")


def frames() -> list[Atoms]:
    """Labelled frames with weights: forces small and above 100, 200, 300 eV/Å; a lone atom."""
    rng = np.random.default_rng(7)
    out = []
    for n, force in ((3, 1.0), (5, 150.0), (1, 250.0), (4, 0.5), (2, 900.0)):
        numbers = rng.choice([1, 8], n)
        atoms = Atoms(numbers, rng.uniform(0, 4, (n, 3)), cell=np.eye(3) * 9 + 0.3, pbc=True)
        atoms.info["REF_energy"] = float(sum(E0S[z] for z in numbers) + rng.normal())
        atoms.arrays["REF_forces"] = rng.normal(0, force, (n, 3))
        atoms.info["REF_stress"] = rng.normal(0, 0.1, 6)
        out.append(atoms)
    return out


def weighted(all_frames: list[Atoms]) -> list[Atoms]:
    """The same with weights of frames and of properties, one label of each kind missing."""
    out = [atoms.copy() for atoms in all_frames]
    out[0].info.update(config_weight=2.5, config_energy_weight=0.5)
    out[1].info.update(config_forces_weight=0.25, config_stress_weight=3.0)
    out[3].info.update(config_weight=0.0)
    del out[1].info["REF_energy"]
    del out[2].info["REF_stress"]
    del out[4].arrays["REF_forces"]
    return out


def kinds() -> dict[str, list[Atoms]]:
    """Without weights, with all of them, and with those of properties alone."""
    properties = weighted(frames())
    for atoms in properties:
        atoms.info.pop("config_weight", None)
    return {"plain": frames(), "weighted": weighted(frames()), "properties": properties}


def loader(all_frames: list[Atoms], batch_size: int):
    """mace-torch's data loader over frames, in order."""
    keys = data.KeySpecification.from_defaults()
    table = AtomicNumberTable(sorted(E0S))
    return torch_geometric.dataloader.DataLoader(
        [
            data.AtomicData.from_config(
                data.config_from_atoms(atoms, key_specification=keys), z_table=table, cutoff=R_MAX
            )
            for atoms in all_frames
        ],
        batch_size=batch_size,
        shuffle=False,
        drop_last=False,
    )


def predictions(all_frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Numbers that stand for a model's: labels of the full frames with errors of several sizes."""
    rng = np.random.default_rng(8)
    energy = np.array([atoms.info["REF_energy"] for atoms in all_frames])
    forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in all_frames])
    stress = rng.normal(0, 0.1, (len(all_frames), 3, 3))
    return {
        "energy": energy + rng.normal(0, 0.05, len(energy)),
        "forces": forces + rng.normal(0, 0.02, forces.shape),
        "stress": stress + stress.swapaxes(1, 2),
    }


def losses() -> dict[str, dict[str, float]]:
    """Each loss on frames without weights, with them, and with those of properties alone."""
    out: dict[str, dict[str, float]] = {}
    predicted = {key: torch.tensor(value) for key, value in predictions(frames()).items()}
    for kind, these in kinds().items():
        reference = next(iter(loader(these, len(these))))
        settings = Namespace(
            energy_weight=3.0, forces_weight=50.0, stress_weight=7.0, huber_delta=0.02
        )
        out[kind] = {}
        for settings.loss in LOSSES:
            value = get_loss_fn(settings, False, False)(ref=reference, pred=predicted)
            out[kind][settings.loss] = value.item()
    return out


def statistics() -> dict[str, float]:
    """Of frames in two batches."""
    batches, E0 = loader(frames(), 3), np.array([[E0S[z] for z in sorted(E0S)]])
    mean, rms = modules.compute_mean_rms_energy_forces(batches, E0)
    mean_again, std = modules.compute_mean_std_atomic_inter_energy(batches, E0)
    assert np.allclose(mean, mean_again)
    return {
        "mean": float(mean.item()),
        "rms": float(rms.item()),
        "std": float(std.item()),
        "avg_num_neighbors": modules.compute_avg_num_neighbors(batches),
    }


def average_E0s() -> list[float]:
    keys = data.KeySpecification.from_defaults()
    table = AtomicNumberTable(sorted(E0S))
    configs = [data.config_from_atoms(atoms, key_specification=keys) for atoms in frames()]
    return [float(E0) for E0 in data.compute_average_E0s(configs, table).values()]


def moving_average() -> list[float]:
    """A parameter that is k² at step k, averaged with decay 0.7."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    ema, out = ExponentialMovingAverage([parameter], decay=0.7), []
    for k in range(1, 31):
        parameter.data.fill_(k * k)
        ema.update()
        out.append(ema.shadow_params[0].item())
    return out


def learning_rates() -> dict[str, list[float]]:
    """By epoch: as mace-torch's train() steps its schedules, stage two from epoch 14 of 20 on.

    The held-out loss falls for six epochs and stays from then on.
    """
    out = {}
    for name in ("ReduceLROnPlateau", "ExponentialLR"):
        for stage_two in (False, True):
            model = torch.nn.Linear(1, 1)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            settings = Namespace(
                scheduler=name,
                optimizer="adam",
                lr_factor=0.5,
                scheduler_patience=2,
                lr_scheduler_gamma=0.9,
                swa_lr=1e-3,
                start_swa=14,
                max_num_epochs=20,
                loss="weighted",
                swa_energy_weight=1000.0,
                swa_forces_weight=100.0,
            )
            schedule = LRScheduler(optimizer, settings)
            swa = get_swa(settings, model, optimizer, [False])[0] if stage_two else None
            rates, valid_loss = [], np.inf
            for epoch in range(20):
                if swa is None or epoch < swa.start:
                    if epoch > 0:
                        schedule.step(metrics=valid_loss)
                elif epoch > 0:
                    swa.scheduler.step()
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                valid_loss = float(max(10 - epoch, 4))
            out[name + (", stage two" if stage_two else "")] = rates
    return out


def whole_training() -> dict:
    """mace_run_train: first weights, held-out errors by epoch, best weights of each stage."""
    rng = np.random.default_rng(9)
    sets = {"train": [], "valid": []}
    for index in range(6):
        atoms = Atoms("OHHO", rng.uniform(0, 2.5, (4, 3)))
        atoms.info["REF_energy"] = float(2 * E0S[1] + 2 * E0S[8] + rng.normal(0, 2))
        atoms.arrays["REF_forces"] = rng.normal(0, 3, (4, 3))
        sets["train" if index < 4 else "valid"].append(atoms)
    flags = {
        "model": "ScaleShiftMACE",
        "r_max": R_MAX,
        "num_radial_basis": 3,
        "num_channels": 2,
        "max_L": 1,
        "max_ell": 1,
        "correlation": 2,
        "radial_MLP": [4],
        "MLP_irreps": "2x0e",
        "energy_weight": 2.0,
        "forces_weight": 30.0,
        "batch_size": 4,
        "valid_batch_size": 2,
        "lr": 0.02,
        "weight_decay": 0.1,
        "clip_grad": 3.0,
        "ema_decay": 0.9,
        "scheduler_patience": 1,
        "lr_factor": 0.5,
        "max_num_epochs": 16,
        "start_stage_two": 10,
        "stage_two_lr": 0.005,
        "stage_two_energy_weight": 50.0,
        "stage_two_forces_weight": 20.0,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, these in sets.items():
            ase.io.write(f"{folder}/{name}.xyz", these, format="extxyz")
        # What the files hold, not what was drawn: extxyz rounds.
        sets = {name: ase.io.read(f"{folder}/{name}.xyz", ":") for name in sets}
        words = [f"--{key}={value}" for key, value in flags.items()]
        words += ["--name=tiny", f"--E0s={E0S}", "--seed=3", f"--work_dir={folder}", "--ema"]
        words += ["--plot=False", "--energy_key=REF_energy", "--forces_key=REF_forces"]
        words += [f"--train_file={folder}/train.xyz", f"--valid_file={folder}/valid.xyz"]
        weights = {}
        train = tools.train

        def remember_and_train(model, **others):
            weights["first"] = arrays(model)
            train(model=model, **others)

        tools.train = remember_and_train
        run_train.run(tools.build_default_arg_parser().parse_args(words))
        lines = Path(f"{folder}/results/tiny_run-3_train.txt").read_text().splitlines()
        for stage, name in (("stage one", "tiny"), ("stage two", "tiny_stagetwo")):
            weights[stage] = arrays(torch.load(f"{folder}/{name}.model", weights_only=False))
    rows = [json.loads(line) for line in lines]
    return {
        "flags": flags,
        "frames": {name: as_json(these) for name, these in sets.items()},
        "weights": weights,
        "valid": [
            {key: row[key] for key in ("epoch", "mae_e_per_atom", "mae_f")}
            for row in rows
            if row["mode"] == "eval"
        ],
    }


def arrays(model: torch.nn.Module) -> dict[str, list]:
    """Parameters, and the constants of the energy."""
    kept = dict(model.named_parameters())
    kept |= {k: v for k, v in model.named_buffers() if k.startswith(("scale_shift", "atomic_en"))}
    kept["avg_num_neighbors"] = torch.tensor(model.interactions[0].avg_num_neighbors)
    return {key: value.tolist() for key, value in kept.items() if value.numel()}


def as_json(all_frames: list[Atoms]) -> list[dict]:
    return [
        {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell[:].tolist(),
            "info": {
                key: value.tolist() if isinstance(value, np.ndarray) else value
                for key, value in atoms.info.items()
            },
            "forces": atoms.arrays["REF_forces"].tolist() if "REF_forces" in atoms.arrays else None,
        }
        for atoms in all_frames
    ]


def main() -> None:
    goldens = {
        "mace-torch": mace.__version__,
        "r_max": R_MAX,
        "E0s": E0S,
        "frames": {kind: as_json(these) for kind, these in kinds().items()},
        "predictions": {key: value.tolist() for key, value in predictions(frames()).items()},
        "losses": losses(),
        "statistics": statistics(),
        "average_E0s": average_E0s(),
        "moving_average": moving_average(),
        "learning_rates": learning_rates(),
        "whole_training": whole_training(),
    }
    path = Path(__file__).with_name("training.json")
    path.write_text(json.dumps(goldens) + "\n")


if __name__ == "__main__":
    main()
