"""What can happen to labelling jobs on a cluster: no label is lost, none is computed twice."""

import pytest
from on_slurm import jobs_under_way

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]

MERGED = "results/emt/gen_00/label/merged.json"
COMPUTED = 8  # seven seeds and the isolated atom, in two batches


def test_cancelled_by_hand(slurm, new, count):
    """A label job is cancelled by scancel."""
    campaign = new()
    campaign.hold()
    run = campaign.start(MERGED)
    job = jobs_under_way(campaign)[0]["id"]
    slurm.run(f"scancel {job}")
    campaign.release()
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
        campaign.wait_for_line("waiting in Slurm's queue")
        assert not campaign.labelled()
    finally:
        slurm.run("scontrol update NodeName=n1,n2 State=RESUME")
    assert "DRAINED" in campaign.end(run)
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_over_its_memory(new, count):
    """Label jobs are over their memory, in the middle of a batch.

    The next attempt has more.
    """
    campaign = new(mem_mb="700 if attempt == 1 else 2000")
    campaign.env["LABEL_MB"] = "800"
    campaign.env["LABEL_SECONDS"] = "2"  # Slurm looks once a second
    printed = campaign.end(campaign.start(MERGED))
    assert "FAILED after" in printed and "over its memory (limits: 08:00:00, 700M)" in printed
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_over_its_time(slurm, new, count):
    """A label job is over its time.

    The limit is a minute, Slurm's smallest, brought forward once the jobs are under way.
    """
    campaign = new(runtime="attempt")
    campaign.hold()
    run = campaign.start(MERGED)
    job = jobs_under_way(campaign)[0]
    assert job["limit"] == "1:00"
    slurm.run(f"scontrol update JobId={job['id']} EndTime=now+1")
    campaign.wait_for_line("TIMEOUT")
    campaign.release()
    printed = campaign.end(run)
    assert f"Slurm job {job['id']} on" in printed and "TIMEOUT" in printed
    limits = {j["limit"] for j in slurm.find("label_batch", "all") if campaign.is_mine(j)}
    assert limits == {"1:00", "2:00"}, "the next attempt has more time"
    assert count(campaign, 0) == (COMPUTED, 0, 0)
