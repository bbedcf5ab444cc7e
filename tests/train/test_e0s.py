"""Energies of free atoms, from each of the three places."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st

from mace_core.errors import UserError
from mace_core.train.e0s import atomic_energies, average_energies

MOLECULES = ["H2O", "CH4", "CO2", "CH3CH2OH", "H2"]


def labelled(name: str, e0s: dict[str, float], extra: float = 0.0) -> Atoms:
    atoms = molecule(name)
    atoms.info["REF_energy"] = sum(e0s[symbol] for symbol in atoms.symbols) + extra
    return atoms


@given(st.fixed_dictionaries({s: st.floats(-2000, 0) for s in "HCO"}))
def test_average_is_exact_where_energies_are_sums(e0s):
    found = average_energies([labelled(name, e0s) for name in MOLECULES])
    assert found == pytest.approx({1: e0s["H"], 6: e0s["C"], 8: e0s["O"]}, abs=1e-6)


def test_average_of_one_formula_reproduces_its_mean_energy():
    e0s = {"H": -13.0, "O": -2000.0}
    frames = [labelled("H2O", e0s, extra) for extra in (0.0, 0.4)]
    found = average_energies(frames)
    assert 2 * found[1] + found[8] == pytest.approx(-2026.0 + 0.2)


def test_average_takes_only_frames_with_an_energy():
    e0s = {"H": -13.0, "C": -1000.0, "O": -2000.0}
    frames = [labelled(name, e0s) for name in MOLECULES] + [molecule("CH3OH")]
    assert average_energies(frames) == pytest.approx({1: -13.0, 6: -1000.0, 8: -2000.0})


def test_isolated_takes_the_first_of_an_element():
    atoms = [Atoms("H"), Atoms("O"), Atoms("H")]
    for atom, energy in zip(atoms, (-13.6, -2040.0, -1.0), strict=True):
        atom.info["REF_energy"] = energy
    assert atomic_energies("isolated", [molecule("H2O")], atoms) == {1: -13.6, 8: -2040.0}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("isolated", ["no E0 for C, O", "IsolatedAtom", "labeller.spins"]),
        ({"H": -13.6}, ["no E0 for C, O", "data.E0s", "add it"]),
        ("average", ["no E0 for H, C, O", "at least one frame"]),
    ],
)
def test_an_element_without_E0_is_named_with_the_mend(setting, says):
    atom = Atoms("H")
    atom.info["REF_energy"] = -13.6
    with pytest.raises(UserError) as error:
        atomic_energies(setting, [molecule("CH3OH")], [atom])
    assert all(part in str(error.value) for part in says)


def test_a_dictionary_may_know_more_and_must_know_elements():
    frames = [molecule("H2O")]
    given = {"O": -2040.0, "H": -13.6, "Xe": 1.0}
    assert atomic_energies(given, frames, []) == {1: -13.6, 8: -2040.0}
    assert list(atomic_energies(given, frames, [])) == [1, 8]
    with pytest.raises(UserError, match="Hh is no element"):
        atomic_energies({"Hh": 0.0}, frames, [])
    assert np.isfinite(list(atomic_energies(given, frames, []).values())).all()
