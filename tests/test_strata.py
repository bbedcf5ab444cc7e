"""A stratum's name: where it comes from, and that files give it back."""

import json
import tempfile
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from mace_core.frames import read_frames, write_frames
from mace_core.strata import composition, one_line, stratum_of


def frame(atoms, **info):
    atoms = atoms.copy()
    atoms.info |= info
    return atoms


@pytest.mark.parametrize(
    ("atoms", "name"),
    [
        (frame(molecule("H2O"), stratum="ice.cif", config_type="bulk"), "ice.cif"),
        (frame(molecule("H2O"), config_type="dimer"), "dimer"),
        (frame(molecule("H2O"), config_type="default"), "H2O"),
        (frame(molecule("H2O"), config_type="Default"), "H2O"),
        (frame(molecule("H2O"), config_type="ISOLATEDATOM"), "H2O"),
        (frame(molecule("H2O"), config_type=" ", charge=0, spin=0), "H2O"),
        (frame(molecule("H2O"), charge=1, spin=1), "H2O charge 1 spin 1"),
        (frame(molecule("H2O"), charge=-10), "H2O charge -10"),
        (molecule("CH3CH2OH"), "C2H6O"),
        (molecule("C6H6"), "C6H6"),
        (bulk("Cu", cubic=True), "Cu"),
        (bulk("NaCl", "rocksalt", a=5.6, cubic=True), "ClNa"),
        (frame(molecule("H2O"), stratum=7), "structure 7"),
    ],
)
def test_a_frame_names_its_stratum_or_its_composition_does(atoms, name):
    assert stratum_of(atoms) == name


def test_isomers_share_a_composition_and_charge_pbc_and_order_count_as_they_should():
    hcn, hnc = Atoms("HCN"), Atoms("HNC")
    assert composition(hcn) == composition(hnc)
    assert composition(hcn) != composition(frame(hcn, charge=1))
    assert composition(hcn) != composition(Atoms("HCN", cell=[9, 9, 9], pbc=True))


@given(
    st.one_of(
        st.text(),
        st.text("01.eE+-TF tfnaif\\\"'=[]{},_JSON\n", max_size=12),
        st.sampled_from(["T", "1e5", "nan", "1 2 3", "_JSON {}", "C:\\x", "x\u2028y", "1_000"]),
    )
)
@settings(max_examples=300, deadline=None)
def test_files_give_a_name_back(text):
    text = text.encode("utf-8", "ignore").decode().replace("\0", "")
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    atoms.info["stratum"] = name = one_line(text)
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "f.extxyz", [atoms])
        back = read_frames(Path(folder) / "f.extxyz")[0]
    assert isinstance(back.info["stratum"], str)
    assert stratum_of(back) == back.info["stratum"] == name == one_line(name)
    assert "\n" not in name and json.loads(json.dumps(name)) == name
