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
    shell = tmp_path / "with_modules"
    shell.write_text(f'#!/bin/bash\necho entered >> {tmp_path}/entered\nexec bash "$@"\n')
    shell.chmod(0o755)
    rules = {"label_batch": {"shell_exec": str(shell)}}
    campaign = ClusterCampaign(slurm, tmp_path / "work", profile, rules)
    printed = campaign.run()
    assert campaign.datasets() == local.datasets()
    assert campaign.labelled() == local.labelled()
    assert max(campaign.labelled().values()) == 1
    summary = json.loads(campaign.layout.summary.read_text())
    assert summary["outcome"] == "budget_spent"

    assert "gen 1 · walker 1" in printed and "gen 1 · labels 1/2" in printed
    assert (tmp_path / "entered").read_text().split() == ["entered"] * 5, "one a batch"

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
