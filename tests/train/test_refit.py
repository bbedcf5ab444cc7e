"""Constants of the energy in closed form: optimal, and no more than the data determine."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_toy import MODEL, cluster, crystal

from mace_core.config.sections import Model
from mace_core.model.model import MACE
from mace_core.train.data import Dataset
from mace_core.train.refit import constants, refit

ELEMENTS = [1, 6, 8, 13, 29]


def trained_on(frames) -> tuple[MACE, Dataset]:
    model = MACE(Model(**MODEL), ELEMENTS, dict.fromkeys(ELEMENTS, 1.0), avg_num_neighbors=8.0)
    return model, Dataset(frames, ELEMENTS, MODEL["r_max"], torch.float64)


def residuals(model, data) -> np.ndarray:
    graph, targets = data.batch(range(len(data)))
    return ((targets.energy - model(graph).energy) / targets.n_atoms).numpy()


def test_the_shift_is_refitted_to_its_optimum():
    frames = [crystal(seed) for seed in range(6)]
    frames[0].info["config_weight"] = 3.0
    frames[1].info.pop("REF_energy")
    model, data = trained_on(frames)
    before = residuals(model, data)
    shift = refit(model, data, "shift")["Default"]["shift"]
    weight = np.array([3.0, 0, 1, 1, 1, 1])
    assert shift == pytest.approx(weight @ before / weight.sum())
    assert weight @ residuals(model, data) == pytest.approx(0, abs=1e-10)


def test_E0s_that_are_wrong_are_put_right_where_compositions_differ():
    model, data = trained_on([crystal(seed) for seed in range(12)])
    refit(model, data, "E0s")
    good, before = residuals(model, data), model.E0.clone()
    model.E0[0, 3] += 0.7
    change = refit(model, data, "E0s")["Default"]
    assert residuals(model, data).std() <= 1.01 * good.std()
    # Compositions determine the difference of the two; what they do not, stays or is the shift.
    assert change["E0s"]["Al"] - change["E0s"]["Cu"] == pytest.approx(-0.7, abs=0.1)
    assert set(change["E0s"]) == {"Al", "Cu"}
    assert torch.equal(model.E0[:, :3], before[:, :3])


def test_one_formula_determines_the_shift_alone():
    frames = [cluster(seed) for seed in range(4)]
    model, data = trained_on(frames)
    twin, _ = trained_on(frames)
    E0 = model.E0.clone()
    change = refit(model, data, "E0s")
    assert change == refit(twin, data, "shift")
    assert change["Default"]["E0s"] == {} and torch.equal(model.E0, E0)


def test_nothing_to_fit_changes_nothing():
    frames = [crystal(0)]
    frames[0].info.pop("REF_energy")
    model, data = trained_on(frames)
    assert refit(model, data, "E0s") == refit(model, data, "none") == {}


def test_a_model_without_shift_takes_it_into_its_E0s():
    frames = [cluster(seed) for seed in range(4)]
    model = MACE(Model(**MODEL, model="MACE"), ELEMENTS, dict.fromkeys(ELEMENTS, 1.0), 8.0)
    data = Dataset(frames, ELEMENTS, MODEL["r_max"], torch.float64)
    refit(model, data, "shift")
    assert residuals(model, data).mean() == pytest.approx(0, abs=1e-10)
    assert float(model.scale_shift.shift) == 0


def test_forces_do_not_see_it():
    model, data = trained_on([crystal(seed) for seed in range(6)])
    graph, _ = data.batch(range(len(data)))
    before = model(graph).forces
    refit(model, data, "E0s")
    assert torch.equal(model(graph).forces, before)


@given(seed=st.integers(0, 10_000), noise=st.sampled_from([0.0, 1e-3, 0.1]))
def test_E0s_are_found_from_compositions(seed, noise):
    """Within the noise; the bound holds for each of the seeds (the worst: 1.34)."""
    rng = np.random.default_rng(seed)
    fractions = rng.dirichlet([1, 1, 1], 40)
    truth = rng.normal(0, 1, 3)
    residual = fractions @ truth + noise * rng.normal(size=40)
    shift, E0s = constants(fractions, residual, rng.uniform(0.5, 2, 40))
    error = fractions @ (E0s - truth) + shift
    assert np.sqrt(np.mean(error**2)) <= 1.5 * noise + 1e-6


def test_noise_is_not_taken_for_E0s():
    """On residuals without any order, E0s change seldom, and the shift alone is nearly optimal."""
    rng = np.random.default_rng(0)
    changed, ratios = 0, []
    for _ in range(200):
        fractions, noise = rng.dirichlet([1, 1, 1, 1], 8), rng.normal(size=8)
        shift, E0s = constants(fractions, noise, np.ones(8))
        changed += E0s.any()
        ratios.append((shift + rng.dirichlet([1, 1, 1, 1], 50) @ E0s).std())
    assert changed < 20
    assert np.mean(np.square(ratios)) < 0.1  # of the noise's variance


def test_a_frame_of_its_own_formula_does_not_spoil_the_others():
    fractions = np.array([[1.0, 0], [1, 0], [1, 0], [0.5, 0.5]])
    residual = np.array([0.01, -0.01, 0.0, 5.0])
    shift, E0s = constants(fractions, residual, np.ones(4))
    assert shift + fractions[0] @ E0s == pytest.approx(0, abs=0.05)
