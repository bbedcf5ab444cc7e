"""A whole campaign on Slurm against the same one on this machine."""

import pytest
from on_slurm import ClusterCampaign, check_same

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]


def test_same_campaign_as_on_one_machine(slurm, request, tmp_path, count):
    """A whole campaign by slurm-generic."""
    shell = tmp_path / "with_modules"
    shell.write_text(f'#!/bin/bash\necho entered >> {tmp_path}/entered\nexec bash "$@"\n')
    shell.chmod(0o755)
    rules = {"label_batch": {"shell_exec": str(shell)}}
    campaign = ClusterCampaign(slurm, tmp_path / "work", "slurm-generic", rules)
    printed = campaign.run()
    local = request.getfixturevalue("local")  # only now: another worker makes it meanwhile
    check_same(slurm, campaign, local, n_labels=4)
    assert count(campaign, 0, 1) == (len(local.labelled()), 0, 0)
    assert "gen 1 · walker 1" in printed and "gen 1 · labels 1/2" in printed
    assert (tmp_path / "entered").read_text().split() == ["entered"] * 4, "one a batch"
