"""A campaign that is killed while it holds the final exam, and one rebuilt from its labels."""

import json
import os
import shutil

import pytest
import yaml
from campaigns import BIN, REPOSITORY, Campaign

from mace_core.frames import read_frames

pytestmark = [pytest.mark.campaign, pytest.mark.slow]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """Killed in the exam's walk, and in the midst of its labels; then at its end."""
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    values["seed"]["structures"] = [str(REPOSITORY / "config" / "test" / "copper.xyz")]
    values["tracking"] = {"enabled": False}
    values["campaign"]["max_generations"] = 3
    values["labeller"] = {"engine": "ase", "calculator": "counting_emt:CountingEMT"}
    values["seed"] |= {"rattle_std": [0.05], "n_frames": 12}
    values["explore"] |= {"temperatures": [300.0], "max_force_error": 1900}
    values["label"] = {"batch_size": 20}  # one job
    values["stop"] = {"target_force_mae": 500, "target_energy_mae": 500, "target_stress_mae": 500}
    values["stop"] |= {"streak": 1, "min_audit_frames": 2, "exam_length": 30, "exam_frames": 3}
    campaign = Campaign(
        tmp_path_factory.mktemp("exam"), values, os.pathsep.join([str(BIN), os.environ["PATH"]])
    )
    here, hold = str(REPOSITORY / "tests" / "workflow"), campaign.folder / "hold"
    campaign.env["PYTHONPATH"] = os.pathsep.join([here, campaign.env.get("PYTHONPATH", "")])
    campaign.env |= {"LABEL_HOLD": str(hold), "LABEL_SECONDS": "0"}

    # The job of the long walk has begun.
    at = campaign.layout
    killed_when(campaign, (at.gen(2) / "logs" / "explore_md_2.log").is_file)
    assert not at.walker(2, 2).is_file() and not at.selected(2).is_file()
    assert json.loads(at.plan(2).read_text())["exam"]

    # The exam's first label is on record, and the second is being computed.
    before = records(campaign)
    hold.touch()
    killed_when(campaign, lambda: records(campaign) - before)
    hold.unlink()
    campaign.recorded = records(campaign)
    assert len(campaign.recorded - before) == 1 and not at.merged(2).is_file()
    campaign.run()
    return campaign


def killed_when(campaign, condition) -> None:
    """``kill -9`` of everything as soon as something new is on disk."""
    snakemake = campaign.start("--cores", "1")
    campaign.wait_for(lambda: condition() or snakemake.poll() is not None)
    assert snakemake.poll() is None, (campaign.folder / "run.log").read_text()
    campaign.kill(snakemake, with_children=True)


def records(campaign) -> set[str]:
    return {path.stem for path in campaign.folder.glob("labels/*/*.json")} - {"theory"}


def audited(campaign) -> list[dict]:
    return json.loads(campaign.layout.assess(2).read_text())["audit_frames"]


def test_it_goes_on_and_converges_with_the_exam_held(campaign):
    result = json.loads(campaign.layout.assess(2).read_text())
    assert result["outcome"] == "converged" and campaign.layout.assessed_generations() == [0, 1, 2]
    walk = json.loads(campaign.layout.walker(2, 2).with_suffix(".json").read_text())
    assert walk["exam"] and walk["steps_done"] == 30 * 50
    assert sum(row["exam"] for row in audited(campaign)) == 3


def test_no_label_is_lost_or_repeated(campaign):
    assert max(campaign.labelled().values()) == 1
    assert set(campaign.labelled()) == records(campaign) > campaign.recorded
    frames = [a for g in (0, 1, 2) for a in read_frames(campaign.layout.selected(g))]
    assert {a.info["frame_id"] for a in frames} == records(campaign)


def test_rebuilt_from_its_labels_it_holds_the_same_exam_and_buys_nothing(campaign):
    """The rebuilt one is never killed: the kills left no trace in the first."""
    before, labelled = campaign.layout.root.with_name("before"), campaign.labelled()
    found, datasets, rows = records(campaign), campaign.datasets(), audited(campaign)
    shutil.move(campaign.layout.root, before)
    campaign.run()
    assert campaign.labelled() == labelled and records(campaign) == found
    assert campaign.datasets() == datasets
    assert audited(campaign) == rows
    for name in ("plan.json", "select/frames.extxyz"):
        again = campaign.layout.gen(2) / name
        assert again.read_bytes() == (before / "gen_02" / name).read_bytes()
    told = json.loads(campaign.layout.assess(2).read_text())
    assert told["outcome"] == "converged" and told["labels"]["found"] == told["labels"]["calls"]
    assert "Nothing to be done" in campaign.run("--dry-run")
