"""A generation by Snakemake's own executor for Slurm, against the same one on this machine."""

import pytest
from on_slurm import ClusterCampaign, check_same

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]


def test_generation_by_the_slurm_plugin(slurm, labelled, request, tmp_path, count):
    """A campaign's second generation by slurm.

    It goes on where the first one ended on one machine.
    """
    campaign = ClusterCampaign(slurm, tmp_path, "slurm", template=labelled.folder)
    campaign.run("results/emt/gen_01/assess.json")
    local = request.getfixturevalue("local")  # only now: it need not wait for it
    check_same(slurm, campaign, local, n_labels=2)
    assert count(campaign, 1) == (len(local.labelled()) - len(labelled.labelled()), 0, 0)
