"""The C functions behind neighbours: many frames with one search, none disturbing another."""

import numpy as np
import pytest
import vesin
from ase import Atoms
from ase.build import bulk, molecule

from mace_core.neighbours import neighbours_of


def frames() -> list[Atoms]:
    """Large and small, with and without pairs, molecules, slabs and crystals in turn."""
    slab = bulk("Cu", cubic=True).repeat((2, 2, 1))
    slab.pbc = (True, False, True)
    silicon = bulk("Si").repeat(3)
    silicon.rattle(0.1, seed=1)
    lone = Atoms("H")
    return [silicon, lone, molecule("C2H6"), slab, Atoms("H2", [[0, 0, 0], [50, 0, 0]]), silicon]


def test_each_frame_has_the_pairs_that_vesin_finds_for_it_alone():
    cutoff = 4.3
    found = list(neighbours_of(frames(), cutoff))
    assert [ij.shape[1] > 0 for ij, _ in found] == [True, False, True, True, False, True]
    for atoms, (ij, S) in zip(frames(), found, strict=True):
        finder = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
        i, j, expected = finder.compute(atoms.positions, atoms.cell.array, atoms.pbc, "ijS")
        assert ij.dtype == np.int64 and S.dtype == np.int32
        np.testing.assert_array_equal(ij, [i, j])
        np.testing.assert_array_equal(S, expected)


def test_positions_of_any_layout():
    atoms = bulk("Si").repeat(2)
    (expected,) = neighbours_of([atoms], 4.0)
    other = atoms.copy()
    other.arrays["positions"] = np.asfortranarray(atoms.positions)
    (found,) = neighbours_of([other], 4.0)
    np.testing.assert_array_equal(found[0], expected[0])


def test_what_vesin_refuses_is_said():
    with pytest.raises(RuntimeError, match="cutoff"):
        list(neighbours_of([bulk("Si")], -1.0))
