"""Reading labelled frames as others write them."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mace_core.errors import UserError
from mace_core.train.labelled import config_weight, property_weight, read_labelled


def copper(n: int = 2):
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return frames


def test_bare_keys_that_ase_hides_in_a_calculator_are_found(tmp_path):
    frames = copper()
    for atoms in frames:
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    read, isolated = read_labelled(tmp_path / "f.xyz", "energy", "forces", "stress")
    assert isolated == []
    for one, other in zip(read, frames, strict=True):
        assert one.info["REF_energy"] == pytest.approx(other.get_potential_energy())
        assert one.arrays["REF_forces"] == pytest.approx(other.get_forces(), abs=1e-7)
        assert one.info["REF_stress"] == pytest.approx(other.get_stress(), abs=1e-7)
        assert one.calc is None


def test_labels_may_be_missing_and_weigh_nothing(tmp_path):
    frames = copper(3)
    frames[0].info.update(my_E=-1.0, config_weight=2.0, config_energy_weight=0.5)
    frames[1].arrays["my_F"] = np.ones((4, 3))
    frames[2].info["my_S"] = np.arange(9.0)
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    read, _ = read_labelled(tmp_path / "f.xyz", "my_E", "my_F", "my_S")
    weights = [
        [property_weight(atoms, key) for key in ("REF_energy", "REF_forces", "REF_stress")]
        for atoms in read
    ]
    assert weights == [[0.5, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert [config_weight(atoms) for atoms in read] == [2, 1, 1]


def test_a_full_stress_becomes_voigt(tmp_path):
    atoms = copper(1)[0]
    full = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])
    atoms.info["s"] = full
    ase.io.write(tmp_path / "f.xyz", atoms, format="extxyz")
    read, _ = read_labelled(tmp_path / "f.xyz", stress_key="s")
    assert read[0].info["REF_stress"].tolist() == [1, 2, 3, 4, 5, 6]


def test_stress_without_full_periodicity_weighs_nothing():
    slab = copper(1)[0]
    slab.pbc = [True, True, False]
    slab.info["REF_stress"] = np.zeros(6)
    assert property_weight(slab, "REF_stress") == 0


def test_isolated_atoms_come_apart_and_are_not_any_single_atom(tmp_path):
    free, cell = molecule("H"), bulk("Cu")
    free.info.update(config_type="IsolatedAtom", REF_energy=-13.6)
    cell.info["REF_energy"] = -0.1
    ase.io.write(tmp_path / "f.xyz", [free, cell], format="extxyz")
    frames, isolated = read_labelled(tmp_path / "f.xyz")
    assert [atoms.symbols[0] for atoms in frames] == ["Cu"]
    assert [atoms.symbols[0] for atoms in isolated] == ["H"]


def test_wrong_keys_name_those_that_are_there(tmp_path):
    atoms = copper(1)[0]
    atoms.info["dft_energy"] = -1.0
    ase.io.write(tmp_path / "f.xyz", atoms, format="extxyz")
    with pytest.raises(UserError, match=r"dft_energy[\s\S]*data\.energy_key"):
        read_labelled(tmp_path / "f.xyz")


@pytest.mark.parametrize("value", [np.nan, np.inf, "abc"])
def test_a_label_that_is_no_number_names_the_frame(tmp_path, value):
    frames = copper()
    frames[0].info["REF_energy"], frames[1].info["REF_energy"] = -1.0, value
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    with pytest.raises(UserError, match="frame 1"):
        read_labelled(tmp_path / "f.xyz")
