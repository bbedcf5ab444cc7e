"""The MD set-up samples what it should: temperature, friction, drift, rotation, repeatability."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from walk_fakes import Scripted, explore_settings

from mace_core.explore.walk import langevin, walk
from mace_core.frames import canonical


def test_a_harmonic_walk_has_the_thermostats_temperature_and_potential_energy():
    """Equipartition: 3(N−1)/2 kT in the momenta and as much in the springs."""
    n, temperature = 32, 600.0
    energies = []

    def script(step, atoms):
        energies.append(0.5 * 3.0 * ((atoms.positions - calculator.wells) ** 2).sum())
        return {}

    calculator = Scripted(spring=3.0, script=script)
    # max_energy_change is below the thermal rise from the minimum: no runaway.
    settings = explore_settings(
        steps=3000,
        timestep=2.0,
        friction=0.02,
        max_energy_change=0.03,
        max_temperature_factor=1.5,
        fragment_factor=1.8,
    )
    crystal = canonical(bulk("Cu", cubic=True) * (2, 2, 2))
    result = walk(crystal, calculator, settings, temperature, np.random.default_rng(1))
    assert result.end == "completed"
    # Standard error from blocks of 200 fs, far longer than the correlation of 50 fs.
    for samples, expected in (
        (np.array(result.temperatures[500:]), temperature),
        (np.array(energies[500:]), 1.5 * (n - 1) * units.kB * temperature),
    ):
        blocks = samples[: len(samples) // 100 * 100].reshape(-1, 100).mean(axis=1)
        error = blocks.std(ddof=1) / np.sqrt(len(blocks))
        assert error < 0.03 * expected
        assert abs(samples.mean() - expected) < 4 * error
    assert 1.5 * units.kB * temperature > 0.03


def test_friction_is_in_inverse_femtoseconds():
    """Free particles forget their velocities as exp(−γt)."""
    rng = np.random.default_rng(0)
    gas = Atoms("Ar600", positions=rng.uniform(0, 1e4, (600, 3)), cell=[1e4] * 3, pbc=True)
    gas.calc = Scripted(spring=0.0)
    dynamics = langevin(gas, explore_settings(timestep=2.0, friction=0.01), 300.0, rng)
    first = gas.get_velocities()
    assert gas.get_temperature() == pytest.approx(300, rel=0.1)
    dynamics.run(50)  # 100 fs = 1/γ
    correlation = (first * gas.get_velocities()).sum() / (first**2).sum()
    assert correlation == pytest.approx(np.exp(-1), abs=4 / np.sqrt(1800))


@pytest.mark.parametrize("name", ["CH3CH2OH", "CO2", "H2O"])
def test_molecules_start_without_drift_or_rotation_at_the_right_temperature(name):
    temperatures = []
    for seed in range(200):
        atoms = molecule(name)
        langevin(atoms, explore_settings(), 300.0, np.random.default_rng(seed))
        assert atoms.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
        assert atoms.get_angular_momentum() == pytest.approx(np.zeros(3), abs=1e-6)
        temperatures.append(atoms.get_temperature())
    spread = 300 * np.sqrt(2 / (3 * len(atoms) - 3) / 200)
    assert np.mean(temperatures) == pytest.approx(300, abs=5 * spread)


def test_crystals_start_without_drift():
    atoms = bulk("Cu", cubic=True)
    langevin(atoms, explore_settings(), 300.0, np.random.default_rng(0))
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_the_centre_of_mass_stays():
    settings = explore_settings(steps=100, save_interval=100, friction=0.1)
    start = canonical(molecule("CH3CH2OH"))
    result = walk(start, Scripted(spring=1.0), settings, 500.0, np.random.default_rng(0))
    assert result.frames[-1].get_center_of_mass() == pytest.approx(
        start.get_center_of_mass(), abs=1e-5
    )


def test_the_same_seed_gives_the_same_walk_and_another_one_another():
    def ids(seed):
        rng = np.random.default_rng(seed)
        start = canonical(molecule("CH3CH2OH"))
        result = walk(start, Scripted(), explore_settings(), 300.0, rng)
        return [f.info["frame_id"] for f in result.frames]

    assert ids(5) == ids(5)
    assert not set(ids(5)) & set(ids(6))
