"""VASP without VASP: its inputs as pymatgen reads them, its outputs as they were made up here."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read
from in_a_folder import compute, force_difference, outcome, stress_difference
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from mace_core.config.campaign import parse_config
from mace_core.config.labellers import VASPLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.engines import Guess, engine_for
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore
from mace_core.label.theory import describe, theory_id

pytestmark = pytest.mark.engine("vasp")
FAKE = Path(__file__).with_name("fake_vasp.py")
#: No POTCAR: the few lines of one that are read.
POTCAR = """\
 PAW_PBE {name} 01Jan2000
 {valence}
 parameters from PSCTR are:
   VRHFIN ={element}: made up
   TITEL  = PAW_PBE {name} 01Jan2000
   POMASS =   60.000; ZVAL   =   {valence}    mass and valenz
END of PSCTR-controll parameters
 End of Dataset
"""


@pytest.fixture(autouse=True)
def potcars(tmp_path, monkeypatch):
    folder = tmp_path / "potcars" / "POT_GGA_PAW_PBE_54"
    folder.mkdir(parents=True)
    for element, valence in (("Cu", 11.0), ("Au", 11.0), ("O", 6.0), ("H", 1.0)):
        text = POTCAR.format(element=element, name=element, valence=valence)
        (folder / f"POTCAR.{element}").write_text(text)
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path / "potcars"))
    return folder


def settings(how="well", **options):
    base = {
        "command": shlex.join([sys.executable, str(FAKE), how]),
        "version": "6.4.2",
        "incar": {"ENCUT": 400, "ISMEAR": 1, "SIGMA": 0.1},
        "kspacing": 0.5,
        "potcars": {"Cu": "Cu", "Au": "Au", "O": "O", "H": "H"},
        "nelm": 20,
    }
    return VASPLabeller(**base | options)


@pytest.fixture
def alloy():
    """Elements in turn, an atom outside of the cell, compressed and sheared."""
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[[1, 3]] = 79
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, (4, 3))
    atoms.positions[2] += atoms.cell[0] - atoms.cell[2]
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) * 1.02 + [[0, 0.05, 0]] * 3), scale_atoms=True)
    return canonical(atoms)


def test_order_units_and_signs_by_finite_differences(alloy):
    assert force_difference(settings(), alloy) == pytest.approx(0, abs=1e-5)
    assert stress_difference(settings(), alloy) == pytest.approx(0, abs=2e-5)


def test_the_label_is_the_programs_own_in_the_frames_order(alloy):
    result = compute(settings(), alloy)
    alloy.calc = EMT()
    assert result.energy == pytest.approx(alloy.get_potential_energy(), abs=1e-6)
    assert np.abs(result.forces - alloy.get_forces()).max() < 1e-6
    assert np.abs(result.stress - alloy.get_stress()).max() < 1e-7
    assert (result.numbers == alloy.numbers).all()
    assert np.abs(result.positions - alloy.positions).max() < 1e-6


def test_what_was_made_up_is_read_by_ase_as_well(alloy, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    result = compute(settings(), alloy, folder=folder)
    other = read(folder / "vasprun.xml")
    assert result.energy == other.get_potential_energy(force_consistent=True)
    assert np.abs(result.stress - other.get_stress()).max() < 1e-9
    order = [0, 2, 1, 3]
    assert np.abs(result.forces[order] - other.get_forces()).max() < 1e-9


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("exactly", "converged", ""),
        ("unconverged", "unconverged", "EDIFF not reached in 20 electronic steps (NELM 20)"),
        ("truncated", "failed", "vasprun.xml is not complete"),
        ("killed", "failed", "killed by signal 9 (SIGKILL)"),
        ("error", "failed", "exit code 1; it said: VERY BAD NEWS! internal error in subroutine"),
        ("silent", "failed", "wrote no vasprun.xml; it said: running on 1 total cores"),
    ],
)
def test_how_it_ends_is_the_status(alloy, how, status, reason):
    found = outcome(settings(how), alloy)
    assert found[0] == status
    assert reason in found[1]


def test_another_version_than_the_settings_say_is_no_label(alloy):
    status, reason = outcome(settings(version="6.5"), alloy)
    assert status == "failed"
    assert "says VASP 6.5, it is 6.4.2" in reason


def test_the_ladder_is_climbed_and_no_potcar_is_kept(alloy, tmp_path):
    chosen = settings("unconverged")
    store = LabelStore(tmp_path / "labels", chosen)
    (labelled,) = label_frames([alloy], chosen, store)
    record = labelled.record
    assert record.status == "unconverged"
    assert [a["rung"] for a in record.attempts] == ["default", "linear_mixing", "all_bands"]
    kept = {path.name for path in store.outputs(record.frame_id).rglob("*")}
    assert {"INCAR", "POSCAR", "KPOINTS", "OUTCAR", "vasp.out"} <= kept
    assert "POTCAR" not in kept


def written(chosen, frame, tmp_path, monkeypatch, rung="default"):
    monkeypatch.chdir(tmp_path)
    engine_for(chosen).prepare(frame, rung)
    return Incar.from_file("INCAR"), Kpoints.from_file("KPOINTS"), Poscar.from_file("POSCAR")


def test_plain_inputs_say_what_the_settings_say(alloy, tmp_path, monkeypatch):
    incar, kpoints, poscar = written(settings(), alloy, tmp_path, monkeypatch)
    assert incar["ENCUT"] == 400 and incar["EDIFF"] == 1e-6
    fixed = {"NSW": 0, "ISYM": 0, "ISIF": 2, "IBRION": -1, "NELM": 20, "LWAVE": False}
    assert fixed.items() <= incar.items()
    assert not {"NELECT", "NUPDOWN", "ISPIN"} & incar.keys()
    assert poscar.site_symbols == ["Cu", "Au"]
    assert kpoints.kpts == [(4, 4, 4)]
    monkeypatch.chdir(tmp_path)
    engine_for(settings()).prepare(alloy, "default", Guess.OTHER)
    assert Incar.from_file("INCAR") == incar | {"INIWAV": 0}
    incar, _, _ = written(settings(), alloy, tmp_path, monkeypatch, "linear_mixing")
    assert (incar["NELM"], incar["AMIX"]) == (60, 0.1)


@pytest.mark.parametrize("name", ["MPStaticSet", "MatPESStaticSet", "MP24StaticSet"])
def test_input_sets_are_pymatgens_under_the_users_tags(name, alloy, tmp_path, monkeypatch):
    chosen = settings(input_set=name, incar={"ENCUT": 333, "LREAL": "Auto"}, kspacing=None)
    chosen = chosen.model_copy(update={"kpts": [3, 2, 1]})
    incar, kpoints, _ = written(chosen, alloy, tmp_path, monkeypatch)
    assert (incar["ENCUT"], incar["LREAL"]) == (333, "Auto")
    assert (incar["PREC"], incar["ISYM"], incar["NSW"]) == ("Accurate", 0, 0)
    assert incar["ISMEAR"] == 0  # the sets' tetrahedra have no consistent forces
    assert len(incar["MAGMOM"]) == 4
    assert kpoints.kpts == [(3, 2, 1)]
    assert "KSPACING" not in incar


def test_charge_spin_and_molecules(tmp_path, monkeypatch):
    crystal = bulk("CuO", "rocksalt", a=4.2)
    crystal.info.update(charge=1, spin=3)
    incar, _, _ = written(settings(), canonical(crystal), tmp_path, monkeypatch)
    assert (incar["NELECT"], incar["ISPIN"], incar["NUPDOWN"]) == (16, 2, 3)
    radical = molecule("OH")
    radical.info["spin"] = 1
    _, kpoints, poscar = written(settings(), canonical(radical), tmp_path, monkeypatch)
    assert kpoints.kpts == [(1, 1, 1)]
    assert min(poscar.structure.lattice.abc) >= 12
    assert compute(settings(), canonical(radical)).stress is None
    radical.info["charge"] = 1
    assert "spin 1" in outcome(settings(), canonical(radical))[1]


def test_what_is_missing_is_said_before_any_compute(potcars, monkeypatch):
    def problem(chosen, elements=("Cu",)):
        with pytest.raises(UserError) as caught:
            engine_for(chosen).check(list(elements))
        return str(caught.value)

    engine_for(settings()).check(["Cu", "Au"])
    assert "labeller.potcars: none for Ti" in (said := problem(settings(), ["Ti"]))
    assert "MPStaticSet takes Ti_pv" in said
    assert "labeller.command: 'vasp_std' is not" in problem(settings(command="vasp_std"))
    assert "there is no POTCAR 'Cu_pv'" in problem(settings(potcars={"Cu": "Cu_pv"}))
    assert "the POTCAR 'Au' is for Au" in problem(settings(potcars={"Cu": "Au"}))
    monkeypatch.delenv("PMG_VASP_PSP_DIR")
    assert "labeller.potcar_dir is not given" in problem(settings())


def test_the_level_of_theory_holds_the_potcars_content(potcars):
    first = theory_id(settings())
    assert describe(settings())["versions"]["vasp"] == "6.4.2"
    assert theory_id(settings(nelm=60, command="srun vasp_std")) == first
    assert theory_id(settings(version="6.4.3")) != first
    with open(potcars / "POTCAR.Cu", "a") as file:
        file.write("changed\n")
    assert theory_id(settings()) != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"incar": {"nsw": 10}}, "NSW cannot be set: a label is one static run"),
        ({"incar": {"NELM": 10}}, "a key of its own here, nelm"),
        ({"incar": {"ISMEAR": -5}}, "tetrahedron"),
        ({"incar": {"ISMEAR": 0}}, "lacks ENCUT"),
        ({"kspacing": None}, "give kspacing or kpts"),
        ({"version": None}, "labeller.version"),
    ],
)
def test_settings_that_would_spoil_labels_are_refused(change, message):
    labeller = settings().model_dump() | change
    values = {
        "campaign": {"name": "x"},
        "labeller": labeller,
        "seed": {"structures": ["x.xyz"]},
    }
    with pytest.raises(UserError, match=message):
        parse_config(values, where="x.yaml")
