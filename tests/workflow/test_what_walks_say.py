"""Campaigns whose walks do not do what was meant: what the loop says of them."""

import json

import ase.io
import pytest
from ase.build import bulk
from step_by_step import StepByStep

from mace_core.frames import read_frames


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("copper.xyz", bulk("Cu", a=3.61, cubic=True), format="extxyz")


def test_walks_that_stop_at_once_by_the_bound():
    campaign = StepByStep(
        "stop0",
        campaign={"max_generations": 2},
        seed={"n_frames": 10, "rattle_std": [0.05, 0.15]},
        train={"max_num_epochs": 30},
        explore={"walkers": 2, "temperatures": [300.0, 600.0], "steps": 50, "timestep": 2.0}
        | {"save_interval": 5, "max_force_error": 1.0},
        select={"max_frames": 4, "audit_frames": 3, "window": [0.5, 2000.0]},
        stop={"target_force_mae": 5.0, "stall_generations": 1, "min_audit_frames": 3},
    )
    campaign.start()
    result = campaign.generation(1)
    assert result["outcome"] == "stalled"
    assert result["selection"]["no_candidates"]["cause"] == "uncertain_at_start"
    assert "walks stopped at step" in result["reason"]
    assert "raise explore.max_force_error above" in result["reason"]
    assert "more seed frames (seed.n_frames)" in result["reason"]
    assert "hotter" not in result["reason"]
    assert result["walkers"]["median_share"] < 0.1


def test_walks_that_do_not_move():
    campaign = StepByStep(
        "ps",
        campaign={"max_generations": 1},
        seed={"n_frames": 14, "rattle_std": [0.01, 0.02]},
        train={"max_num_epochs": 30},
        explore={"walkers": 2, "temperatures": [900.0], "steps": 50, "timestep": 0.002}
        | {"save_interval": 5, "max_force_error": 1500.0},
        select={"max_frames": 4, "audit_frames": 6, "window": [1.0, 2000.0]},
        stop={"target_force_mae": 10, "streak": 1, "min_audit_frames": 6},
    )
    campaign.start()
    result = campaign.generation(1)
    assert 0 < result["walkers"]["max_displacement"] < 0.002  # at 900 K copper vibrates by 0.2 Å
    assert result["walkers"]["median_share"] == 1.0
    select = json.loads((campaign.layout.selected(1).parent / "select.json").read_text())
    assert select["no_candidates"]["cause"] == "did_not_move"
    assert "raise explore.timestep (0.002 fs)" in select["message"]
    audit = [a for a in read_frames(campaign.layout.selected(1)) if a.info["role"] == "audit"]
    assert len(audit) == 6
    assert all(atoms.info["displacement"] < 0.002 for atoms in audit)
