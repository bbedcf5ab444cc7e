"""How far a walk has gone, and where its molecules part."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from walk_fakes import Scripted, explore_settings

from mace_core.config.campaign import parse_config
from mace_core.conventions import DISCARDED_ENDS, UNSTABLE_ENDS, WalkerEnd
from mace_core.explore.checks import Evaporation, State
from mace_core.explore.displacement import displacement
from mace_core.explore.pieces import Linked, bonded_pieces, clusters
from mace_core.explore.run import explore
from mace_core.explore.walk import walk
from mace_core.frames import canonical, write_frames


def waters(*places, cell=None, pbc=False):
    """Water molecules with their oxygens at these places, Å."""
    atoms = Atoms()
    for place in places:
        one = molecule("H2O")
        one.positions += np.array(place) - one.positions[0]
        atoms += one
    atoms.cell = cell
    atoms.pbc = pbc
    return atoms


def state(atoms, step=1):
    n = len(atoms)
    return State(step, atoms, 0.0, np.zeros((n, 3)), np.zeros(n), 0.0, 300.0, 2.0)


class Bound(Calculator):
    """Springs within each molecule of ``size`` atoms, and one molecule pushed off the others."""

    implemented_properties = ("energy", "forces", "forces_std", "uncertainty")

    def __init__(self, size: int, push: float):
        super().__init__()
        self.size, self.push = size, push
        self.shape = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = atoms.positions.reshape(-1, self.size, 3)
        x = x - x.mean(axis=1, keepdims=True)
        self.shape = x.copy() if self.shape is None else self.shape
        forces = -20.0 * (x - self.shape)
        forces[-1, :, 2] += self.push / self.size
        forces[:-1, :, 2] -= self.push / self.size / (len(x) - 1)
        energy = 10.0 * float(((x - self.shape) ** 2).sum())
        self.results = {
            "energy": energy,
            "forces": forces.reshape(-1, 3),
            "forces_std": np.full(len(atoms), 0.01),
            "uncertainty": 0.02,
        }


@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), shift=st.floats(-50, 50))
@settings(max_examples=60, deadline=None)
def test_the_motion_of_the_whole_is_no_displacement(seed, n, shift):
    rng = np.random.default_rng(seed)
    start = rng.normal(scale=2, size=(n, 3))
    turned = start @ Rotation.random(rng=rng).as_matrix() + shift
    assert displacement(start, turned, periodic=False) == pytest.approx(0, abs=1e-6)
    assert displacement(start, start + shift, periodic=True) == pytest.approx(0, abs=1e-6)
    # Nothing that moves the whole brings a distorted frame nearer to its start.
    distorted = start + rng.normal(scale=0.3, size=(n, 3))
    found = displacement(start, distorted, periodic=False)
    for _ in range(20):
        other = distorted @ Rotation.random(rng=rng).as_matrix()
        other += (start - other).mean(axis=0)
        assert found <= np.sqrt(((other - start) ** 2).sum(axis=1).mean()) + 1e-9
    assert displacement(start, distorted @ Rotation.random(rng=rng).as_matrix(), False) == (
        pytest.approx(found, abs=1e-6)
    )


def test_a_mirror_image_is_no_rotation():
    start = molecule("CH3CH2OH").positions + np.random.default_rng(0).normal(0, 0.1, (9, 3))
    assert displacement(start, start * [1, 1, -1], periodic=False) > 0.1
    crystal = bulk("Cu", cubic=True).positions
    quarter = crystal @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert displacement(crystal, quarter, periodic=True) > 1  # a lattice does not turn


def test_one_atom_that_moves():
    start = np.array([[0.0, 0, 0], [4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]])
    now = start.copy()
    now[0, 0] += 0.4
    # Less its mean 0.1: 0.3 once, −0.1 three times.
    assert displacement(start, now, periodic=True) == pytest.approx(np.sqrt(0.12 / 4))


def test_every_kept_frame_says_how_far_it_is_from_the_start(tmp_path):
    start = canonical(molecule("CH4"))
    result = walk(
        start, Scripted(), explore_settings(steps=25), 300.0, np.random.default_rng(0), r_max=5.0
    )
    for frame in result.frames:
        expected = displacement(start.positions, frame.positions, periodic=False)
        assert frame.info["displacement"] == pytest.approx(expected, abs=1e-5)
        assert 0 < frame.info["displacement"] < 1
    assert result.max_displacement == max(f.info["displacement"] for f in result.frames)


def test_a_drift_through_the_cell_is_no_displacement():
    def drift(step, atoms):  # an ideal flow: every atom by 0.4 Å at each step
        atoms.positions += 0.4
        return {"forces": np.zeros((4, 3))}

    crystal = canonical(bulk("Cu", cubic=True))
    crystal.pbc = True
    result = walk(
        crystal, Scripted(script=drift), explore_settings(), 1.0, np.random.default_rng(0)
    )
    assert np.linalg.norm(result.frames[-1].positions - crystal.positions, axis=1).min() > 10
    assert result.max_displacement < 0.05


def test_a_walk_that_stops_where_it_stands_went_nowhere():
    result = walk(
        canonical(molecule("CH4")),
        Scripted(uncertainty=2.0),
        explore_settings(),
        300.0,
        np.random.default_rng(0),
    )
    assert result.end_step == 0 and result.max_displacement == pytest.approx(0, abs=1e-9)


def test_the_frame_of_a_runaway_is_no_distance_walked():
    def explode(step, atoms):
        if step == 15:
            atoms.positions[0] += 50
        return {}

    result = walk(
        canonical(molecule("CH4")),
        Scripted(script=explode),
        explore_settings(max_energy_change=1.0),
        300.0,
        np.random.default_rng(0),
    )
    assert result.end in UNSTABLE_ENDS
    assert result.frames[-1].info["displacement"] > 10 > result.max_displacement


def test_clusters_of_pieces():
    assert clusters(molecule("H2O"), 5.0) == 1
    assert clusters(waters([0, 0, 0], [0, 0, 3]), 5.0) == 1
    assert clusters(waters([0, 0, 0], [0, 0, 9]), 5.0) == 2
    assert clusters(waters([0, 0, 0], [0, 0, 9], [0, 0, 4.5]), 5.0) == 1  # linked by the third
    # A bond longer than the cutoff is a bond all the same.
    assert clusters(Atoms("Cs2", positions=[[0, 0, 0], [0, 0, 5.0]]), 4.0) == 1
    # Linked through the boundary.
    cell = [12, 12, 12]
    assert clusters(waters([0, 0, 1], [0, 0, 11], cell=cell, pbc=True), 5.0) == 1
    assert clusters(waters([0, 0, 1], [0, 0, 11], cell=cell), 5.0) == 2
    assert clusters(fcc111("Cu", (2, 2, 2), vacuum=8), 5.0) == 1
    assert bonded_pieces(waters([0, 0, 0], [0, 0, 3])).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_dimer_that_evaporates_ends_the_walk():
    start = canonical(waters([0, 0, 0], [0, 0, 3.0]))
    result = walk(
        start,
        Bound(3, 0.5),
        explore_settings(steps=2000, fragment_factor=2.0, min_distance_factor=0.5),
        1.0,
        np.random.default_rng(0),
        r_max=5.0,
    )
    assert result.end == WalkerEnd.EVAPORATED == "evaporated"
    end, good = result.frames[-1], result.frames[-2]
    assert end.info["walker_end"] == "evaporated" and good.info["last_good"]
    assert good.info["md_step"] == end.info["md_step"] - 1

    def gap(frame):
        return frame.get_all_distances()[:3, 3:].min()

    assert gap(good) <= 5.0 < gap(end)
    assert result.reason == (
        f"H2O (atom 0 …) parted from the rest by more than r_max 5 Å at step {result.end_step}"
    )
    assert 10 > result.max_displacement >= good.info["displacement"]
    # A longer cutoff sees them longer; without one they never part.
    further = walk(
        start, Bound(3, 0.5), explore_settings(steps=2000), 1.0, np.random.default_rng(0), r_max=7.0
    )
    assert further.end == "evaporated" and further.end_step > result.end_step


def test_a_dimer_in_a_periodic_box_evaporates_too():
    start = canonical(waters([0, 0, 0], [0, 0, 3.0], cell=[30, 30, 30], pbc=True))
    result = walk(
        start, Bound(3, 0.5), explore_settings(steps=2000), 1.0, np.random.default_rng(0), r_max=5.0
    )
    assert result.end == WalkerEnd.EVAPORATED


def test_a_walk_of_molecules_that_were_apart_goes_on():
    start = canonical(waters([0, 0, 0], [0, 0, 9.0]))
    result = walk(
        start, Bound(3, 0.5), explore_settings(steps=400), 1.0, np.random.default_rng(0), r_max=5.0
    )
    assert result.end == WalkerEnd.COMPLETED


def test_two_that_leave_together_have_parted_and_a_bridge_holds():
    start = waters(*([0, 0, 4 * k] for k in range(4)))
    check = Evaporation(start, 2.0, 5.0)
    assert check(state(start)) is None
    apart = start.copy()
    apart.positions[6:, 2] += 3
    assert check(state(apart)).startswith("H4O2 (atom ")
    bridged = apart.copy()  # the first molecule steps into the gap
    bridged.positions[:3, 2] += 7.5
    bridged.positions[:3, 0] += 2
    assert check(state(bridged)) is None


def test_what_leaves_a_surface_has_parted():
    slab = fcc111("Cu", (2, 2, 3), vacuum=14)
    slab.pbc = [True, True, False]
    slab += waters(slab.positions[-1] + [0, 0, 2.6])
    check = Evaporation(slab, 2.0, 5.0)
    assert bonded_pieces(slab).max() == 1 and check(state(slab)) is None
    slab.positions[12:, 2] += 4
    assert "H2O" in check(state(slab))


def test_one_piece_is_never_searched(monkeypatch):
    check = Evaporation(molecule("CH3CH2OH"), 2.0, 5.0)
    monkeypatch.setattr("mace_core.explore.pieces.distances_of", None)
    assert check(state(molecule("CH3CH2OH"))) is None


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_steps_that_are_not_looked_at_are_those_where_nothing_can_have_parted(seed):
    """Against a check that looks anew at every step."""
    rng = np.random.default_rng(seed)
    start = waters(*(3.5 * np.array(np.unravel_index(k, (2, 2, 2))) for k in range(6)))
    check, searched = Evaporation(start, 2.0, 5.0), 0
    now = start.copy()
    velocity = np.repeat(rng.normal(scale=0.06, size=(6, 3)), 3, axis=0)
    for step in range(120):
        now.positions += velocity
        if not check.linked.cannot_have_parted(now):
            searched += 1
        plain = Linked(bonded_pieces(start), 5.0)(now).max() > 0
        ended = check(state(now, step)) is not None
        assert ended == plain
        if ended:
            break
    assert searched < step + 1


def test_the_job_takes_the_models_cutoff_and_writes_both(tmp_path):
    write_frames(tmp_path / "train.extxyz", [waters([0, 0, 0], [0, 0, 3.0])])
    ends = {}
    for r_max in (4.0, 6.0):
        config = parse_config(
            {
                "campaign": {"name": "t", "seed": 7},
                "labeller": {"engine": "emt"},
                "seed": {"structures": ["x.xyz"]},
                "model": {"r_max": r_max},
                "explore": {"steps": 2000, "walkers": 1, "max_temperature_factor": 99.0},
            },
            where="test",
        )
        out = tmp_path / "walker_0.extxyz"
        ends[r_max] = explore(config, 1, "none", tmp_path / "train.extxyz", 0, out, Bound(3, 0.5))
        assert ends[r_max]["end"] == "evaporated" and "r_max" in ends[r_max]["reason"]
        assert ends[r_max]["max_displacement"] > 0
    assert ends[4.0]["end_step"] < ends[6.0]["end_step"]


def test_to_evaporate_is_no_error_of_the_potential():
    assert {WalkerEnd.EVAPORATED} == DISCARDED_ENDS - UNSTABLE_ENDS
