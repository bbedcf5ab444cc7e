"""The profiles: each parses and sets resources by rule; jobs run from a queue."""

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.campaign
PROFILES = REPOSITORY / "workflow" / "profiles"

#: What a cluster's queue does, as far as snakemake sees it: takes a job, says its number, runs it.
SBATCH = """#!/bin/sh
for argument; do script=$argument; echo "$argument" >> sbatch_arguments; done
setsid sh "$script" > /dev/null 2>&1 < /dev/null &
echo $!
"""


@pytest.mark.parametrize(
    ("profile", "resource"),
    [
        ("local", "mem_mb=4000"),
        ("slurm", "slurm_partition=main, slurm_account=default, runtime=480"),
        ("slurm-generic", "partition=main, account=default, gpu=0, runtime=480"),
    ],
)
def test_profile_sets_resources_by_rule(fake_campaign, profile, resource):
    shown = fake_campaign.run("--dry-run", "--workflow-profile", str(PROFILES / profile))
    jobs = shown.split("rule label_batch:")[1:]
    assert jobs and all(resource in job for job in jobs)


def test_default_profile_is_found_in_the_project_folder(fake_campaign):
    campaign = fake_campaign
    campaign.folder = REPOSITORY  # a dry-run writes nothing
    command = [
        part
        for part in campaign.command()
        if part not in ("--snakefile", str(REPOSITORY / "Snakefile"))
    ]
    campaign.command = lambda *options: [*command, *options]
    shown = campaign.run("--dry-run")
    assert "Using workflow specific profile profiles/default" in shown


def test_jobs_that_a_queue_runs(fake_campaign):
    """Every job is a snakemake of its own, which parses the Snakefile beside the running one."""
    campaign = fake_campaign
    sbatch = campaign.folder.parent / "bin" / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    campaign.run(
        *("--workflow-profile", str(PROFILES / "slurm-generic"), "--jobs", "3"),
        *("--latency-wait", "10", "results/fake/gen_00/label/merged.json"),
    )
    assert campaign.layout.merged(0).is_file()
    assert campaign.calls()["label_batch", "00"] == 2
    arguments = (campaign.folder / "sbatch_arguments").read_text()
    assert "--time=480" in arguments and "--partition=main" in arguments
    assert "--job-name=maceloop-label_batch" in arguments
    assert "plan" not in arguments.replace("plan.json", ""), "light steps stay out of the queue"
