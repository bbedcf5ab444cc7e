"""Each way a walk can end, provoked on purpose, and what it leaves behind."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from walk_fakes import Scripted, explore_settings

from mace_core.conventions import (
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_UNCERTAINTY,
    WalkerEnd,
)
from mace_core.explore.walk import walk
from mace_core.frames import canonical, frame_id


def run(start, calculator, temperature=300.0, seed=0, lowest_energy=None, **changes):
    return walk(
        canonical(start),
        calculator,
        explore_settings(**changes),
        temperature,
        np.random.default_rng(seed),
        lowest_energy,
    )


def marks(result):
    return [
        (f.info["md_step"], bool(f.info.get("last_good")), f.info.get("walker_end"))
        for f in result.frames
    ]


def at(step, **results):
    return lambda now, atoms: results if now == step else {}


def test_a_completed_walk_keeps_a_frame_every_interval_and_its_end():
    calculator = Scripted()
    result = run(molecule("CH4"), calculator, steps=25)
    assert (result.end, result.end_step, result.last_good_step) == ("completed", 25, 25)
    assert marks(result) == [(10, False, None), (20, False, None), (25, True, "completed")]
    assert calculator.calls == 26  # the uncertainty costs no evaluation of its own
    assert len(result.temperatures) == 26


def test_it_stops_at_the_first_step_above_the_bound():
    calculator = Scripted(script=at(17, uncertainty=1.001))
    result = run(molecule("CH4"), calculator)
    assert (result.end, result.end_step, result.last_good_step) == ("uncertain", 17, 16)
    assert "uncertainty 1001 meV/Å above explore.max_force_error 1000 at step 17" in result.reason
    assert marks(result) == [(10, False, None), (16, True, None), (17, False, "uncertain")]
    assert calculator.calls == 18
    assert result.max_uncertainty == pytest.approx(1.001)


def test_the_bound_itself_is_good():
    assert run(molecule("CH4"), Scripted(uncertainty=1.0)).end == WalkerEnd.COMPLETED


def test_a_last_good_frame_that_was_due_is_not_kept_twice():
    result = run(molecule("CH4"), Scripted(script=at(11, uncertainty=2.0)))
    assert marks(result) == [(10, True, None), (11, False, "uncertain")]


def test_an_end_that_was_due_is_kept_once():
    result = run(molecule("CH4"), Scripted(script=at(20, uncertainty=2.0)))
    assert marks(result) == [(10, False, None), (19, True, None), (20, False, "uncertain")]


def test_the_start_is_never_kept_as_the_last_good_frame():
    result = run(molecule("CH4"), Scripted(script=at(1, uncertainty=2.0)))
    assert result.last_good_step == 0
    assert marks(result) == [(1, False, "uncertain")]


def test_a_start_above_the_bound_ends_the_walk_where_it_stands():
    start = canonical(molecule("CH4"))
    calculator = Scripted(uncertainty=2.0)
    result = run(start, calculator)
    assert (result.end, result.end_step, result.last_good_step) == ("uncertain", 0, -1)
    assert result.reason.endswith("at step 0")
    assert calculator.calls == 1
    assert [f.info["frame_id"] for f in result.frames] == [start.info["frame_id"]]
    assert result.mean_temperature > 0


@pytest.mark.parametrize(
    "results",
    [
        {"forces": np.full((5, 3), np.nan)},
        {"energy": np.nan},
        {"energy": np.inf},
        {"uncertainty": np.nan},
        {"forces_std": np.full(5, np.inf)},
    ],
)
def test_nan_ends_the_walk_before_it_spreads(results):
    calculator = Scripted(script=at(13, **results))
    result = run(molecule("CH4"), calculator)
    assert (result.end, result.end_step, result.last_good_step) == ("not_a_number", 13, 12)
    assert calculator.calls == 14
    last = result.frames[-1]
    assert last.info["walker_end"] == "not_a_number"
    for value in (*last.arrays.values(), *last.info.values()):
        if np.issubdtype(np.asarray(value).dtype, np.number):
            assert np.isfinite(value).all()


def test_positions_that_are_nan_are_not_written():
    def script(step, atoms):
        if step == 13:
            atoms_of_walk[0].positions[:] = np.nan
        return {}

    class Spoiling(Scripted):
        def get_property(self, name, atoms=None, allow_calculation=True):
            atoms_of_walk[:] = [atoms]
            return super().get_property(name, atoms, allow_calculation)

    atoms_of_walk = []
    result = run(molecule("CH4"), Spoiling(script=script))
    assert (result.end, result.end_step) == ("not_a_number", 13)
    assert marks(result) == [(10, False, None), (12, True, None)]


def test_a_calculator_that_fails_on_runaway_positions_means_nan():
    def script(step, atoms):
        if not np.isfinite(atoms.positions).all():
            raise ValueError("neighbour list of infinite positions")
        return {"forces": np.full((5, 3), 1e308)} if step == 5 else {}

    result = run(molecule("CH4"), Scripted(script=script))
    assert result.end == WalkerEnd.NOT_A_NUMBER


def test_a_calculator_that_fails_on_sane_positions_is_an_error():
    def script(step, atoms):
        if step == 5:
            raise ValueError("a bug")
        return {}

    with pytest.raises(ValueError, match="a bug"):
        run(molecule("CH4"), Scripted(script=script))


def test_close_contact():
    def pull(step, atoms):
        bond = atoms.positions[1] - atoms.positions[0]
        force = 5 * bond / np.linalg.norm(bond)
        return {"forces": np.array([force, -force]), "energy": 0.0}

    result = run(molecule("H2"), Scripted(script=pull), min_distance_factor=0.6, steps=500)
    assert result.end == WalkerEnd.CLOSE_CONTACT
    end, good = result.frames[-1], result.frames[-2]
    limit = 0.6 * 2 * 0.31
    assert end.get_distance(0, 1) < limit <= good.get_distance(0, 1)
    assert "H0 and H1 are 0." in result.reason
    assert good.info["last_good"] and good.info["md_step"] == end.info["md_step"] - 1


def test_close_contact_with_a_periodic_image():
    cell = bulk("Cu", cubic=True)
    cell.pbc = True

    def push(step, atoms):  # two planes through the boundary onto each other's images
        forces = np.zeros((4, 3))
        high = atoms.positions[:, 2] > 1
        forces[high, 2], forces[~high, 2] = 3.0, -3.0
        return {"forces": forces, "energy": 0.0}

    result = run(cell, Scripted(script=push), min_distance_factor=0.6, steps=1000, timestep=2.0)
    assert result.end == WalkerEnd.CLOSE_CONTACT
    assert result.frames[-1].get_all_distances(mic=False)[np.triu_indices(4, 1)].min() > 2.0


def test_fragmentation():
    def tear(step, atoms):
        forces = np.zeros((5, 3))
        forces[4] = [0, 0, 6.0]
        forces[0] = -forces[4]
        return {"forces": forces, "energy": 0.0}

    result = run(molecule("CH4"), Scripted(script=tear), 10.0, fragment_factor=2.0, steps=500)
    assert result.end == WalkerEnd.FRAGMENTED
    end, good = result.frames[-1], result.frames[-2]
    limit = 2.0 * (0.76 + 0.31)
    assert end.get_distance(0, 4) > limit
    assert good.get_distance(0, 4) < limit + 0.5
    assert "H (atom" in result.reason


def test_temperature_runaway():
    result = run(
        molecule("CH4"),
        Scripted(script=at(7, forces=np.full((5, 3), 200.0) * [[-4], [1], [1], [1], [1]])),
        max_temperature_factor=5.0,
    )
    assert result.end == WalkerEnd.TEMPERATURE
    assert result.end_step in (7, 8)
    assert "at a thermostat of 300 K" in result.reason


@pytest.mark.parametrize("change", [+1.0, -1.0])
def test_energy_runaway_both_ways(change):
    result = run(
        molecule("CH4"),
        Scripted(script=at(9, energy=change * 5 * 1.2)),
        max_energy_change=0.5,
    )
    assert (result.end, result.end_step) == ("energy_runaway", 9)
    assert f"{change * 1.2:+.2f} eV/atom" in result.reason


def test_insane_comes_before_uncertain():
    both = at(9, energy=100.0, uncertainty=5.0)
    result = run(molecule("CH4"), Scripted(script=both), max_energy_change=0.5)
    assert result.end == WalkerEnd.ENERGY


def test_frames_carry_what_the_committee_saw_and_no_old_labels():
    start = molecule("CH4")
    start.info = {"charge": 1, "spin": 1, "REF_energy": -3.0, "role": "seed"}
    start.arrays["REF_forces"] = np.ones((5, 3))
    seen = {}

    def script(step, atoms):
        seen[step] = atoms.positions.copy()
        return {"energy": 0.001 * step}

    result = run(start, Scripted(script=script, uncertainty=0.3), temperature=450.0)
    for f in result.frames:
        step = f.info["md_step"]
        assert f.positions == pytest.approx(seen[step], abs=1e-6)
        assert f.info["frame_id"] == frame_id(f)
        assert f.info[MACE_ENERGY] == pytest.approx(0.001 * step)
        assert f.info[MACE_UNCERTAINTY] == 0.3
        assert f.arrays[MACE_FORCES_STD] == pytest.approx(np.linspace(0.075, 0.15, 5))
        assert f.arrays[MACE_FORCES].shape == (5, 3)
        assert (f.info["charge"], f.info["spin"], f.info["group"]) == (1, 1, "450K")
        assert "REF_energy" not in f.info and "REF_forces" not in f.arrays
        assert not f.constraints and "momenta" not in f.arrays
