"""Near-duplicates: what leaves a geometry the same, and what does not."""

from itertools import pairwise, product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from near_pairs import distance, groups_of, near_pairs, same_groups

from mace_core.train import duplicates
from mace_core.train.duplicates import THRESHOLD, NearDuplicates, seen_in


def rattled(atoms: Atoms, std: float, seed: int) -> Atoms:
    copy = atoms.copy()
    copy.positions += np.random.default_rng(seed).normal(0, std, copy.positions.shape)
    return copy


def linked(one: Atoms, other: Atoms) -> bool:
    return NearDuplicates([one, other]).among([0], [1]).tolist() == [True]


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
    assert len(set(NearDuplicates(frames).components(range(8)))) == 8


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
    assert not linked(molecule("H2O"), molecule("H2O")[:2])
    assert NearDuplicates([]).components([]).tolist() == []
    assert NearDuplicates([molecule("H2O")]).among([0], []).tolist() == [False]
    apart = Atoms("H2", [[0, 0, 0], [9, 0, 0]])
    assert linked(apart, Atoms("H2", [[0, 0, 0], [0, 12, 0]]))
    assert not linked(apart, Atoms("H2", [[0, 0, 0], [0, 2, 0]]))


BASES = {
    "ethanol": molecule("CH3CH2OH"),
    "water": molecule("H2O"),
    "dimer": molecule("O2"),
    "atom": Atoms("Ar"),
    "Cu1": bulk("Cu"),
    "Cu8": bulk("Cu", cubic=True) * (2, 1, 1),
    "NaCl": bulk("NaCl", "rocksalt", a=5.6, cubic=True),
}


@st.composite
def crowds(draw):
    """Frames around a few geometries, on both sides of the threshold, some of them in disguise."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    base = BASES[draw(st.sampled_from(sorted(BASES)))]
    std = draw(st.sampled_from([0.0, 0.003, 0.007, 0.01, 0.014, 0.02]))
    centres = [rattled(base, 0.05, seed) for seed in range(draw(st.integers(1, 4)))]
    frames = []
    for number in range(draw(st.integers(2, 40))):
        frame = rattled(centres[rng.integers(len(centres))], std, number)
        if base.pbc.any():
            frame.set_cell(frame.cell[:] * rng.normal(1, std / 20), scale_atoms=True)
        if number % 3 == 0:
            frame.rotate(rng.uniform(0, 360), rng.normal(size=3), rotate_cell=True)
        if number % 4 == 0:
            frame = frame[rng.permutation(len(frame))]
        if number % 5 == 0:
            frame.set_cell(-frame.cell[:])
            frame.positions *= -1
        frames.append(frame)
    return frames, rng


@settings(max_examples=40, deadline=None)
@given(
    crowd=crowds(),
    first=st.integers(1, 16),
    enough=st.integers(1, 4),
    together=st.sampled_from([1, 2**16]),
)
def test_the_answers_are_those_of_comparing_all_pairs(crowd, first, enough, together):
    frames, rng = crowd
    pairs = near_pairs(frames)
    order = rng.permutation(len(frames))
    some, others = order[: len(frames) // 2], order[len(frames) // 2 :]
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"_FIRST": first, "_ENOUGH": enough, "_TOGETHER": together, "_GROWTH": 2}
        for name, size in sizes.items():
            patch.setattr(duplicates, name, size)
        near = NearDuplicates(frames)
        among, groups = near.among(some, others), near.components(order)
        part = near.components(some)
    linked = np.zeros((len(frames),) * 2, dtype=bool)
    linked[tuple(pairs.T)] = True
    linked |= linked.T
    assert among.tolist() == linked[np.ix_(some, others)].any(axis=1).tolist()
    assert same_groups(groups, groups_of(linked[np.ix_(order, order)]))
    assert same_groups(part, groups_of(linked[np.ix_(some, some)]))


@pytest.mark.parametrize("name", ["ethanol", "Cu8"])
def test_chains_reach_as_far_as_each_step_is_below_the_threshold(name):
    """Frames along a line, all steps alike: a hair below the threshold, or a hair above it."""
    base, toward = BASES[name], np.random.default_rng(1).normal(size=(len(BASES[name]), 3))

    def chain(step: float) -> list[Atoms]:
        frames = []
        for k in range(8):
            frames.append(base.copy())
            frames[-1].positions += k * step * toward
        return frames

    low, high = 0.0, 0.05
    for _ in range(14):
        middle = (low + high) / 2
        steps = chain(middle)
        far = max(distance(a, b) for a, b in pairwise(steps))
        low, high = (middle, high) if far < THRESHOLD else (low, middle)
    frames = chain(low)
    assert len(set(NearDuplicates(frames).components(range(8)))) == 1
    assert len(near_pairs(frames)) < 8 * 7 / 2, "the ends should be apart"
    frames = chain(1.001 * high)
    assert len(set(NearDuplicates(frames).components(range(8)))) > 1


def test_a_frame_that_links_many_others_links_all_of_them(monkeypatch):
    """Eight geometries, each several times, that one frame links; a search finds one at a time."""
    for name in ("_FIRST", "_GROWTH", "_ENOUGH"):
        monkeypatch.setattr(duplicates, name, 1)

    def three_dimers(*longer: float) -> Atoms:
        positions = [[x, y, 0] for y, d in zip((0, 9, 18), longer, strict=True) for x in (0, 2 + d)]
        return Atoms("H2N2O2", positions)

    corners = [three_dimers(*longer) for longer in product((-0.06, 0.06), repeat=3)]
    assert len(set(NearDuplicates(corners).components(range(8)))) == 8
    for seed in range(30):
        rng = np.random.default_rng(seed)
        frames = [corner for corner in corners for _ in range(rng.integers(1, 12))]
        frames.insert(rng.integers(len(frames)), three_dimers(0, 0, 0))
        assert len(set(NearDuplicates(frames).components(range(len(frames))))) == 1


def compared(monkeypatch, frames: list[Atoms]) -> int:
    """Pairs that the tree proposes, for the links and the groups of all frames."""
    n, matched = [], duplicates._matched

    def counted(table, pairs, atoms, radius):
        n.append(len(pairs) if radius > THRESHOLD else 0)
        return matched(table, pairs, atoms, radius)

    monkeypatch.setattr(duplicates, "_matched", counted)
    NearDuplicates(frames).components(range(len(frames)))
    monkeypatch.undo()
    return sum(n)


@pytest.mark.parametrize("std", [0.0, 0.003, 0.01])
def test_frames_that_are_all_near_duplicates_cost_no_more_than_their_number(monkeypatch, std):
    counts = [
        compared(monkeypatch, [rattled(BASES["ethanol"], std, seed) for seed in range(n)])
        for n in (200, 800)
    ]
    assert np.log(counts[1] / counts[0]) / np.log(4) < 1.1


def test_unlike_frames_are_hardly_ever_compared(monkeypatch):
    frames = [rattled(BASES["ethanol"], 0.1, seed) for seed in range(1600)]
    assert compared(monkeypatch, frames[:400]) < 0.1 * 400
    assert compared(monkeypatch, frames) < 0.1 * 1600


def test_seen_in_is_what_all_pairs_say():
    rng = np.random.default_rng(0)
    base = [molecule("H2O"), molecule("NH3"), bulk("Cu", cubic=True), bulk("Cu") * (2, 1, 1)]
    base[3].pbc = [True, True, False]

    def some(n):
        frames = []
        for _ in range(n):
            atoms = base[rng.integers(4)].copy()
            atoms.positions += rng.normal(scale=0.08, size=(len(atoms), 3))
            frames.append(atoms)
        return frames

    frames, others = some(60), some(80)
    pairs = near_pairs(frames + others)
    expected = np.zeros(60, dtype=bool)
    expected[[i for i, j in pairs if i < 60 <= j]] = True
    assert 5 < expected.sum() < 55
    assert seen_in(frames, others).tolist() == expected.tolist()
    assert seen_in([], others).tolist() == []
    assert seen_in(frames[:2], []).tolist() == [False, False]
