"""One walker's job: where it starts, what it writes, and that nothing is half-written."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from walk_fakes import Scripted

from mace_core.config.campaign import parse_config
from mace_core.errors import UserError
from mace_core.explore.deal import dealt_frame
from mace_core.explore.run import explore
from mace_core.explore.start import lowest_energy, start_frames
from mace_core.frames import canonical, frame_id, read_frames, write_frames


def config(**explore_section):
    return parse_config(
        {
            "campaign": {"name": "t", "seed": 7},
            "labeller": {"engine": "emt"},
            "seed": {"structures": ["x.xyz"]},
            "explore": {"steps": 20, "walkers": 4, "temperatures": [300, 500.5]} | explore_section,
        },
        where="test",
    )


@pytest.fixture
def train(tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(5):
        atoms = molecule("CH3CH2OH")
        atoms.positions += rng.normal(scale=0.02, size=(9, 3))
        atoms.info["REF_energy"] = float(rng.normal(scale=0.1))
        atoms.arrays["REF_forces"] = rng.normal(size=(9, 3))
        frames.append(canonical(atoms))
    write_frames(tmp_path / "train.extxyz", frames)
    return tmp_path / "train.extxyz"


def run(train, w, cfg=None, generation=2, calculator=None):
    out = train.parent / f"walker_{w}.extxyz"
    content = explore(
        cfg or config(), generation, "no committee", train, w, out, calculator or Scripted()
    )
    return content, out


def test_the_record_says_how_the_walk_ended(train, capsys):
    content, out = run(train, 1)
    assert content == json.loads(out.with_suffix(".json").read_text())
    ids = {f.info["frame_id"] for f in read_frames(train)}
    frames = read_frames(out)
    assert content["start_frame"] in ids
    assert {
        key: content[key]
        for key in (
            "walker", "group", "temperature", "end", "steps_done", "steps_asked", "time_fs",
            "last_good_step", "end_step", "n_frames", "max_uncertainty", "frames",
        )
    } == {
        "walker": 1, "group": "500.5K", "temperature": 500.5, "end": "completed", "steps_done": 20,
        "steps_asked": 20, "time_fs": 10.0, "last_good_step": 20, "end_step": 20,
        "n_frames": len(frames), "max_uncertainty": 0.1, "frames": str(out),
    }  # fmt: skip
    assert content["wall_seconds"] > 0 and content["mean_temperature"] > 0
    assert all(f.info["walker"] == 1 and f.info["group"] == "500.5K" for f in frames)
    assert "gen 2 · walker 1 · 500.5K · completed" in capsys.readouterr().out


def test_walkers_start_from_different_frames_and_temperatures_in_turn(train):
    records = [run(train, w)[0] for w in range(4)]
    assert len({r["start_frame"] for r in records}) == 4
    assert [r["temperature"] for r in records] == [300, 500.5, 300, 500.5]
    other = run(train, 0, generation=3)[0]
    assert [other["start_frame"], records[0]["start_frame"]]  # any two may coincide


def test_a_walk_follows_from_plan_and_models_alone(train):
    first = run(train, 2)[1].read_bytes()
    assert run(train, 2)[1].read_bytes() == first
    assert run(train, 2, generation=3)[1].read_bytes() != first


def test_a_walker_that_dies_leaves_nothing(train):
    def die(step, atoms):
        if step == 15:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(train, 0, calculator=Scripted(script=die))
    assert [p.name for p in train.parent.iterdir()] == ["train.extxyz"]


def test_no_such_walker(train):
    with pytest.raises(UserError, match="no walker 4"):
        run(train, 4)


def test_a_missing_committee_is_a_message(train, tmp_path):
    with pytest.raises(UserError, match="committee file not found"):
        explore(config(), 1, tmp_path / "none.json", train, 0, tmp_path / "walker_0.extxyz")


def test_starts_are_frames_that_md_can_start_from():
    atom = Atoms("H", info={"config_type": "IsolatedAtom"})
    clash = Atoms("CH", positions=[[0, 0, 0], [0, 0, 0.4]])
    labelled = molecule("CH4")
    labelled.info |= {"REF_energy": 1.0, "charge": 1, "spin": 1}
    crystal = bulk("Cu", cubic=True)
    frames = [atom, clash, labelled, crystal, labelled, bulk("Cu")]
    starts = start_frames(frames, 0.6, 300)
    assert list(starts) == ["CH4 charge 1 spin 1", "Cu"]
    (ion,), (copper,) = starts.values()
    assert set(ion.info) == {"charge", "spin", "frame_id"}
    assert ion.info["charge"] == 1
    assert copper.pbc.all() and copper.info["frame_id"] == frame_id(crystal)
    with pytest.raises(UserError, match="no training frame to start"):
        start_frames([atom, clash], 0.6, 300)


def alike(n):
    """Frames of one stratum."""
    frames = []
    for k in range(n):
        atoms = molecule("CH4")
        atoms.positions[0, 2] += 0.01 * k
        frames.append(atoms)
    return start_frames(frames, 0.6, 300)["CH4"]


def test_more_walkers_than_frames_share_them_evenly():
    frames = alike(3)
    starts = [dealt_frame(frames, ["CH4"] * 6, w, 0, 1).info["frame_id"] for w in range(6)]
    assert sorted(starts) == sorted([f.info["frame_id"] for f in frames] * 2)


def test_every_training_frame_can_be_a_start():
    frames = alike(4)
    firsts = [dealt_frame(frames, ["CH4"], 0, seed, 1).info["frame_id"] for seed in range(400)]
    counts = [firsts.count(f.info["frame_id"]) for f in frames]
    assert sum(counts) == 400
    # Each is binomial(400, 1/4): five standard deviations are 43.
    assert all(abs(count - 100) < 43 for count in counts)


def test_lowest_energy_is_that_of_the_same_atoms():
    def labelled(name, energy, charge=0):
        atoms = molecule(name)
        atoms.info |= {"REF_energy": energy, "charge": charge}
        return atoms

    training = [
        labelled("CH4", -1),
        labelled("CH4", -3),
        labelled("CH4", -9, 1),
        labelled("NH3", -7),
    ]
    assert lowest_energy(training, molecule("CH4")) == -3
    assert lowest_energy(training, molecule("H2O")) is None


def test_walks_start_near_the_lowest_known_energy_of_the_same_atoms():
    def frame(x, energy, name="H2O", stratum="water"):
        atoms = molecule(name)
        atoms.positions[0, 2] += x
        atoms.info |= {"REF_energy": energy, "stratum": stratum}
        return atoms

    def first_z(frames):
        return [atoms.positions[0, 2] for atoms in frames]

    thermal = 9 * units.kB * 300  # 3 N kT of three atoms
    low, warm, hot = (
        frame(0, -10),
        frame(0.01, -10 + 0.9 * thermal),
        frame(0.02, -10 + 1.1 * thermal),
    )
    other = frame(0, 5.0, "NH3")  # other atoms have an energy scale of their own
    isomer = frame(0.03, -10 + 9 * thermal, stratum="isomer")  # and so has another stratum
    hot_isomer = frame(0.04, -10 + 10.1 * thermal, stratum="isomer")
    starts = start_frames([hot, warm, other, low, hot_isomer, isomer], 0.6, 300)
    assert first_z(starts["water"]) == pytest.approx(first_z([warm, other, low]), abs=1e-6)
    assert first_z(starts["isomer"]) == pytest.approx(first_z([isomer]), abs=1e-6)


def test_no_walk_starts_where_molecules_have_evaporated():
    water = molecule("H2O")

    def dimer(distance, energy):
        other = water.copy()
        other.positions += (distance, 0, 0)
        atoms = water + other
        atoms.info = {"REF_energy": energy, "stratum": "dimer"}
        return atoms

    near, parted = dimer(3.0, -2.0), dimer(12.0, -2.1)
    starts = start_frames([parted, near], 0.6, 300, r_max=5.0)["dimer"]
    assert [atoms.get_distance(0, 3) for atoms in starts] == [pytest.approx(3.0)]
    assert len(start_frames([parted], 0.6, 300, r_max=5.0)["dimer"]) == 1
