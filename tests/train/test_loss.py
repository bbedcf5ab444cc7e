"""The loss, against its definition and where labels are missing."""

import numpy as np
import pytest
import torch
from ase.stress import voigt_6_to_full_3x3_stress
from training_toy import E0S, MODEL, cluster, crystal

from mace_core.config.sections import Model, Train
from mace_core.model.model import MACE
from mace_core.train.data import Dataset
from mace_core.train.loss import LOSSES, Loss, Residuals
from mace_core.train.metrics import evaluate

ELEMENTS = [1, 6, 8, 13, 29]
SETTINGS = Train(loss="weighted", energy_weight=3.0, forces_weight=50.0, stress_weight=7.0)


@pytest.fixture
def model():
    E0s = {1: E0S["H"], 6: E0S["C"], 8: E0S["O"], 13: E0S["Al"], 29: E0S["Cu"]}
    return MACE(Model(**MODEL), ELEMENTS, E0s, avg_num_neighbors=10.0, scale=0.7, shift=0.1)


def mixed() -> list:
    """Frames of several sizes, periodic or not, with weights, and with labels missing."""
    frames = [crystal(0), cluster(0), crystal(1), cluster(1), crystal(2)]
    frames[0].info["config_weight"] = 2.0
    frames[1].info["config_forces_weight"] = 0.25
    frames[2].info.update(config_weight=0.5, config_stress_weight=3.0)
    del frames[3].info["REF_energy"]
    del frames[4].arrays["REF_forces"]
    return frames


def loss_of(model, frames, settings=SETTINGS) -> torch.Tensor:
    data = Dataset(frames, ELEMENTS, MODEL["r_max"], torch.float64)
    graph, targets = data.batch(range(len(data)))
    out = model(graph, forces=True, stress=data.has_stress, training=True)
    return Loss(settings)(Residuals.of(out, targets), targets)


def by_hand(model, frames) -> float:
    """The definition, one frame at a time in numpy."""
    energy, forces, stress = [], [], []
    for atoms in frames:
        data = Dataset([atoms], ELEMENTS, MODEL["r_max"], torch.float64)
        out = model(data.batch([0])[0], stress=True)
        weight = atoms.info.get("config_weight", 1.0)
        e = f = s = 0.0
        if "REF_energy" in atoms.info:
            e = weight * ((float(out.energy) - atoms.info["REF_energy"]) / len(atoms)) ** 2
        if "REF_forces" in atoms.arrays:
            f = weight * atoms.info.get("config_forces_weight", 1.0)
            f = f * (out.forces.numpy() - atoms.arrays["REF_forces"]) ** 2
        if "REF_stress" in atoms.info:
            s = weight * atoms.info.get("config_stress_weight", 1.0)
            label = voigt_6_to_full_3x3_stress(atoms.info["REF_stress"])
            s = s * (out.stress[0].numpy() - label) ** 2
        energy.append(e)
        forces.append(np.broadcast_to(f, (len(atoms), 3)))
        stress.append(np.broadcast_to(s, (3, 3)))
    return 3.0 * np.mean(energy) + 50.0 * np.mean(np.concatenate(forces)) + 7.0 * np.mean(stress)


def test_loss_is_its_definition(model):
    assert loss_of(model, mixed()).item() == pytest.approx(by_hand(model, mixed()), rel=1e-10)


def test_evaluation_in_several_batches_gives_the_loss_of_the_whole(model, monkeypatch):
    data = Dataset(mixed(), ELEMENTS, MODEL["r_max"], torch.float64)
    whole = evaluate(model, data, Loss(SETTINGS))
    assert whole["loss"] == pytest.approx(by_hand(model, mixed()), rel=1e-10)
    monkeypatch.setattr("mace_core.train.data._EDGES", 60)
    again = Dataset(mixed(), ELEMENTS, MODEL["r_max"], torch.float64)
    assert len(again.large_batches) > 1
    assert evaluate(model, again, Loss(SETTINGS)) == pytest.approx(whole, rel=1e-10)
    pairs = Dataset(mixed(), ELEMENTS, MODEL["r_max"], torch.float64, valid_batch_size=2)
    assert [graph.n_frames for graph, _ in pairs.large_batches] == [2, 2, 1]
    assert evaluate(model, pairs, Loss(SETTINGS)) == pytest.approx(whole, rel=1e-10)


def test_errors_are_means_over_what_is_labelled(model):
    frames = mixed()
    errors = evaluate(
        model, Dataset(frames, ELEMENTS, MODEL["r_max"], torch.float64), Loss(SETTINGS)
    )
    energy, forces = [], []
    for atoms in frames:
        out = model(Dataset([atoms], ELEMENTS, MODEL["r_max"], torch.float64).batch([0])[0])
        if "REF_energy" in atoms.info:
            energy.append(abs(float(out.energy) - atoms.info["REF_energy"]) / len(atoms))
        if "REF_forces" in atoms.arrays:
            forces.append(out.forces.numpy() - atoms.arrays["REF_forces"])
    forces = np.concatenate(forces)
    assert errors["energy_mae"] == pytest.approx(np.mean(energy))
    assert errors["forces_mae"] == pytest.approx(np.abs(forces).mean())
    assert errors["forces_rmse"] == pytest.approx(np.sqrt((forces**2).mean()))


def gradients(model, frames, settings=SETTINGS) -> list[torch.Tensor]:
    loss = loss_of(model, frames, settings)
    return torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)


def test_a_frame_without_labels_has_exactly_no_gradient(model):
    frame = crystal(0)
    del frame.info["REF_energy"], frame.info["REF_stress"], frame.arrays["REF_forces"]
    assert loss_of(model, [frame]).item() == 0.0
    assert all(not g.any() for g in gradients(model, [frame]))


@pytest.mark.parametrize(
    ("key", "weight"),
    [
        ("REF_energy", "energy_weight"),
        ("REF_forces", "forces_weight"),
        ("REF_stress", "stress_weight"),
    ],
)
def test_a_missing_label_counts_exactly_as_one_of_weight_zero(model, key, weight):
    without, full = crystal(1), crystal(1)
    del (without.arrays if key == "REF_forces" else without.info)[key]
    off = SETTINGS.model_copy(update={weight: 0.0})
    missing = gradients(model, [without])
    switched_off = gradients(model, [full], off)
    assert all(torch.equal(a, b) for a, b in zip(missing, switched_off, strict=True))
    assert any(g.any() for g in missing)
    assert any(
        not torch.equal(a, b) for a, b in zip(missing, gradients(model, [full]), strict=True)
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_where_nothing_is_wrong(model, loss):
    """Norms have no gradient at 0, and frames that are not periodic have stress 0 twice."""
    settings = SETTINGS.model_copy(update={"loss": loss})
    assert all(torch.isfinite(g).all() for g in gradients(model, mixed(), settings))
    _, targets = Dataset(mixed(), ELEMENTS, MODEL["r_max"], torch.float64).batch([0, 1])
    residuals = [targets.energy, targets.forces, targets.stress]
    residuals = [torch.zeros_like(value).requires_grad_() for value in residuals]
    Loss(settings)(Residuals(*residuals), targets).backward()
    assert all(r.grad is None or not r.grad.any() for r in residuals)
