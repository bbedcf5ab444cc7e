"""Errors and their bounds, against direct computations."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from audit_rows import walk

from mace_core.assess.errors import errors


def scored(atoms, rng, force_error=0.1, energy_error=0.0, group=None, stress=False):
    frame = atoms.copy()
    frame.arrays["REF_forces"] = rng.normal(size=(len(frame), 3))
    delta = force_error * rng.normal(size=(len(frame), 3))
    frame.arrays["MACE_forces"] = frame.arrays["REF_forces"] + delta
    frame.info["REF_energy"] = float(rng.normal())
    frame.info["MACE_energy"] = frame.info["REF_energy"] + energy_error
    if group:
        frame.info["group"] = group
    if stress:
        frame.info["REF_stress"] = rng.normal(size=6)
        frame.info["MACE_stress"] = frame.info["REF_stress"] + 0.01
    return frame


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_force_errors_are_over_components(rng):
    frames = [scored(molecule(name), rng) for name in ("H2O", "CH4", "CH3CH2OH")]
    delta = np.concatenate([a.arrays["MACE_forces"] - a.arrays["REF_forces"] for a in frames])
    found = errors(frames, 0.95, 0)
    assert found["force_mae"] == pytest.approx(np.abs(delta).mean())
    assert found["force_rmse"] == pytest.approx(np.sqrt((delta**2).mean()))
    assert found["max_force_error"] == pytest.approx(np.sqrt((delta**2).sum(axis=1)).max())
    assert found["force_mae_low"] < found["force_mae"] < found["force_mae_high"]
    assert found["n_frames"] == 3


def test_by_element_and_by_group(rng):
    frames = [scored(molecule("H2O"), rng, 0.1, group="300K") for _ in range(4)]
    frames += [scored(molecule("H2O"), rng, 0.4, group="700K") for _ in range(3)]
    frames += [scored(molecule("CH4"), rng)]
    found = errors(frames, 0.95, 0)
    hydrogen = [
        np.abs((a.arrays["MACE_forces"] - a.arrays["REF_forces"])[a.numbers == 1]).mean()
        for a in frames
    ]
    assert found["by_element"]["H"]["force_mae"] == pytest.approx(np.mean(hydrogen))  # of frames
    assert found["by_element"]["H"]["n"] == 7 * 2 + 4
    assert found["by_element"]["O"]["n"] == 7
    assert found["by_element"]["C"] == {
        "force_mae": pytest.approx(
            np.abs((frames[-1].arrays["MACE_forces"] - frames[-1].arrays["REF_forces"])[0]).mean()
        ),
        "force_mae_high": None,  # one frame
        "n": 1,
    }
    assert found["by_group"]["300K"]["n"] == 4
    assert found["by_group"]["700K"]["force_mae"] > 2 * found["by_group"]["300K"]["force_mae"]
    assert found["by_group"]["700K"]["force_mae_high"] > found["by_group"]["700K"]["force_mae"]


def test_of_an_audit_the_error_is_that_of_all_md_and_that_of_its_frames_stands_beside_it(rng):
    """The frames that were drawn have half the spread that the walks met."""
    frames = [scored(molecule("H2O"), rng, 0.1, group="300K") for _ in range(6)]
    for k, atoms in enumerate(frames):
        atoms.arrays["MACE_forces_std"] = np.full(3, 0.05)
        atoms.info |= {"walker": k % 3, "stratum": "water.xyz"}
    walks = [
        walk(100, walker=w, stratum="water.xyz", elements=("H", "O"), n_frames=50) for w in range(3)
    ]
    plain, audited = errors(frames, 0.95, 0), errors(frames, 0.95, 0, walks)
    assert plain["force_mae_frames"] == audited["force_mae_frames"] == plain["force_mae"]
    assert audited["force_mae"] == pytest.approx(2 * plain["force_mae"])
    assert audited["force_mae_low"] < audited["force_mae"] < audited["force_mae_high"]
    assert audited["by_element"]["H"]["force_mae"] == pytest.approx(
        2 * plain["by_element"]["H"]["force_mae"]
    )
    assert audited["by_group"]["300K"]["force_mae"] == pytest.approx(audited["force_mae"])
    same = ("force_rmse", "max_force_error", "energy_mae", "n_frames")
    assert [audited[key] for key in same] == [plain[key] for key in same]


def test_bounds_are_seeded_and_widen_with_confidence(rng):
    frames = [scored(molecule("H2O"), rng, error) for error in rng.uniform(0.02, 0.5, 12)]
    assert errors(frames, 0.95, 7) == errors(frames, 0.95, 7)
    wide, narrow = errors(frames, 0.99, 7), errors(frames, 0.8, 7)
    assert wide["force_mae_high"] > narrow["force_mae_high"]
    assert wide["force_mae_low"] < narrow["force_mae_low"]


def test_one_frame_has_no_bound_and_none_has_no_errors(rng):
    found = errors([scored(molecule("H2O"), rng)], 0.95, 0)
    assert found["force_mae"] > 0
    assert found["force_mae_low"] is None
    assert found["force_mae_high"] is None
    assert errors([], 0.95, 0) is None


def test_energy_shift_of_one_composition_is_one_constant(rng):
    frames = [scored(molecule("H2O"), rng, energy_error=e) for e in (3.0, 3.3, 2.7)]
    found = errors(frames, 0.95, 0)
    assert found["energy_mae"] == pytest.approx(1.0)
    assert found["energy_shift"] == pytest.approx(1.0)
    assert found["energy_mae_centred"] == pytest.approx(0.2 / 3)


def test_energy_shift_of_several_compositions_is_one_constant_an_element(rng):
    """Another set of E0s is no error of the potential."""
    shifts = {"H": 0.5, "C": -2.0, "O": 1.0}
    frames = [
        scored(a, rng, energy_error=sum(shifts[s] for s in a.symbols))
        for a in map(molecule, ("H2O", "CH4", "CH3CH2OH", "H2CO", "CO2"))
    ]
    found = errors(frames, 0.95, 0)
    assert found["energy_mae"] > 0.1
    assert found["energy_mae_centred"] == pytest.approx(0, abs=1e-10)


def test_a_shift_is_not_fitted_to_as_many_frames(rng):
    found = errors([scored(molecule("H2O"), rng, energy_error=3.0)], 0.95, 0)
    assert found["energy_mae"] == pytest.approx(1.0)
    assert found["energy_mae_centred"] is None
    assert found["energy_shift"] is None


def test_stress_in_either_form(rng):
    copper = bulk("Cu")
    voigt, full = (scored(copper, rng, stress=True) for _ in range(2))
    full.info["REF_stress"] = np.array(
        [[full.info["REF_stress"][k] for k in row] for row in ((0, 5, 4), (5, 1, 3), (4, 3, 2))]
    )
    assert errors([voigt, full], 0.95, 0)["stress_mae"] == pytest.approx(0.01)
    assert errors([scored(copper, rng)], 0.95, 0)["stress_mae"] is None


def test_missing_labels_weigh_nothing(rng):
    full = scored(molecule("H2O"), rng, energy_error=0.3)
    energy_only, forces_only = scored(molecule("H2O"), rng, energy_error=0.3), full.copy()
    del energy_only.arrays["REF_forces"]
    del forces_only.info["REF_energy"]
    found = errors([full, energy_only, forces_only], 0.95, 0)
    assert found["energy_mae"] == pytest.approx(0.1)
    assert found["force_mae"] == pytest.approx(errors([full], 0.95, 0)["force_mae"])
    assert found["n_frames"] == 3
    only = errors([energy_only], 0.95, 0)
    assert only["force_mae"] is None
    assert only["by_element"] == {}
    nothing = errors([Atoms("H")], 0.95, 0)
    assert nothing["energy_mae"] is None
    assert nothing["stress_mae"] is None
