"""What assess.json keeps of each audit frame, and of each walk."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from mace_core.assess.rows import rows
from mace_core.assess.walks import walks
from mace_core.frames import write_frames
from mace_core.storage import write_json


def scored(md_step=None, **info):
    atoms = molecule("H2O")  # O, H, H
    atoms.arrays["REF_forces"] = np.zeros((3, 3))
    atoms.arrays["MACE_forces"] = np.array([[0.3, 0, 0], [0, -0.6, 0], [0, 0, 0]])
    atoms.arrays["MACE_forces_std"] = np.array([0.1, 0.2, 0.6])
    atoms.info |= {"REF_energy": -10.0, "MACE_energy": -10.6, "frame_id": "f", **info}
    if md_step is not None:
        atoms.info["md_step"] = md_step
    return atoms


def test_a_row_has_errors_and_spreads_of_all_atoms_and_of_each_element():
    where = {"stratum": "water.xyz", "group": "300K", "walker": 3, "displacement": 0.4}
    (row,) = rows([scored(md_step=250, exam=True, **where)], generation=2, steps=100)
    expected = {"frame_id": "f", "generation": 2, "exam": True, "segment": 2, "stress_mae": None}
    assert row | where | expected == row
    assert row["force_mae"] == pytest.approx(0.1)
    assert row["spread"] == pytest.approx(0.3)
    assert row["by_element"]["O"] == {"n": 1, "force_mae": pytest.approx(0.1), "spread": 0.1}
    assert row["by_element"]["H"] == {
        "n": 2,
        "force_mae": pytest.approx(0.1),
        "spread": pytest.approx(0.4),
    }
    assert row["energy_error"] == pytest.approx(-0.2)  # per atom, with its sign


def test_a_long_walk_is_cut_into_pieces_of_an_ordinary_one():
    found = rows([scored(md_step=step) for step in (1, 100, 101, 200, 1000)], 1, steps=100)
    assert [row["segment"] for row in found] == [0, 0, 1, 1, 9]
    assert rows([scored(md_step=1000)], 1)[0]["segment"] == 0


def test_what_is_missing_is_none_and_no_zero():
    bare = molecule("H2O")
    bare.arrays["REF_forces"] = bare.arrays["MACE_forces"] = np.zeros((3, 3))
    unlabelled = molecule("H2O")
    unlabelled.info["REF_energy"] = -1.0
    (row,) = rows([bare, unlabelled])
    for key in ("generation", "group", "walker", "displacement", "spread", "energy_error"):
        assert row[key] is None
    assert row["stress_mae"] is None and row["exam"] is False
    assert row["by_element"]["O"]["spread"] is None
    assert row["stratum"] == "H2O"  # of frames that do not say


def test_stress_in_either_form():
    voigt = Atoms("Cu", cell=[2.5] * 3, pbc=True)
    voigt.arrays["REF_forces"] = voigt.arrays["MACE_forces"] = np.zeros((1, 3))
    voigt.info["REF_stress"] = np.arange(6.0)
    voigt.info["MACE_stress"] = np.arange(6.0) + 0.02
    full = voigt.copy()
    full.info["REF_stress"] = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2.0]])
    assert [row["stress_mae"] for row in rows([voigt, full])] == [pytest.approx(0.02)] * 2


def walker(folder, w, frames, **told):
    path = folder / f"walker_{w}.extxyz"
    write_frames(path, frames)
    told = {"walker": w, "group": "300K", "end": "completed", "steps_done": 30} | told
    write_json(path.with_suffix(".json"), told | {"steps_asked": 30})
    return path


def visited(step, spread, **info):
    atoms = scored(md_step=step, stratum="water.xyz", **info)
    atoms.arrays["MACE_forces_std"] = np.array([spread, 2 * spread, 3 * spread])
    return atoms


def test_a_walks_spread_is_that_of_the_frames_an_audit_may_be_drawn_from(tmp_path):
    frames = [
        visited(0, 9.0),  # where it began
        visited(10, 0.1),
        visited(15, 9.0, last_good=True),  # kept for another reason
        visited(20, 0.3),
        visited(30, 9.0, walker_end="close_contact"),  # what a check refused
    ]
    path = walker(tmp_path, 0, frames, end="close_contact", stratum="said", exam=True)
    (row,) = walks([path], 4, save_interval=10)
    assert row["n_frames"] == 2
    assert row["spread"]["all"] == pytest.approx(0.4)
    assert row["spread"]["O"] == pytest.approx(0.2)
    assert row["spread"]["H"] == pytest.approx(0.5)
    expected = {"generation": 4, "walker": 0, "stratum": "said", "exam": True, "steps_done": 30}
    assert row | expected | {"end": "close_contact", "steps_asked": 30} == row
    # A walk that was only stopped keeps its last frame.
    frames[-1].info["walker_end"] = "uncertain"
    path = walker(tmp_path, 1, frames, end="uncertain")
    assert walks([path], 4, save_interval=10)[0]["n_frames"] == 3


def test_a_walk_of_an_earlier_version_and_one_that_kept_no_frame(tmp_path):
    paths = [walker(tmp_path, 0, [visited(10, 0.1)]), walker(tmp_path, 1, [], end="not_started")]
    first, second = walks(paths, 1, save_interval=10)
    assert (first["stratum"], first["exam"]) == ("water.xyz", False)
    assert (second["stratum"], second["n_frames"], second["spread"]) == (None, 0, None)
