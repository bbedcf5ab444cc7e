"""Labels against finite differences of the energy, and against published ones."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mace_core.config.labellers import (
    ASELabeller,
    EMTLabeller,
    PySCFLabeller,
    TBLiteLabeller,
)
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.engines import NotConverged, Refused, engine_for


def frame_of(name, charge=0, spin=0, seed=1):
    atoms = molecule(name)
    atoms.positions += np.random.default_rng(seed).normal(0, 0.05, atoms.positions.shape)
    atoms.info.update(charge=charge, spin=spin)
    return canonical(atoms)


def compute(settings, frame, rung="default"):
    return engine_for(settings).compute(frame, rung)


def slope(settings, frame, displaced, step):
    """Four-point finite difference of the energy at displaced(frame, ±step, ±2·step)."""
    energy = {n: compute(settings, displaced(frame, n * step)).energy for n in (-2, -1, 1, 2)}
    return (8 * (energy[1] - energy[-1]) - (energy[2] - energy[-2])) / (12 * step)


def check_forces(settings, frame, tolerance, step=0.01):
    direction = np.random.default_rng(2).normal(size=frame.positions.shape)
    direction /= np.linalg.norm(direction)

    def displaced(atoms, x):
        moved = atoms.copy()
        moved.positions += x * direction
        return moved

    forces = compute(settings, frame).forces
    assert np.abs(forces).max() > 0.5
    expected = -slope(settings, frame, displaced, step)
    assert (forces * direction).sum() == pytest.approx(expected, abs=tolerance)


def check_stress(settings, frame, tolerance):
    strain = np.random.default_rng(3).normal(size=(3, 3))
    strain = (strain + strain.T) / 2
    strain /= np.linalg.norm(strain)

    def displaced(atoms, x):
        moved = atoms.copy()
        moved.set_cell(atoms.cell[:] @ (np.eye(3) + x * strain), scale_atoms=True)
        return moved

    s = compute(settings, frame).stress
    full = np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
    expected = slope(settings, frame, displaced, 2e-3) / frame.get_volume()
    assert (full * strain).sum() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (("H2O", 0, 0), {"basis": "6-31g"}),
        (("H2O", 1, 1), {"density_fit": False, "xc": "b3lyp"}),
        (("NH2", 0, 1), {"dispersion": "d3bj"}),
    ],
    ids=["rks-df", "uks-cation-hybrid", "uks-radical-d3"],
)
def test_pyscf_forces_are_the_derivative_of_the_energy(frame, options):
    settings = PySCFLabeller(**({"basis": "sto-3g"} | options))
    check_forces(settings, frame_of(*frame), tolerance=2e-3)
    # Without the grid's response a molecule would push itself along, by some meV/Å.
    assert np.abs(compute(settings, frame_of(*frame)).forces.sum(axis=0)).max() < 1e-6


def test_pyscf_dispersion_is_in_energy_and_forces():
    frame = frame_of("H2O")
    plain = compute(PySCFLabeller(basis="sto-3g"), frame)
    for dispersion in ("d3bj", "d4"):
        with_it = compute(PySCFLabeller(basis="sto-3g", dispersion=dispersion), frame)
        assert -0.1 < with_it.energy - plain.energy < -1e-4
        assert np.abs(with_it.forces - plain.forces).max() > 1e-5


def test_pyscf_rungs_are_one_level_of_theory():
    frame, settings = frame_of("H2O"), PySCFLabeller(basis="6-31g")
    labels = [compute(settings, frame, rung) for rung in engine_for(settings).RUNGS]
    assert len(labels) == 3
    for label in labels[1:]:
        assert label.energy == pytest.approx(labels[0].energy, abs=1e-5)
        assert np.abs(label.forces - labels[0].forces).max() < 1e-3


def test_pyscf_gives_heavy_atoms_the_core_potential_of_their_basis():
    iodide = canonical(Atoms("I", info={"charge": -1, "spin": 0}))
    energy = compute(PySCFLabeller(grid_level=0), iodide).energy
    # 26 electrons in the field of the def2 core potential: −297.9 Hartree
    assert energy == pytest.approx(-297.9 * 27.2114, rel=1e-3)


def test_pyscf_refuses_what_it_cannot_label():
    settings = PySCFLabeller(basis="sto-3g")
    with pytest.raises(Refused, match="periodic"):
        compute(settings, canonical(bulk("Si")))
    for charge, spin in ((0, 1), (1, 0), (0, 12)):
        with pytest.raises(Refused, match=rf"spin {spin} .*charge {charge}\)"):
            compute(settings, frame_of("H2O", charge, spin))


def test_pyscf_unconverged_is_never_returned():
    settings = PySCFLabeller(basis="sto-3g", max_cycle=1)
    for rung in engine_for(settings).RUNGS:
        with pytest.raises(NotConverged, match="cycles"):
            compute(settings, frame_of("H2O"), rung)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (PySCFLabeller(xc="pbee"), "labeller.xc"),
        (PySCFLabeller(basis="def3"), "labeller.basis"),
        (EMTLabeller(), "labeller.engine"),
        (ASELabeller(calculator="no.such:Thing"), "labeller.calculator"),
        (ASELabeller(calculator="ase.calculators.emt:Thing"), "labeller.calculator"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*basis-set-exchange:UserWarning")
def test_settings_that_cannot_work_are_said_before_any_compute(settings, key):
    with pytest.raises(UserError, match=key) as caught:
        engine_for(settings).check(["Si"])
    assert caught.value.mend


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
@pytest.mark.parametrize(
    "frame", [("CH3CH2OH", 0, 0), ("CH3CH2OH", 1, 1), ("CH3", 0, 1)], ids=lambda f: f"{f[0]}{f[1]}"
)
def test_tblite_forces_are_the_derivative_of_the_energy(method, frame):
    check_forces(TBLiteLabeller(method=method), frame_of(*frame), tolerance=1e-5)


def test_tblite_periodic_forces_and_stress():
    crystal = bulk("SiC", "zincblende", a=4.2)
    crystal.positions += np.random.default_rng(0).normal(0, 0.08, (2, 3))
    settings = TBLiteLabeller(method="GFN1-xTB")
    check_forces(settings, canonical(crystal), tolerance=1e-4)
    check_stress(settings, canonical(crystal), tolerance=5e-5)


def test_tblite_refusals_and_rungs():
    settings = TBLiteLabeller()
    with pytest.raises(Refused, match="spin 1"):
        compute(settings, frame_of("H2O", 0, 1))
    slab = bulk("Si")
    slab.pbc = (True, True, False)
    with pytest.raises(Refused, match="periodic in part"):
        compute(settings, canonical(slab))
    near = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0]])
    with pytest.raises(Refused, match=r"tblite: .*close"):
        compute(settings, canonical(near))
    frame = frame_of("CH3CH2OH")
    labels = [compute(settings, frame, rung) for rung in engine_for(settings).RUNGS]
    for label in labels[1:]:
        assert label.energy == pytest.approx(labels[0].energy, abs=1e-6)
        assert np.abs(label.forces - labels[0].forces).max() < 1e-5
    for rung in engine_for(settings).RUNGS:
        with pytest.raises(NotConverged, match="not converged"):
            compute(TBLiteLabeller(max_iterations=1), frame, rung)


def test_emt_forces_stress_and_its_sign():
    crystal = bulk("Cu", cubic=True)
    crystal.positions += np.random.default_rng(0).normal(0, 0.1, (4, 3))
    crystal.set_cell(crystal.cell[:] * 0.95, scale_atoms=True)
    frame = canonical(crystal)
    check_forces(EMTLabeller(), frame, tolerance=1e-5, step=1e-3)
    check_stress(EMTLabeller(), frame, tolerance=1e-5)
    assert compute(EMTLabeller(), frame).stress[:3].max() < 0  # compressed
    frame.pbc = False
    assert compute(EMTLabeller(), frame).stress is None
    frame.info["charge"] = 1
    with pytest.raises(Refused, match="charge"):
        compute(EMTLabeller(), frame)


def test_ase_calculators_are_told_charge_and_spin_or_refuse():
    frame = frame_of("CH3", charge=2, spin=3)
    told = ASELabeller(
        calculator="odd_calculators:Strict",
        kwargs={"charge": "$charge", "dft": {"mult": "$multiplicity"}},
    )
    assert compute(told, frame).energy == 204.0
    deaf = ASELabeller(
        calculator="odd_calculators:Strict", kwargs={"charge": "$charge", "dft": {"mult": 1}}
    )
    with pytest.raises(Refused, match=r"spin 3.*\$spin"):
        compute(deaf, frame)


def test_the_force_consistent_energy_is_the_label():
    frame = canonical(bulk("Cu", cubic=True))
    smeared = ASELabeller(calculator="odd_calculators:Smeared")
    assert compute(smeared, frame).energy == compute(EMTLabeller(), frame).energy
