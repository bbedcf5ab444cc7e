"""mace-torch's side, as its users run it. Runs in the peer's environment."""

import argparse
import functools
import logging
import warnings

import torch
from ase.io import read
from mace import data, modules, tools
from mace.calculators import MACECalculator
from mace.tools import torch_geometric
from mace.tools.scripts_utils import get_optimizer, get_params_options
from mace.tools.train import take_step
from moves import Moves
from torch_ema import ExponentialMovingAverage

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
torch.set_num_threads(1)


def save_again(path: str, out: str) -> dict:
    """Load a model file and save it as mace-torch would."""
    torch.save(torch.load(path, map_location="cpu", weights_only=False), out)
    return {}


class MD:
    """Steps of MD with the ASE calculator; of a committee with mean and spread of the forces."""

    def __init__(self, models: list[str], frames: str, dtype: str):
        self.atoms = read(frames)
        self.atoms.calc = MACECalculator(model_paths=models, device="cpu", default_dtype=dtype)
        self.moves = Moves(self.atoms)
        self.several = len(models) > 1

    def step(self) -> None:
        self.moves.move(self.atoms)
        self.atoms.get_potential_energy()
        self.atoms.get_forces()
        if self.several:
            self.spread = self._spread()

    def _spread(self):
        F = self.atoms.calc.results["forces_comm"]
        return (((F - F.mean(axis=0)) ** 2).sum(axis=(0, 2)) / (len(F) - 1)) ** 0.5

    def check(self) -> dict:
        found = {
            "energy": float(self.atoms.get_potential_energy()),
            "forces": self.atoms.get_forces().ravel().tolist(),
        }
        if self.several:
            found["spread"] = self._spread().tolist()
        return found


class Training:
    """mace_run_train's own step, loss, optimiser and average; its batches in order."""

    def __init__(self, models: list[str], frames: str, dtype: str, batch_size: int):
        tools.set_default_dtype(dtype)
        self.model = torch.load(models[0], map_location="cpu", weights_only=False)
        self.model.to(getattr(torch, dtype))
        keys = data.KeySpecification(
            info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"}
        )
        elements = tools.AtomicNumberTable([int(z) for z in self.model.atomic_numbers])
        configurations = [
            data.config_from_atoms(atoms, key_specification=keys) for atoms in read(frames, ":")
        ]
        graphs = [
            data.AtomicData.from_config(c, z_table=elements, cutoff=float(self.model.r_max))
            for c in configurations
        ]
        self.loader = torch_geometric.dataloader.DataLoader(
            graphs, batch_size=batch_size, shuffle=False, drop_last=True
        )
        self.batches = iter(())
        options = argparse.Namespace(
            lr=0.01,
            weight_decay=5e-7,
            amsgrad=True,
            beta=0.9,
            optimizer="adam",
            freeze=None,
            lr_params_factors="{}",
        )
        optimizer = get_optimizer(options, get_params_options(options, self.model))
        self.take_step = functools.partial(
            take_step,
            model=self.model,
            loss_fn=modules.WeightedEnergyForcesLoss(energy_weight=1.0, forces_weight=100.0),
            optimizer=optimizer,
            ema=ExponentialMovingAverage(self.model.parameters(), decay=0.99),
            output_args={"energy": True, "forces": True, "virials": False, "stress": False},
            max_grad_norm=10.0,
            device=torch.device("cpu"),
        )

    def step(self) -> None:
        batch = next(self.batches, None)
        if batch is None:  # the next epoch
            self.batches = iter(self.loader)
            batch = next(self.batches)
        self.last, _ = self.take_step(batch=batch)

    def check(self) -> dict:
        """The losses of the first steps."""
        losses = []
        for _ in range(4):
            self.step()
            losses.append(float(self.last.detach()))
        return {"losses": losses}
