"""The sanity checks by themselves: what they must see, and what they must not mistake for it."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list

from mace_core.contacts import close_contact, contacts
from mace_core.explore.checks import EnergyRunaway, Fragmentation, State, TemperatureRunaway


def state(atoms, **values):
    n = len(atoms)
    return State(
        **(
            {
                "step": 1,
                "atoms": atoms,
                "energy": 0.0,
                "forces": np.zeros((n, 3)),
                "forces_std": np.zeros(n),
                "uncertainty": 0.0,
                "temperature": 300.0,
                "reach": 2.0,
            }
            | values
        )
    )


@given(seed=st.integers(0, 10**6), pbc=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=40, deadline=None)
def test_contacts_are_those_of_another_neighbour_list(seed, pbc):
    rng = np.random.default_rng(seed)
    cell = np.diag([3.0, 4.0, 5.0]) + rng.uniform(-0.8, 0.8, (3, 3))
    atoms = Atoms("CuHOC", scaled_positions=rng.uniform(-0.5, 1.5, (4, 3)), cell=cell, pbc=pbc)
    pairs = contacts(atoms, 1.7)
    i, j, d = neighbour_list("ijd", atoms, 2 * 1.7 * 1.32)
    from ase.data import covalent_radii

    radii = covalent_radii[atoms.numbers]
    near = d < 1.7 * (radii[i] + radii[j])
    assert np.sort(np.repeat(pairs.distance, 2)) == pytest.approx(np.sort(d[near]))


def test_close_contact_names_the_pair():
    atoms = Atoms("COH", positions=[[0, 0, 0], [0, 0, 1.2], [0, 0, 1.5]])
    assert close_contact(atoms, 0.6).startswith("O1 and H2 are 0.30 Å apart")
    assert close_contact(atoms, 0.2) is None
    assert close_contact(Atoms("H"), 0.6) is None


def test_a_fragment_is_what_left_its_piece():
    water = molecule("H2O")
    check = Fragmentation(water, 2.0)
    assert check(state(water)) is None
    stretched = water.copy()
    stretched.set_distance(0, 1, 1.9, fix=0)
    assert check(state(stretched)) is None
    stretched.set_distance(0, 1, 2.1, fix=0)
    assert "H (atom" in check(state(stretched))


def test_molecules_apart_from_the_start_may_part_further():
    pair = molecule("H2O") + molecule("CH4")
    pair.positions[3:] += [6, 0, 0]
    check = Fragmentation(pair, 2.0)
    further = pair.copy()
    further.positions[3:] += [20, 0, 0]
    assert check(state(further)) is None


def test_an_atom_that_changes_partners_is_no_fragment():
    a, b = molecule("H2O"), molecule("H2O")
    b.positions += [3.0, 0, 0]
    pair = a + b
    check = Fragmentation(pair, 1.5)
    hopped = pair.copy()
    hopped.positions[1] = hopped.positions[3] + [-0.97, 0, 0]  # 2 Å from its first oxygen
    assert hopped.get_distance(0, 1) > 1.5 * (0.66 + 0.31)
    assert check(state(hopped, reach=1.5)) is not None  # the two molecules are still apart
    hopped.positions[3:] -= [0.6, 0, 0]  # a proton shared between them bridges
    hopped.positions[1] = (hopped.positions[0] + hopped.positions[3]) / 2
    assert check(state(hopped, reach=1.5)) is None


def test_a_crystal_holds_together_through_its_boundary():
    crystal = bulk("Cu", cubic=True) * (2, 1, 1)
    check = Fragmentation(crystal, 2.0)
    shifted = crystal.copy()
    shifted.positions[:4] -= crystal.cell[0]  # the same crystal, other images
    assert check(state(shifted)) is None


def test_an_atom_that_leaves_a_surface_is_a_fragment():
    slab = fcc111("Cu", (2, 2, 3), vacuum=12)
    check = Fragmentation(slab, 2.0)
    left = slab.copy()
    left.positions[-1, 2] += 7
    assert "Cu (atom 11" in check(state(left))


def test_temperature_limit_is_the_factor_for_many_and_the_fluctuation_for_few_degrees():
    many = TemperatureRunaway(300, 5.0, 24)
    assert many.limit == pytest.approx(1500)
    few = TemperatureRunaway(300, 5.0, 3)
    assert few.limit > 3000
    rng = np.random.default_rng(0)
    sane = 300 * rng.chisquare(3, 200_000) / 3
    assert (sane > 1500).sum() > 50 and not (sane > few.limit).any()
    water = molecule("H2O")
    assert many(state(water, temperature=1499)) is None
    assert "1501 K" in many(state(water, temperature=1501))


def test_the_thermal_rise_from_a_minimum_is_no_runaway():
    check = EnergyRunaway(-10.0, None, 4, 1000, 0.1)
    rng = np.random.default_rng(0)
    thermal = 0.5 * units.kB * 1000 * rng.chisquare(12, 200_000)
    assert thermal.mean() == pytest.approx(4 * 1.5 * units.kB * 1000, rel=0.01)
    assert check.ceiling > -10 + 0.4 + thermal.max()
    assert check.ceiling < -10 + 0.4 + 1.6 * thermal.max()
    water = molecule("CO2")
    assert check(state(water, energy=check.ceiling - 0.01)) is None
    assert check(state(water, energy=check.ceiling + 0.01)) is not None
    assert check(state(water, energy=-10.39)) is None
    assert check(state(water, energy=-10.41)) is not None


def test_relaxing_from_a_strained_start_is_no_runaway():
    strained_start = EnergyRunaway(-6.0, -10.0, 4, 300, 0.5)
    water = molecule("CO2")
    assert strained_start(state(water, energy=-11.9)) is None
    assert strained_start(state(water, energy=-12.1)) is not None
    # A known energy above the start's does not lift the floor.
    assert EnergyRunaway(-10.0, -6.0, 4, 300, 0.5)(state(water, energy=-11.9)) is None


def test_relaxing_from_a_strained_start_is_no_temperature_runaway():
    still = TemperatureRunaway(300, 5.0, 24)
    relaxing = TemperatureRunaway(300, 5.0, 24, released=1.2)
    # All of the released energy as kinetic energy: dof/2 · k ΔT.
    assert relaxing.limit - still.limit == pytest.approx(1.2 / (12 * units.kB))
    assert TemperatureRunaway(300, 5.0, 24, released=-1.0).limit == still.limit
