"""Reading a user's structures: formats, charge and spin, and what cannot be used."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import write
from pymatgen.io.ase import AseAtomsAdaptor

from mace_core.errors import UserError
from mace_core.seed.structures import read_structures

DISORDERED = """data_x
_cell_length_a 3.6
_cell_length_b 3.6
_cell_length_c 3.6
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu1 Cu 0 0 0 0.5
Au1 Au 0 0 0 0.5
Cu2 Cu 0.5 0.5 0.5 1
"""


def _same_crystal(atoms, other):
    assert sorted(atoms.get_chemical_symbols()) == sorted(other.get_chemical_symbols())
    assert atoms.pbc.all()
    assert atoms.get_volume() == pytest.approx(other.get_volume(), rel=1e-4)

    def distances(a):
        return np.sort(a.get_all_distances(mic=True).ravel())

    assert distances(atoms) == pytest.approx(distances(other), abs=1e-3)


@pytest.mark.parametrize("name", ["x.xyz", "x.cif", "POSCAR", "x.vasp", "ase.json", "x.traj"])
def test_crystals_that_ase_reads(tmp_path, name):
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    write(tmp_path / name, crystal, **({"format": "extxyz"} if name == "x.xyz" else {}))
    (atoms,) = read_structures(tmp_path / name)
    _same_crystal(atoms, crystal)
    assert atoms.info == {"charge": 0, "spin": 0}


def test_pymatgen_json_of_a_crystal(tmp_path):
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    path = tmp_path / "pmg.json"
    path.write_text(AseAtomsAdaptor.get_structure(crystal).to_json())
    (atoms,) = read_structures(path)
    _same_crystal(atoms, crystal)


def test_pymatgen_json_of_a_molecular_ion_keeps_charge_and_multiplicity(tmp_path):
    water = AseAtomsAdaptor.get_molecule(molecule("H2O"))
    water.set_charge_and_spin(1, 2)
    path = tmp_path / "water.json"
    path.write_text(water.to_json())
    (atoms,) = read_structures(path, charge=-3, spin=4)
    assert atoms.get_chemical_formula() == "H2O"
    assert not atoms.pbc.any()
    assert atoms.info == {"charge": 1, "spin": 1}


def test_charge_and_spin_of_the_frame_win_over_the_configuration(tmp_path):
    said, total, silent = (molecule("OH") for _ in range(3))
    said.info = {"charge": -1, "spin": 0}
    total.info = {"total_charge": 1}
    write(tmp_path / "oh.extxyz", [said, total, silent])
    frames = read_structures(tmp_path / "oh.extxyz", charge=0, spin=1)
    assert [f.info for f in frames] == [
        {"charge": -1, "spin": 0},
        {"charge": 1, "spin": 1},
        {"charge": 0, "spin": 1},
    ]


def test_labels_and_constraints_of_the_file_are_left_behind(tmp_path):
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = -1.0
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    write(tmp_path / "h2o.extxyz", atoms)
    (read,) = read_structures(tmp_path / "h2o.extxyz")
    assert set(read.arrays) == {"numbers", "positions"}
    assert "REF_energy" not in read.info


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.xyz", None, "not found"),
        ("junk.xyz", "this is no structure\n", "cannot read"),
        ("junk.weird", "\x00\x01", "cannot read"),
        ("empty.cif", "", "cannot read"),
        ("disordered.cif", DISORDERED, "partly occupied"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_message(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said) as err:
        read_structures(path)
    assert name in str(err.value)
