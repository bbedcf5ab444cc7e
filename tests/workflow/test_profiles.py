"""The profiles: each parses and sets resources by rule. tests/cluster runs what they submit."""

import pytest
from campaigns import REPOSITORY

pytestmark = pytest.mark.campaign
PROFILES = REPOSITORY / "workflow" / "profiles"


@pytest.mark.parametrize(
    ("profile", "resource"),
    [
        ("local", "mem_mb=4000"),
        ("slurm", "runtime=480"),
        ("slurm-generic", "runtime=480"),
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
