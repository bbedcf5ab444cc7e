"""Near-duplicates: what leaves a geometry the same, and what does not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from mace_core.train import duplicates
from mace_core.train.duplicates import THRESHOLD, near_duplicates


def rattled(atoms: Atoms, std: float, seed: int) -> Atoms:
    copy = atoms.copy()
    copy.positions += np.random.default_rng(seed).normal(0, std, copy.positions.shape)
    return copy


def linked(one: Atoms, other: Atoms) -> bool:
    return near_duplicates([one, other]).tolist() == [[0, 1]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), periodic=st.booleans())
def test_the_same_geometry_in_another_guise_is_a_duplicate(seed, periodic):
    rng = np.random.default_rng(seed)
    frame = rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True), 0.1, seed)
    if not periodic:
        frame = rattled(molecule("CH3CH2OH"), 0.1, seed)
    guise = frame.copy()
    guise.rotate(rng.uniform(0, 360), rng.normal(size=3), rotate_cell=periodic)
    guise.translate(rng.normal(size=3))
    if periodic:
        guise.wrap()
    guise = guise[rng.permutation(len(guise))]
    guise.positions += rng.normal(0, 0.002, guise.positions.shape)
    assert linked(frame, guise)


@pytest.mark.parametrize("std", [0.03, 0.1])
@pytest.mark.parametrize(
    "atoms", [molecule("CH3CH2OH"), bulk("Cu", cubic=True) * (3, 3, 3)], ids=["ethanol", "Cu108"]
)
def test_independent_rattles_are_not_duplicates(atoms, std):
    frames = [rattled(atoms, std, seed) for seed in range(8)]
    assert len(near_duplicates(frames)) == 0


def test_strain_of_a_cell_of_one_atom_counts():
    cell = bulk("Cu")
    strained = cell.copy()
    strained.set_cell(cell.cell[:] * 1.02, scale_atoms=True)
    assert linked(cell, cell.copy())
    assert not linked(cell, strained)


def test_one_atom_moved_in_a_large_cell_counts():
    cell = bulk("Cu", cubic=True) * (3, 3, 3)
    moved = cell.copy()
    moved.positions[7, 0] += 0.3
    assert not linked(cell, moved)


def test_other_compositions_and_atoms_without_neighbours():
    assert len(near_duplicates([molecule("H2O"), molecule("H2O")[:2]])) == 0
    apart = Atoms("H2", [[0, 0, 0], [9, 0, 0]])
    assert linked(apart, Atoms("H2", [[0, 0, 0], [0, 12, 0]]))
    assert not linked(apart, Atoms("H2", [[0, 0, 0], [0, 2, 0]]))


@pytest.mark.parametrize("together", [1, 2**16])
def test_no_pair_is_missed_among_many(monkeypatch, together):
    """Against comparing all pairs, at distances on both sides of the threshold."""
    monkeypatch.setattr(duplicates, "_TOGETHER", together)
    base = [rattled(molecule("CH3CH2OH"), 0.05, seed) for seed in range(4)]
    frames = [rattled(atoms, 0.011, seed) for atoms in base for seed in range(6)]
    found = {tuple(pair) for pair in near_duplicates(frames).tolist()}
    every = {(i, j) for i in range(24) for j in range(i + 1, 24) if linked(frames[i], frames[j])}
    assert found == every
    assert 5 < len(found) < 60, f"the threshold of {THRESHOLD} Å should cut through these"
