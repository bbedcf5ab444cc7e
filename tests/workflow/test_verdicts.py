"""Small campaigns whose audited error is far below the target: what else CONVERGED asks for."""

import json
import os
from pathlib import Path

import ase.io
import pytest
from ase import Atoms
from ase.build import bulk
from step_by_step import StepByStep
from two_states import digest

from mace_core.assess.decide import decide
from mace_core.frames import read_frames

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labellers = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(labellers))
    ase.io.write("copper.xyz", bulk("Cu", a=3.61, cubic=True), format="extxyz")


def campaign(name, **values) -> StepByStep:
    """A target that the potential is sure to pass, no final exam; ``values`` are laid over."""
    settings = {
        "campaign": {"max_generations": 4},
        "seed": {"n_frames": 16, "rattle_std": [0.04, 0.08]},
        "train": {"max_num_epochs": 30},
        "explore": {"walkers": 2, "temperatures": [300.0], "steps": 60, "timestep": 3.0}
        | {"save_interval": 5, "max_force_error": 5e4},
        "select": {"max_frames": 2, "audit_frames": 8, "window": [1.0, 1e5]},
        "stop": {"target_force_mae": 500, "streak": 1, "min_audit_frames": 4}
        | {"target_energy_mae": 500, "target_stress_mae": 500, "exam_length": 0},
    }
    for section, keys in values.items():
        settings[section] = settings.get(section, {}) | keys
    return StepByStep(name, **settings)


def failed(result) -> dict[str, str]:
    """Messages of the checks that are in the way of CONVERGED."""
    checks = [check for check in result["checks"] if check["kind"] == "convergence"]
    assert result["outcome"] != "converged" or all(check["passed"] for check in checks)
    return {check["name"]: check["message"] for check in checks if not check["passed"]}


def of_strata(rows) -> set[str]:
    return {row["stratum"] for row in rows}


def test_labels_that_fail_where_frames_are_hard():
    run = campaign(
        "censored",
        labeller={
            "engine": "ase",
            "calculator": "odd_labels:CloseAtoms",
            "kwargs": {"distance": 2.35},
        },
        seed={"n_frames": 20, "rattle_std": [0.03]},
        explore={"temperatures": [900.0], "steps": 100},
        select={"max_frames": 0, "audit_frames": 12},
    )
    assert run.start()["outcome"] == "continue"
    result = run.generation(1)
    lost = result["lost_audit"]["unconverged"]
    assert 2 <= lost <= 10 and result["audit"]["n_frames"] == 12 - lost
    assert result["outcome"] == "continue" and set(failed(result)) == {"audit_complete"}
    assert (
        f"{12 - lost} of 12 audit frames have a label that counts, 90% asked ({lost} unconverged): "
        "those that are missing may be the hardest" in result["reason"]
    )


def test_walks_that_do_not_move():
    run = campaign("still", explore={"temperatures": [900.0], "timestep": 0.002})
    run.start()
    result = run.generation(1)
    assert result["outcome"] != "converged" and set(failed(result)) == {"moved"}
    assert "see explore.timestep and explore.steps" in result["reason"]


def test_two_volumes_of_one_crystal_are_both_walked_and_audited():
    """0.2 eV per atom apart: more than 3 kT at 300 K (0.08 eV)."""
    ase.io.write("pressed.xyz", bulk("Cu", a=3.35, cubic=True), format="extxyz")
    run = campaign(
        "volumes",
        seed={"structures": ["copper.xyz", "pressed.xyz"]},
        # One walk and one audit frame in a generation: the two take turns.
        explore={"walkers": 1},
        select={"audit_frames": 3},
        stop={"min_audit_frames": 2},
    )
    run.start()
    seeds = [a for a in read_frames(run.layout.selected(0)) if a.info["role"] == "seed"]
    assert [a.info["stratum"] for a in seeds].count("pressed.xyz") >= 8
    first = run.generation(1)
    (walked,) = of_strata(first["walks"])
    assert of_strata(first["audit_frames"]) == {walked}
    (other,) = {"copper.xyz", "pressed.xyz"} - {walked}
    assert first["outcome"] == "continue" and set(failed(first)) == {"strata_measured"}
    said = f"no audit frame of its own in the last 1 generations: {other}; 2 strata take turns"
    assert said in first["reason"]

    second = run.generation(2)
    assert of_strata(second["walks"]) == of_strata(second["audit_frames"]) == {other}
    # Each is measured within two generations, which is what a streak of two asks for.
    stop = run.config.stop.model_copy(update={"streak": 2})
    history = [json.loads(run.layout.assess(g).read_text()) for g in range(3)]
    found = decide(history, run.config.model_copy(update={"stop": stop}))
    assert found.outcome == "converged"
    measured = next(check for check in found.checks if check.name == "strata_measured")
    assert measured.message == "2 strata, 3 audit frames each"


def test_every_composition_of_an_alloy_has_to_be_right_in_its_energies_too():
    cell = Atoms("Cu2Au2", cell=[3.96, 3.96, 3.67], pbc=True)
    cell.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    ase.io.write("CuAu.xyz", cell, format="extxyz")
    gold, copper = ("Cu", "Au"), ("Au", "Cu")
    run = campaign(
        "alloy",
        labeller={
            "engine": "ase",
            "calculator": "odd_labels:NoisyEnergies",
            "kwargs": {"formula": "Au3Cu5", "noise": 0.045},
        },
        seed={
            "structures": ["CuAu.xyz"],
            "supercell": [2, 1, 1],
            "substitutions": [
                {"element": element, "by": by, "fraction": 0.1} for element, by in (gold, copper)
            ],
        },
        explore={"walkers": 3},
        select={"audit_frames": 12},
        stop={"target_energy_mae": 30},
    )
    run.start()
    result = run.generation(1)
    odd = "Au3Cu5 from CuAu.xyz (2×1×1)"
    strata = {"CuAu.xyz (2×1×1)", "Au5Cu3 from CuAu.xyz (2×1×1)", odd}
    assert set(result["dataset"]["strata"]) == set(result["strata"]) == strata
    assert min(told["labels"] for told in result["dataset"]["strata"].values()) >= 5
    assert of_strata(result["walks"]) == of_strata(result["audit_frames"]) == strata
    assert not result["quarantine"]
    assert result["outcome"] == "continue" and set(failed(result)) == {"strata_energy"}
    for name, errors in result["strata"].items():
        assert (errors["energy_mae"] > 0.03) == (name == odd)
        assert f"{name} {1e3 * errors['energy_mae']:.3g} [" in failed(result)["strata_energy"]


def test_converged_after_the_final_exam():
    run = campaign("exam", stop={"exam_length": 3, "exam_frames": 4})
    run.start()
    first = run.generation(1)
    assert first["outcome"] == "continue" and set(failed(first)) == {"exam"}
    assert "exam (not held in this generation: " in first["reason"]

    second = run.generation(2)
    plan = json.loads(run.layout.plan(2).read_text())
    assert plan["exam"] == {"strata": ["copper.xyz"], "steps": 180, "frames": 4}
    assert plan["sizes"]["walkers"] == 3
    told = json.loads(run.layout.walker(2, 2).with_suffix(".json").read_text())
    assert told["exam"] and (told["steps_done"], told["end"]) == (180, "completed")
    frames = [a for a in read_frames(run.layout.selected(2)) if a.info.get("exam")]
    assert len(frames) == 4
    assert {(a.info["role"], a.info["walker"]) for a in frames} == {("audit", 2)}
    rows = [row["frame_id"] for row in second["audit_frames"] if row["exam"]]
    assert set(rows) == {a.info["frame_id"] for a in frames}
    labels = json.loads(run.layout.merged(2).read_text())["labels"]
    assert set(rows) == {label["frame_id"] for label in labels if label["exam"]}

    assert second["outcome"] == "converged" and not failed(second)
    exam = next(check for check in second["checks"] if check["name"] == "exam")
    assert "one walk of 180 steps per stratum completed" in exam["message"]


def test_an_audit_label_in_quarantine_counts_as_long_as_the_streak_does(monkeypatch):
    run = campaign(
        "doubt",
        labeller={
            "engine": "ase",
            "calculator": "two_states:TwoStates",
            "other_guess": {"second": "right"},
        },
        select={"audit_frames": 12},
        stop={"streak": 2},
    )
    run.start()
    run.walk(1)
    wrong = next(a for a in read_frames(run.layout.selected(1)) if a.info["role"] == "audit")
    monkeypatch.setenv("TWO_STATES_WRONG", digest(wrong))
    run.label(1)
    first = run.assess(1)
    name = wrong.info["frame_id"]
    assert [entry["frame_id"] for entry in first["quarantine"]] == [name]

    second = run.generation(2)
    assert not second["quarantine"] and second["outcome"] == "continue"
    assert failed(second) == {
        "audit_labels": f"audit labels in quarantine, left out of the bound: {name}"
    }
    # It is that label's generation which is in the way, and only while it is in the window.
    history = [json.loads(run.layout.assess(g).read_text()) for g in range(3)]
    stop = run.config.stop.model_copy(update={"streak": 1})
    found = decide(history, run.config.model_copy(update={"stop": stop}))
    assert found.outcome == "converged"
