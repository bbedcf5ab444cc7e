"""A whole campaign whose labeller fails for a fifth of the frames, in five ways."""

import json
import os
from collections import Counter

import pytest
import yaml
from campaigns import BIN, REPOSITORY, Campaign
from faulty_labeller import FAULTS, fault_of

from mace_core.config.campaign import load_config
from mace_core.config.labellers import ASELabeller
from mace_core.frames import read_frames
from mace_core.label.store import LabelStore
from mace_core.seed.prepare import prepare_seed
from mace_core.tables import read_table

pytestmark = [pytest.mark.campaign, pytest.mark.slow]

STATUS = {
    "unconverged": "unconverged",
    "nan": "rejected",
    "hang": "timeout",
    "exit": "failed",
    "reorder": "rejected",
}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """The finished campaign; ``faults`` maps frame ids to how their label was made to fail."""
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    values["seed"] |= {"structures": [str(REPOSITORY / "config/test/copper.xyz")], "n_frames": 30}
    values["label"]["batch_size"] = 12
    values["labeller"] = {
        "engine": "ase",
        "calculator": "faulty_labeller:FaultyCalculator",
        "time_limit": 5,
    }
    campaign = Campaign(
        tmp_path_factory.mktemp("faults"), values, os.pathsep.join([str(BIN), os.environ["PATH"]])
    )
    paths = [str(REPOSITORY / "tests"), campaign.env.get("PYTHONPATH", "")]
    campaign.env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # A choice of frames in which every fault occurs already among the seeds.
    seeds = prepare_seed(load_config(campaign.config), [], campaign.folder / "seeds.extxyz")
    choice = next(seed for seed in range(1000) if {fault_of(a, seed) for a in seeds} >= set(FAULTS))
    campaign.set({"labeller.kwargs": {"seed": choice}})
    campaign.choice = choice
    campaign.printed = campaign.run()
    return campaign


def asked(campaign):
    """Every frame that was sent to be labelled, with the fault made for it."""
    frames = [
        frame
        for g in campaign.layout.assessed_generations()
        for frame in read_frames(campaign.layout.selected(g))
    ]
    return {f.info["frame_id"]: fault_of(f, campaign.choice) for f in frames}


def test_the_campaign_came_to_its_end(campaign):
    summary = json.loads(campaign.layout.summary.read_text())
    assert summary["outcome"] == "budget_spent"
    assert campaign.layout.assessed_generations() == [0, 1, 2]


def test_every_failure_is_on_record_with_its_reason(campaign):
    faults = asked(campaign)
    assert set(faults.values()) == {None, *FAULTS}
    store = LabelStore(
        campaign.folder / "labels", ASELabeller.model_validate(campaign.values["labeller"])
    )
    for frame_id, fault in faults.items():
        record = store.get(frame_id)
        assert record.status == STATUS.get(fault, "converged"), (fault, record.reason)
        assert bool(record.reason) == (fault is not None)
    counts = Counter(STATUS[fault] for fault in faults.values() if fault)
    labels = [
        json.loads(campaign.layout.assess(g).read_text())["labels"]
        for g in campaign.layout.assessed_generations()
    ]
    for status in set(STATUS.values()):
        assert sum(part[status] for part in labels) == counts[status]


def test_no_failed_label_trained_or_judged(campaign):
    failed = {frame_id for frame_id, fault in asked(campaign).items() if fault}
    folders = [campaign.layout.gen(g) for g in campaign.layout.assessed_generations()]
    files = [path for folder in folders for path in folder.glob("dataset/*.extxyz")]
    files += [path for folder in folders for path in folder.glob("assess/*.extxyz")]
    assert len(files) >= 6
    used = {frame.info["frame_id"] for path in files for frame in read_frames(path)}
    assert used and not used & failed
    ledger = read_table(campaign.layout.dataset(2) / "ledger").set_index("frame_id")
    listed = ledger.index.intersection(list(failed))
    assert len(listed) > 0
    assert set(ledger.loc[listed, "split"]) == {"none"}
    assert ledger.loc[listed, "reason"].str.len().min() > 0


def test_the_report_shows_every_failure(campaign):
    page = (campaign.layout.root / "report.html").read_text()
    for frame_id, fault in asked(campaign).items():
        assert not fault or frame_id in page
