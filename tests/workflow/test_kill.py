"""`kill -9` of snakemake in each rule, then the same command, on a fake `maceloop`."""

import json
import time

import psutil
import pytest

pytestmark = pytest.mark.campaign

PLACES = [
    *("plan 00", "prepare_seed 00", "label_batch 00", "assess_generation 00", "plan 01"),
    *("build_dataset 01", "train_member 01", "calibrate 01", "explore_md 01", "select_frames 01"),
    *(
        "label_batch 01",
        "merge_labels 01",
        "recheck_labels 01",
        "assess_generation 01",
        "track_generation 01",
        "report 01",
    ),
]
#: Not further: a step of the next generation, at work beside a place, would be killed with it.
TARGETS = ["results/fake/gen_01/report.html", "results/fake/gen_01/tracked.json"]
KILLED_WITH_CHILDREN = {
    *("prepare_seed", "build_dataset", "calibrate", "select_frames", "merge_labels"),
    "track_generation",
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, make_fake_campaign):
    campaign = make_fake_campaign(tmp_path_factory.mktemp("unbroken"))
    campaign.run()
    return campaign


def test_killed_in_each_rule(fake_campaign, unbroken):
    """One campaign, killed once in each rule, with its children and alone by turns.

    test_emt.py does the same to a real campaign, with the turns the other way round.
    """
    campaign = fake_campaign
    left = set(PLACES)
    while left:
        campaign.direct(hold=sorted(left))
        snakemake = campaign.start(*TARGETS)
        where = campaign.wait_until_held(snakemake)
        left.discard(where)
        orphans = campaign.kill(snakemake, with_children=where.split()[0] in KILLED_WITH_CHILDREN)
        campaign.direct()  # from here on orphans finish
        psutil.wait_procs(orphans, timeout=60)
        (campaign.folder / "held").unlink(missing_ok=True)  # another job's, held beside it
    campaign.run()
    assert campaign.datasets() == unbroken.datasets()
    assert campaign.labelled() == unbroken.labelled()
    assert max(campaign.labelled().values()) == 1, "every label once"
    calls = campaign.calls()
    assert calls["train_member", "02"] == 2 and calls["build_dataset", "01"] == 2
    assert "Nothing to be done" in campaign.run("--dry-run")


def test_plan_of_a_killed_run_stands(fake_campaign):
    """Killed just after the plan was written: a changed setting waits for the next generation."""
    campaign = fake_campaign
    campaign.direct(hold=["plan 01"])
    snakemake = campaign.start()
    campaign.wait_until_held(snakemake)
    campaign.kill(snakemake, with_children=True)
    campaign.direct()
    campaign.set({"train.members": 3})
    campaign.run()
    calls = campaign.calls()
    assert (calls["train_member", "01"], calls["train_member", "02"]) == (2, 3)
    assert json.loads(campaign.layout.plan(1).read_text())["sizes"]["members"] == 2


def test_new_run_waits_for_orphans(fake_campaign, unbroken):
    """Two processes never do one step: the new run waits until the old one's jobs have ended."""
    campaign = fake_campaign
    campaign.direct(hold=["train_member 01"])
    snakemake = campaign.start()
    campaign.wait_until_held(snakemake)
    campaign.wait_for(lambda: campaign.calls()["train_member", "01"] == 2)
    orphans = campaign.kill(snakemake, with_children=False)

    second = campaign.start()
    log = campaign.folder / "run.log"
    campaign.wait_for(lambda: "still at work" in log.read_text())
    said = log.read_text().split("kill ")[1].split(")")[0].split()
    assert {int(pid) for pid in said} == {orphan.pid for orphan in orphans if orphan.is_running()}
    calls = campaign.calls()
    time.sleep(1)
    assert campaign.calls() == calls, "nothing starts meanwhile"

    for orphan in orphans:
        orphan.kill()
    campaign.direct()
    assert second.wait(timeout=120) == 0
    assert campaign.datasets() == unbroken.datasets()


def test_job_of_a_killed_run_ends_before_it_touches_a_file(fake_campaign):
    """One that was queued, and starts when a newer run is already at it."""
    campaign = fake_campaign
    campaign.run("results/fake/gen_00/plan.json")
    seed = "results/fake/gen_00/select/frames.extxyz"
    job = ("--target-jobs", "prepare_seed:", "--mode", "remote", "--nolock", "--force")
    (campaign.layout.root / ".run.id").write_text("newer")
    campaign.env["MACELOOP_RUN"] = "older"
    assert "prepare_seed: a newer run does it" in campaign.run(*job, seed, code=1)
    assert ("prepare_seed", "00") not in campaign.calls()
    campaign.env["MACELOOP_RUN"] = "newer"
    campaign.run(*job, seed)
    assert campaign.calls()["prepare_seed", "00"] == 1
