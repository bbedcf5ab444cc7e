"""One configuration file, and one message when it is wrong."""

import json

import pytest

pytestmark = pytest.mark.campaign


def message(output: str) -> str:
    """What was said, checked to be no traceback."""
    assert "Traceback" not in output and "File " not in output
    return output


def test_wrong_configurations_end_before_anything_starts(fake_campaign):
    campaign = fake_campaign
    good = campaign.config.read_text()

    campaign.config.write_text(good.replace('"r_max":5.0', '"r_maks":5.0'))
    said = message(campaign.run(code=2))
    assert "model.r_maks: unknown key; did you mean 'r_max'?" in said
    assert str(campaign.config.name) in said

    campaign.config.write_text(good.replace("crystal.xyz", "crystl.xyz"))
    said = message(campaign.run("--dry-run", code=2))
    assert "seed.structures" in said and "crystl.xyz" in said

    campaign.config.write_text(good)
    said = message(campaign.run("--config", "campaign={}", code=2))
    assert "--config campaign" in said and "mend:" in said
    assert not campaign.layout.root.exists()


def test_level_of_theory_cannot_change_under_way(fake_campaign):
    campaign = fake_campaign
    campaign.set({"campaign.max_generations": 1})
    campaign.run()
    campaign.values["labeller"] = {"engine": "tblite"}
    campaign.set({"campaign.max_generations": 2})
    said = message(campaign.run(code=2))
    assert "level of theory" in said and "mend:" in said


def test_keys_left_out_have_their_defaults_and_not_the_demos(fake_campaign):
    campaign = fake_campaign
    campaign.set({})
    minimal = {key: campaign.values[key] for key in ("campaign", "labeller", "seed")}
    campaign.config.write_text(json.dumps(minimal))
    shown = campaign.run("--dry-run")
    assert shown.count("rule label_batch:") == 1
    assert "ethanol" not in shown
