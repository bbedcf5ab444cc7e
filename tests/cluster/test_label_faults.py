"""What can happen to labelling jobs on a cluster: no label is lost, none is computed twice."""

import os
import re

import pytest
from campaigns import BIN, Campaign
from on_slurm import ClusterCampaign, count_labels, emt_values

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]

MERGED = "results/emt/gen_00/label/merged.json"
COMPUTED = 8  # seven seeds and the isolated atom, in three batches


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A campaign whose seeds are chosen and not labelled yet."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    campaign = Campaign(tmp_path_factory.mktemp("seeded"), emt_values(), path)
    campaign.set({"seed.n_frames": 6, "label.batch_size": 4})
    count_labels(campaign)
    campaign.run("results/emt/gen_00/select/frames.extxyz")
    return campaign


@pytest.fixture
def new(slurm, seeded, tmp_path):
    """Makes the campaign on Slurm; each label takes two seconds."""

    def make(profile="slurm-generic", **label_batch):
        campaign = ClusterCampaign(
            slurm, tmp_path, profile, {"label_batch": label_batch}, seeded.folder
        )
        campaign.set({"seed.n_frames": 6, "label.batch_size": 4})
        campaign.env["LABEL_SECONDS"] = "2"
        return campaign

    return make


def jobs_under_way(campaign, n=3):
    """Wait until all batches run and each has had the time for a label or two."""
    campaign.wait_for(lambda: len(campaign.slurm.find("label_batch")) == n)
    campaign.wait_for(lambda: len(campaign.stored()) >= n)
    return [job for job in campaign.slurm.find("label_batch") if campaign.is_mine(job)]


def test_cancelled_by_hand(slurm, new, count):
    """A label job is cancelled by scancel."""
    campaign = new()
    run = campaign.start(MERGED)
    job = jobs_under_way(campaign)[0]["id"]
    slurm.run(f"scancel {job}")
    printed = campaign.end(run)
    assert f"was cut off: Slurm job {job} on" in printed and "CANCELLED" in printed
    assert "attempt 2 of 3 follows" in printed
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_drained_nodes(slurm, new, count):
    """All nodes are drained, and resumed later."""
    campaign = new()
    slurm.run("scontrol update NodeName=n1,n2 State=DRAIN Reason=test")
    try:
        run = campaign.start(MERGED)
        campaign.wait_for(lambda: "waiting in Slurm's queue" in campaign.printed())
        assert not campaign.labelled()
    finally:
        slurm.run("scontrol update NodeName=n1,n2 State=RESUME")
    assert "DRAINED" in campaign.end(run)
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_lost_node(slurm, new, count):
    """A node's slurmd is killed: Slurm starts its jobs anew, while the old ones live on."""
    campaign = new()
    campaign.env["LABEL_SECONDS"] = "12"
    slurm.run("scontrol update NodeName=n1 State=DRAIN Reason=test")
    run = campaign.start(MERGED)
    jobs_under_way(campaign)
    slurm.run("scontrol update NodeName=n1 State=RESUME")
    slurm.kill_slurmd("n2")
    slurm.run("scontrol update NodeName=n2 State=DOWN Reason=test")  # sooner than Slurm sees it
    try:
        printed = campaign.end(run)
    finally:
        slurm.start_slurmd("n2")
    assert "Slurm starts it again" in printed and "another job is still at it" in printed
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_over_its_memory(new, count):
    """Label jobs are over their memory, in the middle of a batch.

    The next attempt has more.
    """
    campaign = new(mem_mb="700 if attempt == 1 else 2000")
    campaign.env["LABEL_MB"] = "800"
    campaign.env["LABEL_SECONDS"] = "3"
    printed = campaign.end(campaign.start(MERGED))
    assert "FAILED after" in printed and "over its memory (limits: 08:00:00, 700M)" in printed
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_over_its_time(slurm, new, count):
    """A label job is over its time.

    The limit is a minute, Slurm's smallest, brought forward once the jobs are under way.
    """
    campaign = new(runtime="attempt")
    campaign.env["LABEL_SECONDS"] = "5"
    run = campaign.start(MERGED)
    job = jobs_under_way(campaign)[0]
    assert job["limit"] == "1:00"
    campaign.freeze(job)
    slurm.run(f"scontrol update JobId={job['id']} EndTime=now+1")
    printed = campaign.end(run)
    assert f"Slurm job {job['id']} on" in printed and "TIMEOUT" in printed
    limits = {j["limit"] for j in slurm.find("label_batch", "all") if campaign.is_mine(j)}
    assert limits == {"1:00", "2:00"}, "the next attempt has more time"
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_snakemake_killed_and_started_again(slurm, new, count):
    """snakemake is killed (-9), one label job running, others queued, and started again."""
    campaign = new("slurm", cpus_per_task=3)
    slurm.run("scontrol update NodeName=n1 State=DRAIN Reason=test")
    try:
        run = campaign.start(MERGED)
        jobs_under_way(campaign, 1)
        campaign.kill(run)
        printed = campaign.end(campaign.start(MERGED))
    finally:
        slurm.run("scontrol update NodeName=n1 State=RESUME")
    state = {job["id"]: job["state"] for job in slurm.find("label_batch", "all")}
    cancelled = re.search(r"had not started are cancelled: ([\d ]+)", printed)[1].split()
    awaited = re.search(r"still at work: waiting for (\d+) on n2", printed)[1]
    assert {state[job] for job in cancelled} == {"CANCELLED"} and state[awaited] == "COMPLETED"
    assert count(campaign, 0) == (COMPUTED, 0, 0)
    ran = [job for job in slurm.find("label_batch", "completed") if campaign.is_mine(job)]
    assert len(ran) == 3, "what the killed run's job finished is not done again"
