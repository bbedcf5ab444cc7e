"""A whole campaign on Slurm, by either executor, against the same one on this machine."""

import json
import os
import shutil

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


def light_steps(slurm, jobs):
    return [
        job
        for job in jobs
        for rule in ("plan", "build_dataset", "merge_labels", "track_generation", "report")
        if job["name"].endswith(rule) or job["comment"].startswith(f"rule_{rule}")
    ]


def check(slurm, campaign, local, n_labels):
    """The same labels and data as on one machine; every job where it belongs."""
    assert campaign.datasets() == local.datasets()
    assert campaign.labelled() == local.labelled() and max(campaign.labelled().values()) == 1
    summary = json.loads(campaign.layout.summary.read_text())
    assert summary["outcome"] == "budget_spent"
    jobs = [job for job in slurm.jobs() if campaign.is_mine(job)]
    of = {
        rule: [job for job in slurm.find(rule, "all") if job in jobs]
        for rule in ("train_member", "explore_md", "label_batch")
    }
    assert len(of["train_member"]) == 2 and len(of["explore_md"]) == 2
    assert len(of["label_batch"]) == n_labels, "batches, not labels"
    assert {job["state"] for job in jobs} == {"COMPLETED"} and not light_steps(slurm, jobs)
    for job in jobs:
        where = (job["partition"], "gpu" in job["gres"])
        assert where == (("gpu", True) if job in of["train_member"] else ("cpu", False))


def test_same_campaign_as_on_one_machine(slurm, local, tmp_path, count):
    """A whole campaign by slurm-generic."""
    shell = tmp_path / "with_modules"
    shell.write_text(f'#!/bin/bash\necho entered >> {tmp_path}/entered\nexec bash "$@"\n')
    shell.chmod(0o755)
    rules = {"label_batch": {"shell_exec": str(shell)}}
    campaign = ClusterCampaign(slurm, tmp_path / "work", "slurm-generic", rules)
    printed = campaign.run()
    check(slurm, campaign, local, n_labels=5)
    assert count(campaign, 0, 1) == (len(local.labelled()), 0, 0)
    assert "gen 1 · walker 1" in printed and "gen 1 · labels 1/2" in printed
    assert (tmp_path / "entered").read_text().split() == ["entered"] * 5, "one a batch"


def test_generation_by_the_slurm_plugin(slurm, local, tmp_path, count):
    """A campaign's second generation by slurm.

    It goes on where the first one ended on one machine.
    """
    before = tmp_path / "before"
    shutil.copytree(local.folder, before)
    shutil.rmtree(before / "results" / "emt" / "gen_01")
    seeds = json.loads(local.layout.merged(0).read_text())["labels"]
    (before / "label_calls").write_text("".join(f"{row['frame_id']}\n" for row in seeds))
    for path in before.glob("labels/*/*.json"):
        if path.stem not in {"theory", *(row["frame_id"] for row in seeds)}:
            path.unlink()
    campaign = ClusterCampaign(slurm, tmp_path / "work", "slurm", template=before)
    campaign.run()
    check(slurm, campaign, local, n_labels=2)
    assert count(campaign, 1) == (len(local.labelled()) - len(seeds), 0, 0)
