"""The logic of the workflow, on a fake `maceloop`."""

import pytest

pytestmark = pytest.mark.campaign

LABEL_BATCHES, MEMBERS, WALKERS = 2, 2, 2
EACH_GENERATION = {
    "plan": 1,
    "build_dataset": 1,
    "train_member": MEMBERS,
    "calibrate": 1,
    "explore_md": WALKERS,
    "select_frames": 1,
    "label_batch": LABEL_BATCHES,
    "merge_labels": 1,
    "assess_generation": 1,
    "track_generation": 1,
    "report": 1,
}


def rules_of(calls, gen):
    return {rule: n for (rule, g), n in calls.items() if g == gen}


def test_campaign_from_nothing_to_its_end(fake_campaign):
    campaign = fake_campaign
    dry = campaign.run("--dry-run")
    for rule in ("plan", "prepare_seed", "label_batch", "merge_labels", "assess_generation"):
        assert rule in dry
    assert not campaign.layout.root.exists(), "a dry-run writes nothing"

    shown = campaign.run()
    calls = campaign.calls()
    assert rules_of(calls, "01") == rules_of(calls, "02") == EACH_GENERATION
    assert calls["prepare_seed", "00"] == 1 and calls["train_member", "00"] == 0
    assert ("plan", "03") not in calls
    assert "gen 02 · member 1" in shown and "summary of fake" in shown
    assert "Select jobs" not in shown and "rule train_member" not in shown

    assert campaign.nothing_to_do()
    assert campaign.calls()["plan", "01"] == 1
