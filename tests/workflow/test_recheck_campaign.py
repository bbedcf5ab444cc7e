"""A campaign whose labeller ends in another electronic state for two frames of its audit."""

import os
import shutil

import pytest
import yaml
from campaigns import BIN, REPOSITORY, Campaign
from two_states import HIGHER, digest

from mace_core.config.labellers import ASELabeller
from mace_core.frames import read_frames
from mace_core.label.store import LabelStore
from mace_core.storage import read_json

pytestmark = [pytest.mark.campaign, pytest.mark.slow]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """The finished campaign. ``wrong`` comes out right from the other guess, ``stuck`` does not.

    It was killed while the first of them was computed again.
    """
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    values["seed"]["structures"] = [str(REPOSITORY / "config" / "test" / "copper.xyz")]
    values["tracking"] = {"enabled": False}
    values["select"]["audit_frames"] = 8
    values["labeller"] = {
        "engine": "ase",
        "calculator": "two_states:TwoStates",
        "other_guess": {"second": "right"},
    }
    campaign = Campaign(
        tmp_path_factory.mktemp("recheck"), values, os.pathsep.join([str(BIN), os.environ["PATH"]])
    )
    paths = [str(REPOSITORY / "tests"), campaign.env.get("PYTHONPATH", "")]
    hold = campaign.folder / "hold"
    campaign.env |= {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "MACELOOP_HOLD": str(hold),
    }
    campaign.run("results/emt/gen_01/select/frames.extxyz")
    audit = [a for a in read_frames(campaign.layout.selected(1)) if a.info["role"] == "audit"]
    campaign.wrong, campaign.stuck = (a.info["frame_id"] for a in audit[:2])
    campaign.digests = [digest(a) for a in audit[:2]]
    campaign.env |= dict(
        zip(("TWO_STATES_WRONG", "TWO_STATES_STUCK"), campaign.digests, strict=True)
    )
    hold.touch()
    snakemake = campaign.start()
    held = campaign.folder / "hold.held"
    campaign.wait_for(lambda: held.exists() or snakemake.poll() is not None)
    assert held.exists(), (campaign.folder / "run.log").read_text()
    campaign.kill(snakemake, with_children=True)
    hold.unlink()
    campaign.printed = campaign.run()
    return campaign


def calls(campaign):
    return sorted(campaign.calls_log.read_text().splitlines())


def rechecks(campaign):
    return {
        row["frame_id"]: row
        for g in (1, 2)
        for row in read_json(campaign.layout.recheck(g))["rechecks"]
    }


def trained(campaign, g):
    names = ("train.extxyz", "valid.extxyz")
    frames = [a for name in names for a in read_frames(campaign.layout.dataset(g) / name)]
    return {a.info["frame_id"]: a for a in frames}


def test_each_was_computed_again_once_in_spite_of_the_kill(campaign):
    for name in campaign.digests:
        assert [line for line in calls(campaign) if line.startswith(name)] == [
            f"{name} first",
            f"{name} second",
        ]


def test_what_came_out_otherwise_is_quarantined_with_both_values(campaign):
    row = rechecks(campaign)[campaign.wrong]
    assert row["agrees"] is False and row["energy_difference"] == pytest.approx(-HIGHER / 4)
    (entry,) = [
        entry
        for entry in read_json(campaign.layout.assess(1))["quarantine"]
        if entry["frame_id"] == campaign.wrong
    ]
    assert "meV/atom below the label" in entry["reason"]
    assert campaign.wrong not in trained(campaign, 2)
    assert f"frame {campaign.wrong} stays in quarantine: computed again" in campaign.printed


def test_what_came_out_the_same_is_released_and_trains(campaign):
    assert rechecks(campaign)[campaign.stuck]["agrees"] is True
    assert campaign.stuck in trained(campaign, 2)
    store = LabelStore(
        campaign.folder / "labels", ASELabeller.model_validate(campaign.values["labeller"])
    )
    assert "agrees within" in store.releases.read(campaign.stuck)["reason"]
    assert store.releases.read(campaign.wrong) is None


def test_they_count_as_label_calls(campaign):
    for g in (1, 2):
        labels = read_json(campaign.layout.assess(g))["labels"]
        found = read_json(campaign.layout.recheck(g))
        assert labels["rechecks"] == found["calls"] == len(found["rechecks"])
        assert labels["calls"] == read_json(campaign.layout.merged(g))["calls"] + found["calls"]
    total = read_json(campaign.layout.summary)["total"]
    assert total["calls"] == len(calls(campaign)) and total["failed"] == 0


def test_a_rebuilt_campaign_computes_nothing_and_says_the_same(campaign):
    before, summary = calls(campaign), read_json(campaign.layout.summary)
    datasets, found = campaign.datasets(), rechecks(campaign)
    shutil.move(campaign.layout.root, campaign.folder / "before")
    campaign.run()
    assert calls(campaign) == before
    assert campaign.datasets() == datasets
    total = read_json(campaign.layout.summary)["total"]
    assert total == summary["total"] | {"found": total["calls"]}
    again = rechecks(campaign)
    assert {name: row | {"computed": True} for name, row in again.items()} == found
    assert "Nothing to be done" in campaign.run("--dry-run")


def test_a_campaign_that_was_assessed_before_there_was_this_step_stays_as_it_is(campaign):
    """Its files lack recheck.json and the scored frames: nothing is made anew, or bought."""
    for g in (1, 2):
        campaign.layout.recheck(g).unlink()
        shutil.rmtree(campaign.layout.scored(g))
    before = calls(campaign)
    assert "Nothing to be done" in campaign.run("--dry-run")
    campaign.run()
    assert calls(campaign) == before and not campaign.layout.recheck(1).exists()
