"""Free atoms and their spins."""

import pytest
from ase.data import chemical_symbols

from mace_core.config.labellers import ASELabeller, EMTLabeller, PySCFLabeller, TBLiteLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.isolated import ground_state_spin, isolated_atoms
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore

#: 2S + 1 of the ground levels, H to Kr: NIST Atomic Spectra Database (term symbols ²S, ¹S, ²S, …).
MULTIPLICITIES = [
    *(2, 1),
    *(2, 1, 2, 3, 4, 3, 2, 1),
    *(2, 1, 2, 3, 4, 3, 2, 1),
    *(2, 1, 2, 3, 4, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 3, 2, 1),
]


def test_spins_from_hydrogen_to_krypton():
    symbols = chemical_symbols[1:37]
    assert [ground_state_spin(symbol) + 1 for symbol in symbols] == MULTIPLICITIES


def test_frames_are_canonical_free_atoms():
    frames = isolated_atoms(["O", "C", "H", "C"], PySCFLabeller(spins={"C": 0}))
    assert [atoms.get_chemical_formula() for atoms in frames] == ["H", "C", "O"]
    assert [atoms.info["spin"] for atoms in frames] == [1, 0, 2]
    for atoms in frames:
        assert atoms.info["config_type"] == "IsolatedAtom"
        assert atoms.info["role"] == "isolated"
        assert atoms.info["charge"] == 0
        assert not atoms.pbc.any()
        assert canonical(atoms).info["frame_id"] == atoms.info["frame_id"]


def test_engines_without_spin_get_none():
    for settings, spin in (
        (EMTLabeller(), 0),
        (TBLiteLabeller(), 2),
        (ASELabeller(calculator="a.b:C"), 0),
        (ASELabeller(calculator="a.b:C", kwargs={"dft": {"mult": "$multiplicity"}}), 2),
    ):
        assert isolated_atoms(["O"], settings)[0].info["spin"] == spin


def test_an_unknown_spin_is_asked_for():
    for element in ("Ce", "Lr", "Og"):
        with pytest.raises(UserError, match=element) as caught:
            isolated_atoms([element], PySCFLabeller())
        assert "labeller.spins" in str(caught.value)
    assert isolated_atoms(["Ce"], PySCFLabeller(spins={"Ce": 2}))[0].info["spin"] == 2
    with pytest.raises(UserError, match="no chemical element"):
        isolated_atoms(["Xx"], PySCFLabeller())


def test_the_right_spin_is_lower(tmp_path):
    right = PySCFLabeller(basis="sto-3g")
    wrong = right.model_copy(update={"spins": {"O": 0}})
    frames = [*isolated_atoms(["O"], right), *isolated_atoms(["O"], wrong)]
    outcomes = label_frames(frames, right, LabelStore(tmp_path, right))
    triplet, singlet = [outcome.record.energy for outcome in outcomes]
    assert singlet - triplet > 1.0
