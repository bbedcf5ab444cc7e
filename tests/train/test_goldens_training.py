"""Losses, statistics, averages and schedules are mace-torch's, number by number.

The numbers in ``goldens/training.json`` are those of the real mace-torch 0.3.16, written by
``goldens/make_training_goldens.py`` in a venv of its own.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms

from mace_core.config.sections import Model, Train
from mace_core.convert.weights import links
from mace_core.model.model import MACE
from mace_core.progress import Progress
from mace_core.train.checkpoint import Checkpoint
from mace_core.train.data import Dataset
from mace_core.train.e0s import average_energies
from mace_core.train.loop import fit
from mace_core.train.loss import LOSSES, Loss, Residuals
from mace_core.train.optimizer import MovingAverage, new_optimizer
from mace_core.train.schedule import Schedule
from mace_core.train.statistics import Statistics

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "training.json").read_text())
E0S = {int(z): energy for z, energy in GOLDENS["E0s"].items()}


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def atoms_of(stored: list[dict]) -> list[Atoms]:
    frames = []
    for frame in stored:
        cell = np.array(frame["cell"])
        atoms = Atoms(frame["numbers"], frame["positions"], cell=cell, pbc=cell.any())
        atoms.info.update(frame["info"])
        if frame["forces"]:
            atoms.arrays["REF_forces"] = np.array(frame["forces"])
        frames.append(atoms)
    return frames


def dataset(kind: str) -> Dataset:
    frames = atoms_of(GOLDENS["frames"][kind])
    return Dataset(frames, sorted(E0S), GOLDENS["r_max"], torch.float64)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        *[("plain", loss) for loss in LOSSES if loss != "weighted"],
        # mace-torch leaves weights out in huber and in the forces of l1l2energyforces, so that
        # missing labels count as zeros there, and weights of frames in universal.
        *[("properties", loss) for loss in ("stress", "forces_only", "universal")],
        *[("weighted", loss) for loss in ("stress", "forces_only")],
    ],
)
def test_losses(kind, loss):
    settings = Train(
        loss=loss, energy_weight=3.0, forces_weight=50.0, stress_weight=7.0, huber_delta=0.02
    )
    data = dataset(kind)
    _, targets = data.batch(range(len(data)))
    predicted = {key: tensor(value) for key, value in GOLDENS["predictions"].items()}
    if loss == "l1l2energyforces":  # without stress there
        predicted["stress"] = None
    value = Loss(settings)(Residuals.of(SimpleNamespace(**predicted), targets), targets)
    assert value.item() == pytest.approx(GOLDENS["losses"][kind][loss], rel=1e-12)
    if loss == "stress":  # here, `weighted` is mace-torch's `weighted` where there is no stress
        predicted["stress"] = None
        residuals = Residuals.of(SimpleNamespace(**predicted), targets)
        value = Loss(settings.model_copy(update={"loss": "weighted"}))(residuals, targets)
        assert value.item() == pytest.approx(GOLDENS["losses"][kind]["weighted"], rel=1e-12)


def test_a_label_that_is_missing_pulls_at_nothing_in_any_loss():
    data = dataset("weighted")
    _, targets = data.batch(range(len(data)))
    labelled = {
        "energy": targets.total_weight("energy") != 0,
        "forces": (targets.total_weight("forces") != 0).expand(-1, 3),
        "stress": (targets.total_weight("stress") != 0).expand(-1, 3, 3),
    }
    for loss in LOSSES:
        predicted = {
            key: tensor(value).requires_grad_() for key, value in GOLDENS["predictions"].items()
        }
        residuals = Residuals.of(SimpleNamespace(**predicted), targets)
        Loss(Train(loss=loss))(residuals, targets).backward()
        for key, mask in labelled.items():
            gradient = predicted[key].grad
            if gradient is not None:
                assert torch.equal(gradient != 0, mask), (loss, key)


@pytest.mark.parametrize("loss", ["huber", "universal", "l1l2energyforces"])
def test_the_weight_of_a_frame_multiplies_its_terms_in_every_loss(loss):
    values = {}
    for kind in ("weighted", "properties"):
        data = dataset(kind)
        values[kind] = []
        predicted = {key: tensor(value) for key, value in GOLDENS["predictions"].items()}
        first = 0
        for index in range(len(data)):
            _, targets = data.batch([index])
            last = first + len(targets.forces)
            one = {
                "energy": predicted["energy"][index : index + 1],
                "forces": predicted["forces"][first:last],
                "stress": predicted["stress"][index : index + 1],
            }
            first = last
            residuals = Residuals.of(SimpleNamespace(**one), targets)
            values[kind].append(Loss(Train(loss=loss))(residuals, targets).item())
    assert values["weighted"][0] == pytest.approx(2.5 * values["properties"][0])
    assert values["weighted"][3] == 0 < values["properties"][3]
    assert values["weighted"][1] == values["properties"][1]


def test_statistics():
    golden, data = GOLDENS["statistics"], dataset("plain")
    lone = [graph.n_edges == 0 for graph in data.graphs]
    assert any(lone) and not all(lone)  # an atom without neighbours does not count
    for scaling, scale in (("rms_forces_scaling", "rms"), ("std_scaling", "std")):
        found = Statistics.of(data, E0S, scaling)
        # mace-torch adds 1e-6 to n − 1 in its standard deviation.
        precision = 1e-12 if scale == "rms" else 2e-7
        assert found.scale == pytest.approx(golden[scale], rel=precision)
        assert found.shift == pytest.approx(golden["mean"], rel=1e-12)
        assert found.avg_num_neighbors == pytest.approx(golden["avg_num_neighbors"], rel=1e-12)
    assert Statistics.of(data, E0S, "no_scaling") == Statistics(found.avg_num_neighbors, 1.0, 0.0)


def test_average_E0s():
    assert list(average_energies(dataset("plain").frames).values()) == pytest.approx(
        GOLDENS["average_E0s"], rel=1e-10
    )


def test_moving_average():
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.fill_(0.0)
        average, seen = MovingAverage(model, 0.7), []
        for k in range(1, 31):
            model.weight.fill_(k * k)
            average.update()
            seen.append(average.module.weight.item())
    assert seen == pytest.approx(GOLDENS["moving_average"], rel=1e-12)


@pytest.mark.parametrize("kind", GOLDENS["learning_rates"])
def test_learning_rates(kind):
    settings = Train(
        lr=0.01,
        scheduler=kind.split(",")[0],
        lr_factor=0.5,
        scheduler_patience=2,
        lr_scheduler_gamma=0.9,
        max_num_epochs=20,
        start_stage_two=14 if "stage two" in kind else None,
    )
    model = torch.nn.Linear(1, 1)
    optimizer = new_optimizer(model, settings)
    schedule, rates = Schedule(optimizer, settings, 1), []
    for epoch in range(20):
        if epoch == settings.stage_two_epoch:
            schedule.begin_stage_two()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.after_step()
        schedule.after_epoch()
        schedule.after_evaluation(float(max(10 - epoch, 4)))
    assert rates == pytest.approx(GOLDENS["learning_rates"][kind], rel=1e-12)


def test_a_whole_training(tmp_path):
    """From mace-torch's first weights to its last ones, stage two included, epoch by epoch."""
    golden = GOLDENS["whole_training"]
    flags = golden["flags"]
    architecture = {key: flags[key] for key in flags if key in Model.model_fields}
    sections = {key: flags[key] for key in flags if key in Train.model_fields}
    first = {key: tensor(value) for key, value in golden["weights"]["first"].items()}
    train, valid = (
        Dataset(atoms_of(golden["frames"][part]), sorted(E0S), flags["r_max"], torch.float64)
        for part in ("train", "valid")
    )
    statistics = Statistics.of(train, E0S)
    assert statistics.avg_num_neighbors == pytest.approx(first["avg_num_neighbors"].item())
    assert statistics.scale == pytest.approx(first["scale_shift.scale"].item())
    assert statistics.shift == pytest.approx(first["scale_shift.shift"].item())
    model = MACE(Model(**architecture), sorted(E0S), E0S, first["avg_num_neighbors"].item(), seed=0)
    state = model.state_dict()
    for link in links(model):
        state[link.ours] = link.to_ours(first[link.theirs], state[link.ours].shape)
    model.load_state_dict(state)

    settings = Train(
        **sections,
        loss="weighted",
        optimizer="adam",
        scheduler="ReduceLROnPlateau",
        eval_interval=1,
        ema=True,
    )
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "key")
    with Progress("test", settings.max_num_epochs, "epoch") as progress:
        ended = fit(model, train, valid, settings, 0, checkpoint, progress)
    for ours, theirs in zip(ended.history, golden["valid"], strict=True):
        assert ours["valid_energy_mae_meV_atom"] / 1e3 == pytest.approx(
            theirs["mae_e_per_atom"], rel=1e-8
        )
        assert ours["valid_forces_mae_meV_A"] / 1e3 == pytest.approx(theirs["mae_f"], rel=1e-8)
    assert ended.history[10]["lr"] < ended.history[-1]["lr"] == settings.stage_two_lr
    last = {key: tensor(value) for key, value in golden["weights"]["stage two"].items()}
    for link in links(model):
        theirs = link.to_ours(last[link.theirs], model.state_dict()[link.ours].shape)
        assert torch.allclose(model.state_dict()[link.ours], theirs, rtol=1e-7, atol=1e-9), link
