"""What can happen to a training on a cluster: it goes on where it was, and none runs twice."""

import json
import re
import time

import pandas as pd
import pytest
from on_slurm import ClusterCampaign

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]

MODEL = "results/emt/gen_01/train/member_0/model.safetensors"
EPOCHS = 400
COMPUTED = 8  # seven seeds and the isolated atom
SETTINGS = {
    "train.max_num_epochs": EPOCHS,
    "train.eval_interval": 10,
    "train.patience": EPOCHS,
}


@pytest.fixture
def campaign(slurm, run_locally, labelled, tmp_path):
    """On Slurm; the first attempt has a limit of a quarter of an hour."""
    target = "results/emt/gen_01/dataset/train.extxyz"
    ready = run_locally("ready", SETTINGS, target, labelled.folder)
    rules = {"train_member": {"runtime": "15 * attempt"}}
    campaign = ClusterCampaign(slurm, tmp_path, "slurm-generic", rules, ready.folder)
    campaign.set(SETTINGS)
    return campaign


def stopped_training(campaign, since=0.0):
    """Wait until the training has left a checkpoint; its job, whose processes are stopped."""
    checkpoint = campaign.layout.member(1, 0) / "checkpoint.pt"
    (job,) = wait_for_jobs(campaign)
    campaign.wait_for(lambda: checkpoint.exists() and checkpoint.stat().st_mtime > since)
    campaign.freeze(job)
    return job


def wait_for_jobs(campaign):
    """The trainings that run, once there is one."""

    def mine():
        return [job for job in campaign.slurm.find("train_member") if campaign.is_mine(job)]

    campaign.slurm.wait_for(mine, 300)  # its polls are rarer: each asks Slurm
    return mine()


def check_result(campaign, printed, count, attempts=2):
    """It went on where it was, and every epoch counts once."""
    after = [int(epoch) for epoch in re.findall(r"goes on after epoch (\d+)", printed)]
    assert len(after) == attempts - 1 and 0 < after[0] <= after[-1] < EPOCHS
    metrics = json.loads((campaign.layout.member(1, 0) / "metrics.json").read_text())
    assert metrics["epochs"] == EPOCHS
    history = pd.read_csv(campaign.layout.member(1, 0) / "history.csv")
    assert list(history["epoch"]) == list(range(0, EPOCHS + 1, 10))
    assert count(campaign, 0) == (COMPUTED, 0, 0)


def test_cancelled_by_hand(slurm, campaign, count):
    """A training is ended twice: by SIGTERM, as scancel does it, and by SIGKILL."""
    run = campaign.start(MODEL)
    first = stopped_training(campaign)
    slurm.run(f"scancel {first['id']}")
    campaign.wait_for_line("attempt 2 of 3 follows")
    second = stopped_training(campaign, since=time.time())
    slurm.run(f"scancel --full --signal=KILL {second['id']}")
    printed = campaign.end(run)
    for job in (first, second):
        assert f"train_member gen 01 member 0 was cut off: Slurm job {job['id']} on n1" in printed
    check_result(campaign, printed, count, attempts=3)


def test_over_its_time(slurm, campaign, count):
    """A training is over its time.

    The limit is brought forward once it is under way.
    """
    run = campaign.start(MODEL)
    job = stopped_training(campaign)
    slurm.run(f"scontrol update JobId={job['id']} EndTime=now+1")
    printed = campaign.end(run)
    assert f"Slurm job {job['id']} on n1: TIMEOUT" in printed
    check_result(campaign, printed, count)
    again = [job for job in slurm.find("train_member", "all") if campaign.is_mine(job)][-1]
    assert (job["limit"], again["limit"]) == ("15:00", "30:00"), "the next attempt has more time"


def test_snakemake_killed_and_started_again(slurm, campaign, count):
    """snakemake is killed (-9) during a training, and started again.

    The new run leaves the training to the job that is at it, and takes its result.
    """
    run = campaign.start(MODEL)
    job = stopped_training(campaign)
    campaign.kill(run)
    run = campaign.start(MODEL)
    campaign.wait_for_line("waiting for")
    campaign.thaw(job)
    printed = campaign.end(run)
    assert f"waiting for {job['id']} on n1" in printed
    jobs = [job for job in slurm.find("train_member", "all") if campaign.is_mine(job)]
    assert [job["state"] for job in jobs] == ["COMPLETED"], "one job, and it is not done again"
    metrics = json.loads((campaign.layout.member(1, 0) / "metrics.json").read_text())
    assert metrics["epochs"] == EPOCHS
    assert count(campaign, 0) == (COMPUTED, 0, 0)
