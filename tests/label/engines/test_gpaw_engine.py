"""GPAW: its labels against finite differences, and what its failures look like."""

import numpy as np
import pytest
from ase.build import bulk, fcc111
from in_a_folder import compute, force_difference, outcome, stress_difference

from mace_core.config.campaign import parse_config
from mace_core.config.labellers import GPAWLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.engines import engine_for
from mace_core.label.isolated import isolated_atoms
from mace_core.label.run import label_frames
from mace_core.label.start import check_engine
from mace_core.label.store import LabelStore

pytest.importorskip("gpaw", reason="GPAW is not installed: scripts/engines.sh gpaw")
pytestmark = pytest.mark.engine("gpaw")


def gpaw(**options):
    few = {"ecut": 200, "kpts": [2, 1, 1], "smearing": "marzari-vanderbilt", "width": 0.27}
    return GPAWLabeller(**(few | options))


@pytest.fixture
def crystal():
    atoms = bulk("Al", a=4.05, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, (4, 3))
    return canonical(atoms)


@pytest.fixture
def label(tmp_path):
    def call(frame, settings, **options):
        return label_frames([frame], settings, LabelStore(tmp_path / "labels", settings), **options)

    return lambda *args, **options: call(*args, **options)[0].record


def test_forces_and_stress_are_the_derivative_of_the_free_energy(crystal):
    assert force_difference(gpaw(smearing="fermi-dirac"), crystal) == pytest.approx(0, abs=1e-3)
    # At a lower cutoff the basis, which changes with the cell, spoils the energy's derivative.
    assert stress_difference(gpaw(ecut=450), crystal) == pytest.approx(0, abs=2e-4)


def test_a_later_rung_gives_the_label_of_the_first(crystal, label):
    plain = compute(gpaw(), crystal)
    assert outcome(gpaw(maxiter=3), crystal) == (
        "unconverged",
        "GPAW: SCF not converged in 3 iterations",
    )
    record = label(crystal, gpaw(maxiter=3))
    assert (record.status, record.rung) == ("converged", "damped")
    assert [a["status"] for a in record.attempts] == ["unconverged", "converged"]
    assert record.energy == pytest.approx(plain.energy, abs=1e-5)
    assert np.abs(np.array(record.forces) - plain.forces).max() < 1e-3
    last = compute(gpaw(), crystal, "more_bands")
    assert last.energy == pytest.approx(plain.energy, abs=1e-5)


def test_a_free_atom_has_its_spin_and_the_crystal_is_bound(crystal, tmp_path):
    settings = gpaw(vacuum=3.5)
    (atom,) = isolated_atoms(["Al"], settings)
    free = compute(settings, atom, folder=tmp_path)
    assert free.stress is None
    assert "fixmagmom" in (tmp_path / "gpaw.txt").read_text()
    # PBE, a perfect crystal, many k-points and plane waves: 3.5 eV
    bound = compute(gpaw(kpts=[3, 3, 3]), crystal)
    assert 2.5 < free.energy - bound.energy / 4 < 4.0


def test_what_may_go_wrong_is_said(crystal, label):
    slab = fcc111("Al", (1, 1, 2), vacuum=5.0)
    assert "pbc 'T T T'" in outcome(gpaw(), canonical(slab))[1]
    record = label(crystal, gpaw(ecut=600, kpts=[6, 6, 6], time_limit=2))
    assert (record.status, record.rung) == ("timeout", "default")


def test_what_cannot_work_is_said_before_any_compute():
    for options, elements, message in (
        ({"xc": "PBEX"}, ["Al"], "labeller.xc: 'PBEX' is no functional"),
        ({"setups": "zz"}, ["Al"], "labeller.setups: no 'zz' dataset of Al for PBE"),
        ({}, ["U"], "labeller.setups: no 'paw' dataset of U for PBE"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            engine_for(gpaw(**options)).check(elements)
        assert caught.value.mend
    check_engine(gpaw(), ["Al"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": None}, "its width .* is not given"),
        ({"spinpol": True}, "would not be magnetic"),
        ({"magmoms": {"Al": 1.0}}, "spinpol is false"),
    ],
)
def test_settings_that_cannot_work_are_named(options, message):
    values = {
        "campaign": {"name": "x"},
        "labeller": gpaw().model_dump(mode="json") | options,
        "seed": {"structures": ["x.xyz"]},
    }
    with pytest.raises(UserError, match=message):
        parse_config(values, where="x.yaml")
