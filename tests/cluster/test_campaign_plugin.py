"""A generation by Snakemake's own executor for Slurm, against the same one on this machine."""

import json
import shutil

import pytest
from on_slurm import ClusterCampaign, check_same

pytestmark = [pytest.mark.campaign, pytest.mark.cluster, pytest.mark.slow]


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
    check_same(slurm, campaign, local, n_labels=2)
    assert count(campaign, 1) == (len(local.labelled()) - len(seeds), 0, 0)
