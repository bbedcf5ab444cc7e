"""The logic of the workflow, on a fake `maceloop`: what runs, what does not run again."""

import json
import os
import time

import pytest
from ase import Atoms

from mace_core.frames import write_frames

pytestmark = pytest.mark.campaign

EACH_GENERATION = {
    "plan": 1,
    "build_dataset": 1,
    "train_member": 2,
    "calibrate": 1,
    "explore_md": 2,
    "select_frames": 1,
    "label_batch": 2,
    "merge_labels": 1,
    "recheck_labels": 1,
    "assess_generation": 1,
    "track_generation": 1,
    "report": 1,
}


def of_generation(calls, gen):
    return {rule: n for (rule, g), n in calls.items() if g == gen}


def more_data(campaign):
    frame = Atoms("Cu", [[0, 0, 0]], info={"REF_energy": 0.0})
    frame.arrays["REF_forces"] = frame.positions
    path = campaign.folder / "more.xyz"
    write_frames(path, [frame])
    return str(path)


def test_from_nothing_to_the_end_and_beyond(fake_campaign):
    campaign = fake_campaign
    dry = campaign.run("--dry-run")
    for rule in ("plan", "prepare_seed", "label_batch", "merge_labels", "assess_generation"):
        assert f"rule {rule}:" in dry or f"checkpoint {rule}:" in dry
    assert not campaign.layout.root.exists(), "a dry-run writes nothing"

    shown = campaign.run()
    calls = campaign.calls()
    assert of_generation(calls, "01") == of_generation(calls, "02") == EACH_GENERATION
    assert of_generation(calls, "00") == {
        **dict.fromkeys(["plan", "prepare_seed", "merge_labels", "assess_generation"], 1),
        **{"label_batch": 2, "track_generation": 1, "report": 1},
    }
    assert ("plan", "03") not in calls
    assert "gen 02 · member 1" in shown and "summary of fake" in shown
    assert "Select jobs" not in shown and "rule train_member" not in shown

    again = campaign.run()
    assert "Nothing to be done" in again and "summary of fake" in again
    assert "Nothing to be done" in campaign.run("--dry-run")

    # Settings of an early generation, and a limit below what is done: nothing happens.
    campaign.set({"train.max_num_epochs": 7, "label.batch_size": 3, "campaign.max_generations": 1})
    assert "Nothing to be done" in campaign.run()

    # A raised limit: it goes on, with the new settings, and the generations before stay.
    labelled = more_data(campaign)
    campaign.set({"campaign.max_generations": 3, "train.members": 3, "data.labelled": [labelled]})
    assert "rule train_member:" in campaign.run("--dry-run")
    before, datasets = campaign.calls(), campaign.datasets()
    campaign.run()
    new = campaign.calls() - before
    assert {gen for rule, gen in new if rule != "summary"} == {"03"}
    assert of_generation(new, "03") == EACH_GENERATION | {"train_member": 3}
    plan = json.loads(campaign.layout.plan(3).read_text())
    assert plan["sizes"] == {"members": 3, "walkers": 2, "label_batches": 2}
    assert campaign.datasets()[:2] == datasets
    metrics = campaign.layout.member(3, 0) / "metrics.json"
    assert json.loads(metrics.read_text())["epochs"] == 7
    assert max(campaign.labelled().values()) == 1


def test_converged_campaign_stops_early_and_goes_on_with_new_data(fake_campaign):
    campaign = fake_campaign
    campaign.direct(converge_at=1)
    campaign.run()
    assert campaign.layout.assessed_generations() == [0, 1]
    assert "Nothing to be done" in campaign.run("--dry-run")

    labelled = more_data(campaign)
    campaign.set({"data.labelled": [labelled]})
    campaign.run()
    assert campaign.layout.assessed_generations() == [0, 1, 2]
    assert of_generation(campaign.calls(), "01") == EACH_GENERATION


def test_settings_changed_in_the_middle_of_a_generation_wait_for_the_next(fake_campaign):
    campaign = fake_campaign
    campaign.direct(fail=["explore_md 01"])
    campaign.run(code=1)
    campaign.direct(select=0)  # and a generation in which nothing is selected
    campaign.set(
        {"train.members": 3, "explore.walkers": 4, "label.batch_size": 2, "train.max_num_epochs": 9}
    )
    campaign.run()
    calls = campaign.calls()
    assert calls["explore_md", "01"] == 4, "two that failed, two that did not"
    assert of_generation(calls, "01") == EACH_GENERATION | {"explore_md": 4}
    assert of_generation(calls, "02") == EACH_GENERATION | {
        "train_member": 3,
        "explore_md": 4,
        "label_batch": 3,
    }
    assert campaign.layout.selected(2).read_text() == ""
    assert "Nothing to be done" in campaign.run("--dry-run")


def test_the_final_exams_walkers_are_those_of_the_plan(fake_campaign):
    campaign = fake_campaign
    campaign.direct(fail=["build_dataset 02"])
    campaign.run(code=1)
    path = campaign.layout.plan(2)
    plan = json.loads(path.read_text())
    plan["sizes"] |= {"walkers": 4, "label_batches": 3}
    path.write_text(json.dumps(plan | {"exam": {"strata": ["a", "b"], "steps": 9, "frames": 2}}))
    campaign.direct()
    campaign.run()
    calls = campaign.calls()
    assert calls["explore_md", "02"] == 4 and calls["label_batch", "02"] == 3
    assert [campaign.layout.walker(2, w).is_file() for w in range(5)] == [True] * 4 + [False]
    assert calls["explore_md", "01"] == 2
    assert "Nothing to be done" in campaign.run("--dry-run")


def test_settings_changed_while_it_runs(fake_campaign):
    """The plan is written from the file as it is then: the sizes of the DAG must be the plan's."""
    campaign = fake_campaign
    campaign.direct(hold=["train_member 01"])
    snakemake = campaign.start()
    campaign.wait_until_held(snakemake)
    campaign.set({"train.members": 3})
    campaign.direct()
    assert snakemake.wait(timeout=120) == 0
    calls = campaign.calls()
    assert (calls["train_member", "01"], calls["train_member", "02"]) == (2, 3)


def test_failed_step_says_where_and_the_same_command_goes_on(fake_campaign):
    campaign = fake_campaign
    campaign.set({"campaign.max_generations": 1})
    campaign.direct(fail=["label_batch 01"])
    shown = campaign.run(code=1)
    log = "results/fake/gen_01/logs/label_batch_0.log"
    assert f"label_batch failed: {log}" in shown
    assert "maceloop: label_batch was told to fail" in shown
    last = shown.strip().splitlines()
    assert any(line.startswith("stopped; what failed:") and log in line for line in last)
    assert "summary of" not in shown
    assert campaign.calls()["label_batch", "01"] == 2, "the other one ran"

    campaign.direct()
    campaign.run()
    assert campaign.calls()["train_member", "01"] == 2, "what was done is not done again"


def test_tracking_that_fails_costs_no_generation(fake_campaign):
    campaign = fake_campaign
    campaign.set({"campaign.max_generations": 1})
    campaign.direct(fail=["track_generation 00"])
    campaign.run(code=1)
    assert campaign.layout.assessed_generations() == [0, 1]
    campaign.direct()
    before = campaign.calls()
    campaign.run()
    assert {rule for rule, _ in campaign.calls() - before} == {"track_generation", "summary"}


def test_results_are_rebuilt_from_the_labels(fake_campaign):
    campaign = fake_campaign
    campaign.set({"campaign.max_generations": 1})
    campaign.run()
    datasets, labelled = campaign.datasets(), campaign.labelled()
    campaign.layout.root.rename(campaign.folder / "gone")
    campaign.run()
    assert campaign.datasets() == datasets
    assert campaign.labelled() == labelled


def test_jobs_use_the_threads_they_are_given(fake_campaign):
    campaign = fake_campaign
    campaign.env |= {"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "7"}
    until = "results/fake/gen_01/train/committee.json"
    campaign.run(until, "--set-threads", "calibrate=2", "label_batch=2")
    threads = dict(line.split() for line in (campaign.folder / "threads").read_text().splitlines())
    assert threads["train_member"] == "1/1" and threads["calibrate"] == "2/2"
    assert set((campaign.folder / "label_threads").read_text().split()) == {"2"}


def test_second_run_is_refused_while_the_first_lives(fake_campaign):
    campaign = fake_campaign
    campaign.direct(hold=["label_batch 00"])
    first = campaign.start("results/fake/gen_00/label/merged.json")
    campaign.wait_until_held(first)
    refused = campaign.run(code=2)
    assert f"process {first.pid} on" in refused and "Traceback" not in refused
    assert "rule merge_labels:" in campaign.run("--dry-run"), "a dry-run is no second run"
    campaign.direct()
    assert first.wait(timeout=120) == 0
    assert max(campaign.labelled().values()) == 1


def test_ctrl_c_stops_and_the_same_command_goes_on(fake_campaign):
    campaign = fake_campaign
    campaign.set({"campaign.max_generations": 1})
    campaign.direct(hold=["train_member 01"])
    snakemake = campaign.start()
    campaign.wait_until_held(snakemake)
    os.killpg(snakemake.pid, 2)  # what a terminal does
    assert snakemake.wait(timeout=120) != 0
    campaign.direct()
    started = time.monotonic()
    campaign.run()
    assert time.monotonic() - started < 50
    assert campaign.layout.assessed_generations() == [0, 1]
