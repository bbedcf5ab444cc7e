"""A whole campaign on Slurm, by either executor, against the same one on this machine."""

import json
import os

import pytest
from campaigns import BIN, Campaign
from on_slurm import ClusterCampaign, count_labels, emt_values

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same campaign with ``--cores 2``."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    campaign = Campaign(tmp_path_factory.mktemp("local"), emt_values(), path)
    count_labels(campaign)
    campaign.run()
    return campaign


@pytest.mark.parametrize("profile", ["slurm-generic", "slurm"])
def test_same_campaign_as_on_one_machine(slurm, local, tmp_path, profile):
    before = {job["id"] for job in slurm.jobs()}
    campaign = ClusterCampaign(slurm, tmp_path, profile)
    campaign.run()
    assert campaign.datasets() == local.datasets()
    assert campaign.labelled() == local.labelled()
    assert max(campaign.labelled().values()) == 1
    summary = json.loads(campaign.layout.summary.read_text())
    assert summary["outcome"] == "budget_spent"

    jobs = [job for job in slurm.jobs() if job["id"] not in before]
    assert {job["state"] for job in jobs} == {"COMPLETED"}

    def of(rule):
        return [job for job in jobs if rule in job["name"] + job["comment"]]

    assert len(of("train_member")) == 2 and len(of("explore_md")) == 2
    assert len(of("label_batch")) == 5, "batches, not labels"
    for job in jobs:
        trains = job in of("train_member")
        assert (job["partition"], "gpu" in job["gres"]) == (
            ("gpu", True) if trains else ("cpu", False)
        )
    for rule in ("plan", "build_dataset", "merge_labels", "track_generation", "report"):
        assert not of(rule), "light steps stay out of the queue"
