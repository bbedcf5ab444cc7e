"""Walkers are dealt out over strata and temperatures; each starts in its own stratum."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from walk_fakes import Scripted

from mace_core.config.campaign import parse_config
from mace_core.errors import UserError
from mace_core.explore.deal import dealt_strata, dealt_stratum
from mace_core.explore.run import explore
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.storage import read_json


@settings(max_examples=200, deadline=None)
@given(n_walkers=st.integers(1, 20), nT=st.integers(1, 5), n_strata=st.integers(1, 12))
def test_every_pair_of_stratum_and_temperature_is_visited_equally_often(n_walkers, nT, n_strata):
    names = [f"s{k:02d}" for k in range(n_strata)]
    visits = Counter()
    for g in range(1, n_strata + 1):
        walked = Counter()
        for w in range(n_walkers):
            stratum = dealt_stratum(w, n_walkers, nT, names, g)
            visits[stratum, w % nT] += 1
            walked[stratum, w % nT] += 1
        for t in range(nT):  # as evenly as can be within a generation, too
            counts = [walked[name, t] for name in names]
            assert max(counts) - min(counts) <= 1
    for t in range(nT):
        walkers = len(range(t, n_walkers, nT))
        assert {visits[name, t] for name in names} == {walkers}


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 3), nT=st.integers(1, 4), n_strata=st.integers(1, 6), g=st.integers(1, 9))
def test_with_walkers_enough_all_pairs_are_visited_in_each_generation(k, nT, n_strata, g):
    names = [f"s{n}" for n in range(n_strata)]
    n = k * n_strata * nT
    pairs = Counter((dealt_stratum(w, n, nT, names, g), w % nT) for w in range(n))
    assert set(pairs.values()) == {k} and len(pairs) == n_strata * nT


def test_two_temperatures_do_not_start_in_the_same_stratum():
    starts = {"a": [0], "b": [0], "c": [0]}
    assert dealt_strata(starts, 2, 2, [], 1) == ["a", "b"]
    assert dealt_strata(starts, 2, 2, ["c", "x"], 2) == ["b", "c", "c", "x"]


def config(**section):
    return parse_config(
        {
            "campaign": {"name": "t", "seed": 1},
            "labeller": {"engine": "emt"},
            "seed": {"structures": ["x.xyz"]},
            "explore": {"steps": 20, "save_interval": 5, "walkers": 8} | section,
        },
        where="test",
    )


def copies(atoms, n, energy, **info):
    rng = np.random.default_rng(len(atoms))
    frames = []
    for _ in range(n):
        frame = atoms.copy()
        frame.positions += rng.normal(scale=0.03, size=frame.positions.shape)
        frame.info |= {"REF_energy": energy + float(rng.uniform(0, 0.1)), **info}
        frames.append(canonical(frame))
    return frames


HCN = Atoms("HCN", positions=[[0, 0, 0], [0, 0, 1.07], [0, 0, 2.22]])
HNC = Atoms("HNC", positions=[[0, 0, 0], [0, 0, 1.0], [0, 0, 2.17]])


@pytest.fixture
def isomers(tmp_path):
    """11 training frames of HNC, 0.87 eV above 10 of HCN: 3 N kT is 0.23 eV at 300 K."""
    frames = copies(HCN, 10, -100.0, stratum="hcn.xyz")
    frames += copies(HNC, 11, -99.13, stratum="hnc.xyz")
    write_frames(tmp_path / "train.extxyz", frames)
    return tmp_path / "train.extxyz"


def walks(train, cfg, n, generation=1, **options):
    out = []
    for w in range(n):
        path = train.parent / f"walker_{w}.extxyz"
        explore(cfg, generation, "none", train, w, path, Scripted(), **options)
        out.append((read_json(path.with_suffix(".json")), read_frames(path)))
    return out


def test_four_of_eight_walkers_start_in_the_isomer_of_higher_energy(isomers, capsys):
    stratum_of = {f.info["frame_id"]: f.info["stratum"] for f in read_frames(isomers)}
    found = walks(isomers, config(), 8)
    assert Counter(record["stratum"] for record, _ in found) == {"hcn.xyz": 4, "hnc.xyz": 4}
    for record, frames in found:
        assert stratum_of[record["start_frame"]] == record["stratum"]
        assert frames and {f.info["stratum"] for f in frames} == {record["stratum"]}
        assert record["exam"] is False and not any("exam" in f.info for f in frames)
    assert len({record["start_frame"] for record, _ in found}) == 8
    assert "gen 1 · walker 0 · 300K · hcn.xyz · completed" in capsys.readouterr().out


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_two_molecules_share_four_walkers_at_both_temperatures(tmp_path, generation):
    train = tmp_path / "train.extxyz"
    frames = copies(molecule("CH3CONH2"), 3, -50, stratum="amide.xyz")
    write_frames(train, frames + copies(molecule("CH3COOH"), 3, -60, stratum="acid.xyz"))
    cfg = config(walkers=4, temperatures=[300, 600])
    found = Counter((r["stratum"], r["group"]) for r, _ in walks(train, cfg, 4, generation))
    pairs = [(s, t) for s in ("amide.xyz", "acid.xyz") for t in ("300K", "600K")]
    assert found == dict.fromkeys(pairs, 1)


def test_frames_that_do_not_say_their_stratum_have_it_by_composition(tmp_path):
    """A campaign of an earlier version goes on: one stratum a composition."""
    frames = copies(HCN, 2, -100.0) + copies(molecule("H2O"), 2, -50.0)
    write_frames(tmp_path / "train.extxyz", frames)
    records = [record for record, _ in walks(tmp_path / "train.extxyz", config(walkers=4), 4)]
    assert [record["stratum"] for record in records] == ["CHN", "H2O"] * 2


EXAM = {"strata": ["gone.cif", "hcn.xyz", "hnc.xyz"], "steps": 100, "frames": 4}


def test_the_final_exam_is_one_long_hot_walk_in_each_stratum(isomers, capsys):
    cfg = config(walkers=2, temperatures=[300, 500, 400])
    found = walks(isomers, cfg, 5, exam=EXAM)
    assert [record["exam"] for record, _ in found] == [False] * 2 + [True] * 3
    for (record, frames), stratum in zip(found[3:], EXAM["strata"][1:], strict=True):
        assert (record["stratum"], record["group"]) == (stratum, "500K")
        assert (record["steps_done"], record["steps_asked"], record["time_fs"]) == (100, 100, 50.0)
        assert [f.info["md_step"] for f in frames] == list(range(5, 101, 5))
        assert all(f.info["exam"] is True and f.info["stratum"] == stratum for f in frames)
    starts = [record["start_frame"] for record, _ in found if record["start_frame"]]
    assert len(set(starts)) == 4  # others than the other walkers of the stratum have
    assert "· hcn.xyz · final exam · completed" in capsys.readouterr().out


def test_a_stratum_without_a_frame_to_start_from_is_said_and_the_rest_goes_on(isomers, capsys):
    record, frames = walks(isomers, config(walkers=2), 3, exam=EXAM)[2]
    assert (record["stratum"], record["end"], frames) == ("gone.cif", "not_started", [])
    assert record["reason"] == "no labelled frame of gone.cif to start from"
    assert (record["steps_done"], record["steps_asked"], record["n_frames"]) == (0, 100, 0)
    assert record["start_frame"] is record["max_uncertainty"] is None
    assert "not_started: no labelled frame of gone.cif" in capsys.readouterr().out


def test_a_stratum_whose_only_frame_is_held_out_starts_there(isomers, tmp_path):
    """Five structures without copies: one of them is all that is held out."""
    (water,) = copies(molecule("H2O"), 1, -50.0, stratum="water.xyz")
    held = [water, *copies(HCN, 1, -100.0, stratum="hcn.xyz")]
    write_frames(tmp_path / "valid.extxyz", held)
    found = walks(isomers, config(walkers=6), 6, valid=tmp_path / "valid.extxyz")
    records = [record for record, _ in found]
    assert Counter(r["stratum"] for r in records) == dict.fromkeys(
        ["hcn.xyz", "hnc.xyz", "water.xyz"], 2
    )
    trained = {f.info["frame_id"] for f in read_frames(isomers)}
    for record in records:  # from training frames wherever there are some
        at_home = record["stratum"] == "water.xyz"
        assert (record["start_frame"] in trained) != at_home
        assert not at_home or record["start_frame"] == water.info["frame_id"]


def test_walkers_beyond_the_plans_are_refused(isomers):
    with pytest.raises(UserError, match=r"no walker 5: explore.walkers is 2, and the final exam"):
        explore(config(walkers=2), 1, "none", isomers, 5, isomers.parent / "w", exam=EXAM)
    with pytest.raises(UserError, match=r"no walker 2: explore.walkers is 2\n"):
        explore(config(walkers=2), 1, "none", isomers, 2, isomers.parent / "w")
