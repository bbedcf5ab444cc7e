"""Doubted labels are computed again: from files to files, with EMT labels and a known committee."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_campaign import WrongCommittee, copper, generation, generation_0, layout_of, settings

from mace_core.assess.generation import assess_generation
from mace_core.assess.recheck import lines as recheck_lines
from mace_core.assess.recheck import recheck_labels
from mace_core.assess.said import lines
from mace_core.config.campaign import parse_config
from mace_core.frames import read_frames
from mace_core.label.claims import Claims
from mace_core.label.store import LabelStore
from mace_core.storage import read_json, write_json
from mace_core.summary import summarise

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
    monkeypatch.setenv("MACELOOP_CALL_LOG", str(tmp_path / "calls"))


def calls():
    return Path("calls").read_text().splitlines() if Path("calls").exists() else []


class OneWrong(WrongCommittee):
    """Off by 1 eV for one frame, in energy alone."""

    wrong = ""

    def predict(self, frames, batch_size=8, stress=False):
        found = super().predict(frames, batch_size, stress)
        for atoms, prediction in zip(frames, found, strict=True):
            prediction.energy += atoms.info.get("frame_id") == self.wrong
        return found


def campaign(second="right", **sections):
    """Generation 1, labelled; of the two frames that are spoken of the first is doubted."""
    labeller = {
        "engine": "ase",
        "calculator": "two_states:TwoStates",
        "other_guess": {"second": second} if second else {},
    }
    config = settings(labeller=labeller, **sections)
    layout = layout_of(config)
    plan = generation_0(config)
    assess_generation(plan, layout.merged(0), layout.assess(0))
    plan = generation(config, 1, [copper(0)])
    return layout, plan, LabelStore(config.campaign.label_store, config.labeller)


def frame_of(layout, k):
    return read_json(layout.merged(1))["labels"][k]["frame_id"]


def doubted_model(layout, k=2):
    """A committee that is wrong about a label which is right."""
    committee = OneWrong()
    committee.wrong = frame_of(layout, k)
    return committee


def spoil(store, name, shift=1.0):
    record = replace(store.get(name), energy=store.get(name).energy + shift)
    store.path(name).unlink()
    store.put(record)
    return record


def recheck(layout, plan, committee, **more):
    paths = (layout.committee(1), layout.selected(1).parent / "select.json")
    return recheck_labels(
        plan, layout.merged(1), *paths, layout.recheck(1), committee=committee, **more
    )


def assess(layout, plan, committee=None, rechecked=True):
    paths = (layout.committee(1), layout.selected(1).parent / "select.json")
    return assess_generation(
        plan,
        layout.merged(1),
        layout.assess(1),
        *paths,
        committee=committee,
        recheck_path=layout.recheck(1) if rechecked else None,
    )


def test_a_label_that_comes_out_the_same_is_released_and_judges_the_models():
    layout, plan, store = campaign()
    committee = doubted_model(layout)
    name = committee.wrong
    found = recheck(layout, plan, committee)
    assert [entry["frame_id"] for entry in found["doubted"]] == [name]
    (row,) = found["rechecks"]
    assert row["agrees"] is True and row["status"] == "converged" and row["computed"] is True
    assert abs(row["energy_difference"]) < 1e-9 and row["force_difference"] < 1e-9
    assert found["calls"] == 1 and len(calls()) == 1 and calls()[0].endswith("second")
    assert f"frame {name} released: computed again from another" in recheck_lines(found)[0]
    scored = len(committee.seen)

    result = assess(layout, plan)  # scores nothing: there is no committee to load
    assert len(committee.seen) == scored
    assert result["quarantine"] == []
    assert result["audit"]["n_frames"] == 6
    assert result["audit"]["energy_mae"] > 0.25 / 6 - 1e-6
    assert "1 labels that the committee doubted were computed again, agree" in result["notes"][-1]
    labels = result["labels"]
    assert (labels["calls"], labels["rechecks"], labels["converged"]) == (10, 1, 9)
    assert labels["total_calls"] == 5 + 10 and labels["total_rechecks"] == 1
    assert labels["seconds"] == pytest.approx(9 + row["wall_seconds"])
    assert "9 converged, 0 failed" in "\n".join(lines(result))
    total = summarise(layout, parse_config(plan["config"], "test"))["total"]
    assert (total["calls"], total["failed"], total["rechecks"]) == (15, 0, 1)
    # Who and why, for everybody who looks at the store.
    release = store.releases.read(name)
    assert "agrees within" in release["reason"] and release["by"] and release["recheck"] is True
    assert store.doubts.read(name)["campaign"] == "cu"


def test_what_assess_reads_is_what_it_would_have_scored():
    layout, plan, _ = campaign()
    alone = assess(layout, plan, WrongCommittee(), rechecked=False)
    recheck(layout, plan, WrongCommittee())
    again = assess(layout, plan)
    assert again["audit"]["n_frames"] == 6 and again["labels"] == alone["labels"]
    for key in ("force_mae", "force_mae_high", "energy_mae", "stress_mae", "max_force_error"):
        assert again["audit"][key] == pytest.approx(alone["audit"][key], abs=1e-7), key
    assert again["calibration"]["factor"] == pytest.approx(alone["calibration"]["factor"], 1e-6)
    assert calls() == []


def test_a_label_that_comes_out_otherwise_stays_in_quarantine_with_both_values():
    layout, plan, store = campaign()
    name = frame_of(layout, 2)
    spoiled = spoil(store, name)
    found = recheck(layout, plan, WrongCommittee())
    (row,) = found["rechecks"]
    assert row["agrees"] is False
    assert row["energy_difference"] == pytest.approx(-0.25)
    result = assess(layout, plan)
    (entry,) = result["quarantine"]
    assert entry["frame_id"] == name
    for words in (
        f"{spoiled.energy - 1:.6f} eV instead of {spoiled.energy:.6f} eV",
        "250 meV/atom below the label",
        "what is usual",
        "forces differ by up to 0 meV/Å",
    ):
        assert words in entry["reason"], entry["reason"]
    assert result["labels"]["quarantined"] == 1 and result["labels"]["calls"] == 10
    assert store.stored(name) == spoiled, "the record is never changed"
    assert store.releases.read(name) is None
    assert store.doubts.read(name)["reason"] == entry["reason"]
    assert store.rechecks.stored(name).energy == pytest.approx(spoiled.energy - 1)


@pytest.mark.parametrize(
    ("second", "status", "words"),
    [
        ("fails", "unconverged", "no second label, unconverged: SCF not converged from there"),
        ("killed", "failed", "no second label, failed: the worker ended: killed by signal 9"),
    ],
)
def test_a_second_computation_that_fails_keeps_the_label_in_quarantine(second, status, words):
    layout, plan, _ = campaign(second)
    found = recheck(layout, plan, doubted_model(layout))
    (row,) = found["rechecks"]
    assert (row["agrees"], row["status"]) == (None, status) and found["calls"] == 1
    (entry,) = assess(layout, plan)["quarantine"]
    assert words in entry["reason"]
    # It is on record, and not tried once more.
    again = recheck(layout, plan, doubted_model(layout))
    assert again["calls"] == 1 and again["rechecks"][0]["computed"] is False and len(calls()) == 1


def test_an_engine_without_another_guess_says_so():
    layout, plan, _ = campaign(second="")
    (row,) = recheck(layout, plan, doubted_model(layout))["rechecks"]
    assert row["agrees"] is True
    assert "computed a second time (the engine has no other starting guess)" in row["reason"]


def test_a_rebuilt_campaign_finds_the_second_computation_and_counts_it():
    layout, plan, _ = campaign()
    first = recheck(layout, plan, doubted_model(layout))
    result = assess(layout, plan)
    for path in (layout.recheck(1), layout.assess(1), *layout.scored(1).iterdir()):
        path.unlink()
    again = recheck(layout, plan, doubted_model(layout))
    assert len(calls()) == 1
    assert again["rechecks"][0].pop("computed") is False
    assert first["rechecks"][0].pop("computed") is True
    assert again == first
    rebuilt = assess(layout, plan)
    assert [rebuilt["labels"].pop(key) for key in ("found", "total_found")] == [1, 1]
    assert [result["labels"].pop(key) for key in ("found", "total_found")] == [0, 0]
    assert rebuilt == result


def test_a_person_has_the_last_word():
    layout, plan, store = campaign()
    committee = doubted_model(layout)
    name = committee.wrong
    store.releases.write(name, {"reason": "a wall that walkers should know"})
    assert recheck(layout, plan, committee)["doubted"] == [] and calls() == []
    store.releases.withdraw(name)
    recheck(layout, plan, committee)
    assert store.releases.read(name)
    # A release that a person took back is not given again.
    store.releases.withdraw(name)
    assert recheck(layout, plan, committee)["rechecks"][0]["agrees"] is True
    assert store.releases.read(name) is None
    assert [entry["frame_id"] for entry in assess(layout, plan)["quarantine"]] == [name]


def test_no_more_is_bought_than_the_budget_has_left():
    layout, plan, _ = campaign()
    plan = plan | {"labels_spent": 200 - 9}
    found = recheck(layout, plan, doubted_model(layout))
    (row,) = found["rechecks"]
    assert (row["status"], found["calls"]) == (None, 0) and calls() == []
    assert "stop.max_labels (200) is reached" in row["reason"]
    (entry,) = assess(layout, plan)["quarantine"]
    assert "not computed again" in entry["reason"]


def test_audit_labels_come_first_in_what_is_left():
    layout, plan, store = campaign(stop={"max_labels": 15})
    picked, audit = frame_of(layout, 8), frame_of(layout, 2)
    spoil(store, picked)
    spoil(store, audit)
    found = recheck(layout, plan, WrongCommittee())
    assert {row["frame_id"]: row["status"] for row in found["rechecks"]} == {
        audit: "converged",
        picked: None,
    }


def test_an_engine_that_cannot_start_keeps_the_label_in_quarantine(monkeypatch):
    layout, plan, _ = campaign()
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    (row,) = recheck(layout, plan, doubted_model(layout))["rechecks"]
    assert row["status"] is None and "cannot import 'two_states:TwoStates'" in row["reason"]
    (entry,) = assess(layout, plan)["quarantine"]
    assert "not computed again: labeller.calculator: cannot import" in entry["reason"]


def test_two_processes_compute_it_once():
    """One that holds the claim and dies leaves it to the other."""
    layout, plan, store = campaign()
    committee = doubted_model(layout)
    claims = Claims(store.rechecks.folder)
    store.rechecks.folder.mkdir()
    assert claims.acquire(committee.wrong)
    claim = read_json(store.rechecks.folder / f"{committee.wrong}.claim")
    write_json(store.rechecks.folder / f"{committee.wrong}.claim", claim | {"pid": 2**22 - 1})
    recheck(layout, plan, committee)
    assert len(calls()) == 1
    assert not list(store.rechecks.folder.glob("*.claim*"))


def test_without_recheck_the_assessment_scores_and_buys_nothing():
    layout, plan, _ = campaign()
    committee = doubted_model(layout)
    result = assess(layout, plan, committee, rechecked=False)
    assert [entry["frame_id"] for entry in result["quarantine"]] == [committee.wrong]
    assert calls() == [] and result["labels"]["rechecks"] == 0


def test_scored_frames_keep_what_they_say():
    layout, plan, _ = campaign()
    recheck(layout, plan, WrongCommittee())
    audit = read_frames(layout.scored(1) / "audit.extxyz")
    assert len(audit) == 6 and read_frames(layout.scored(1) / "frozen.extxyz") == []
    assert {a.info["role"] for a in audit} == {"audit"}
    assert all(a.info["MACE_uncertainty"] == pytest.approx(0.04) for a in audit)
