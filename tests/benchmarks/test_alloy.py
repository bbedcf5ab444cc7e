"""The crystals of benchmarks that have none published: what they are said to be, well labelled."""

from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.symbols import symbols2numbers
from ase.units import GPa

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def alloy(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import alloy

    return alloy


def test_sizes_vacancies_and_strains(alloy):
    split = alloy.alloys(4, 2, 3, draw=1)
    parts = [split.train, split.valid, split.test]
    assert [len(part) for part in parts] == [4, 2, 3]
    frames = [atoms for part in parts for atoms in part]
    assert [len(atoms) for atoms in frames] == [32, 31, 32, 31, 32, 31, 32, 31, 32]
    for atoms in frames:
        assert atoms.pbc.all()
        assert {*atoms.symbols} <= {*alloy.ELEMENTS}
        strain = atoms.cell.array / (2 * alloy.A_MEAN) - np.eye(3)
        assert 0 < np.abs(strain).max() <= 0.04
    assert len({round(atoms.info["REF_energy"], 6) for atoms in frames}) == len(frames)


def test_forces_and_stress_are_derivatives_of_the_energy(alloy):
    atoms = alloy.alloys(1, 0, 0, draw=2).train[0]

    def energy(change) -> float:
        moved = atoms.copy()
        change(moved)
        return EMT().get_property("energy", moved)

    h = 1e-4

    def move(by):
        return lambda moved: moved.positions.__setitem__((3, 1), moved.positions[3, 1] + by)

    def strain(by):
        deformation = np.eye(3)
        deformation[2, 2] += by
        return lambda moved: moved.set_cell(moved.cell @ deformation, scale_atoms=True)

    force = -(energy(move(h)) - energy(move(-h))) / (2 * h)
    stress = (energy(strain(h)) - energy(strain(-h))) / (2 * h) / atoms.get_volume()
    assert abs(atoms.arrays["REF_forces"][3, 1] - force) < 1e-5
    assert abs(atoms.info["REF_stress"][2] - stress) < 1e-5 * GPa


def test_E0s_are_the_least_squares_over_the_training_frames(alloy):
    split = alloy.alloys(8, 0, 2, draw=3)
    numbers = symbols2numbers(list(split.E0s))
    counts = np.array([[np.sum(a.numbers == z) for z in numbers] for a in split.train])
    energies = np.array([a.info["REF_energy"] for a in split.train])
    expected = np.linalg.lstsq(counts, energies, rcond=None)[0]
    np.testing.assert_allclose(list(split.E0s.values()), expected, atol=1e-9)


def test_a_draw_says_which_frames(alloy):
    one, again, other = (alloy.alloys(2, 0, 0, draw=draw).train for draw in (4, 4, 5))
    for a, b, c in zip(one, again, other, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert np.array_equal(a.arrays["REF_forces"], b.arrays["REF_forces"])
        assert not np.allclose(a.positions, c.positions)
