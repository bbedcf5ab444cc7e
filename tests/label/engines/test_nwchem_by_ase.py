"""A real program behind the engine `ase`: NWChem."""

import shutil

import numpy as np
import pytest
from ase.build import molecule
from in_a_folder import compute, force_difference

from mace_core.config.labellers import ASELabeller
from mace_core.frames import canonical
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore

pytestmark = [
    pytest.mark.engine("ase"),
    pytest.mark.skipif(not shutil.which("nwchem"), reason="apt-get install nwchem"),
]


def nwchem(**dft):
    functional = {"xc": "xpbe96 cpbe96", "grid": "fine", "mult": "$multiplicity"}
    kwargs = {"command": "nwchem PREFIX.nwi > PREFIX.nwo", "theory": "dft", "basis": "6-31g"}
    return ASELabeller(
        calculator="ase.calculators.nwchem:NWChem",
        kwargs=kwargs | {"charge": "$charge", "dft": functional | dft},
    )


def water(charge=0, spin=0):
    atoms = molecule("H2O")
    atoms.positions += np.random.default_rng(1).normal(0, 0.05, atoms.positions.shape)
    atoms.info.update(charge=charge, spin=spin)
    return canonical(atoms)


def test_forces_are_the_derivative_of_the_energy():
    settings = nwchem(convergence={"energy": 1e-8, "density": 1e-6, "gradient": 1e-5})
    assert force_difference(settings, water()) == pytest.approx(0, abs=1e-3)
    ionised = compute(settings, water(charge=1, spin=1)).energy - compute(settings, water()).energy
    assert 11 < ionised < 14  # measured: 12.6 eV


def test_an_unconverged_scf_is_no_label(tmp_path):
    settings = nwchem(iterations=2)
    (labelled,) = label_frames([water()], settings, LabelStore(tmp_path / "labels", settings))
    assert labelled.record.status == "failed"
    assert "CalculationFailed" in labelled.record.reason
