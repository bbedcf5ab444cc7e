import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from mace_tools import TOLERANCE, crystal, ethanol, slab, small_model

from mace_core import MACECalculator
from mace_core.committee import Committee
from mace_core.errors import UserError
from mace_core.model.files import save_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for seed in range(3):
        save_model(small_model(seed, scale=0.3), root / f"member_{seed}")
    return [root / f"member_{seed}" for seed in range(3)]


def test_one_model(folders):
    atoms = ethanol()
    atoms.calc = MACECalculator(model_paths=folders[0])
    (p,) = Committee.load(folders[:1]).predict([atoms])
    assert atoms.get_potential_energy() == p.energy
    assert atoms.get_potential_energy(force_consistent=True) == p.energy
    np.testing.assert_array_equal(atoms.get_forces(), p.forces)
    np.testing.assert_array_equal(atoms.calc.results["node_energy"], p.node_energy)
    assert not {"forces_std", "uncertainty", "stress"} & set(atoms.calc.results)
    assert MACECalculator(model_paths=str(folders[0])).get_potential_energy(atoms) == p.energy


def test_committee(folders):
    atoms = crystal()
    atoms.calc = MACECalculator(folders, calibration_factor=1.7)
    (p,) = Committee.load(folders).predict([atoms], stress=True)
    np.testing.assert_array_equal(atoms.get_forces(), p.forces)
    np.testing.assert_array_equal(atoms.get_stress(), p.stress)
    results = atoms.calc.results
    np.testing.assert_array_equal(results["forces_std"], p.forces_std)
    assert results["max_forces_std"] == p.max_forces_std > 0
    assert results["energy_std"] == p.energy_std > 0
    assert results["uncertainty"] == 1.7 * p.max_forces_std
    uncalibrated = MACECalculator(folders)
    uncalibrated.calculate(atoms)
    assert "uncertainty" not in uncalibrated.results


@pytest.mark.parametrize("make", [ethanol, slab])
def test_stress_needs_three_periodic_directions(folders, make):
    atoms = make()
    atoms.calc = MACECalculator(folders[0])
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_follows_the_atoms(folders):
    """Moved atoms and other molecules are computed anew, the same ones are not."""
    calc = MACECalculator(folders[0])
    atoms = ethanol()
    first = calc.get_potential_energy(atoms)
    forces = calc.get_forces(atoms)
    atoms.positions[0, 0] += 0.1
    assert calc.get_potential_energy(atoms) != first
    assert np.abs(calc.get_forces(atoms) - forces).max() > 1e-3
    assert calc.get_forces(Atoms("O")).shape == (1, 3)


def test_unknown_element_is_named(folders):
    with pytest.raises(UserError, match="does not know Fe"):
        MACECalculator(folders).get_potential_energy(Atoms("FeO", [[0, 0, 0], [0, 0, 1.6]]))


def test_wrong_arguments(folders, tmp_path):
    with pytest.raises(UserError, match="one of the two"):
        MACECalculator()
    with pytest.raises(UserError, match="unknown default_dtype 'half'"):
        MACECalculator(folders, default_dtype="half")
    with pytest.raises(UserError, match="no model here"):
        MACECalculator([tmp_path])


def test_molecular_dynamics_conserves_energy(folders):
    """The committee's mean forces are the gradient of its mean energy."""
    atoms = ethanol()
    atoms.calc = MACECalculator(folders)
    rng = np.random.default_rng(0)
    atoms.set_momenta(rng.normal(size=(9, 3)) * np.sqrt(atoms.get_masses()[:, None] * 0.02))
    start = atoms.get_total_energy()
    kinetic = [atoms.get_kinetic_energy()]
    dynamics = VelocityVerlet(atoms, timestep=0.1 * ase.units.fs)
    dynamics.attach(lambda: kinetic.append(atoms.get_kinetic_energy()))
    dynamics.run(60)
    assert abs(atoms.get_total_energy() - start) < 2e-4
    assert np.ptp(kinetic) > 50 * abs(atoms.get_total_energy() - start)


def test_float32(folders):
    atoms = ethanol()
    single, double = (
        MACECalculator(folders, default_dtype=dtype).get_forces(atoms)
        for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(single, double, atol=TOLERANCE["float32"])
    assert np.abs(single - double).max() > 0
