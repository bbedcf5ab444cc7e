"""Jobs that live on, unseen by Slurm or by snakemake: their labels count, and none is repeated."""

import re

import pytest
from on_slurm import jobs_under_way

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]

MERGED = "results/emt/gen_00/label/merged.json"
COMPUTED = 8  # seven seeds and the isolated atom, in two batches


def test_lost_node(slurm, new, count):
    """A node's slurmd is killed: Slurm starts its jobs anew, while the old ones live on."""
    campaign = new()
    campaign.hold()
    slurm.run("scontrol update NodeName=n1 State=DRAIN Reason=test")
    run = campaign.start(MERGED)
    jobs_under_way(campaign)
    slurm.run("scontrol update NodeName=n1 State=RESUME")
    slurm.kill_slurmd("n2")
    slurm.run("scontrol update NodeName=n2 State=DOWN Reason=test")  # sooner than Slurm sees it
    try:
        campaign.wait_for_line("another job is still at it")
        campaign.release()
        printed = campaign.end(run)
    finally:
        slurm.start_slurmd("n2")
    assert "Slurm starts it again" in printed and "another job is still at it" in printed
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_snakemake_killed_and_started_again(slurm, new, count):
    """snakemake is killed (-9), one label job running, another queued, and started again."""
    campaign = new("slurm", cpus_per_task=3)
    campaign.hold()
    slurm.run("scontrol update NodeName=n1 State=DRAIN Reason=test")
    try:
        run = campaign.start(MERGED)
        jobs_under_way(campaign, 1)
        campaign.kill(run)
        run = campaign.start(MERGED)
        campaign.wait_for_line("waiting for")
        campaign.release()
        printed = campaign.end(run)
    finally:
        slurm.run("scontrol update NodeName=n1 State=RESUME")
    state = {job["id"]: job["state"] for job in slurm.find("label_batch", "all")}
    cancelled = re.search(r"had not started are cancelled: ([\d ]+)", printed)[1].split()
    awaited = re.search(r"still at work: waiting for (\d+) on n2", printed)[1]
    assert {state[job] for job in cancelled} == {"CANCELLED"} and state[awaited] == "COMPLETED"
    assert count(campaign, 0) == (COMPUTED, 0, 0)
    ran = [job for job in slurm.find("label_batch", "completed") if campaign.is_mine(job)]
    assert len(ran) == 2, "what the killed run's job finished is not done again"
