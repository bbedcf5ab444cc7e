"""A whole campaign whose labeller fails for 30 % of the frames, in eight ways."""

import os
from collections import Counter

import pytest
import yaml
from campaigns import BIN, REPOSITORY, Campaign
from faulty_labeller import FAULTS, OUTCOMES, fault_of

from mace_core.config.campaign import load_config, parse_config
from mace_core.config.labellers import ASELabeller
from mace_core.dataset import build_dataset
from mace_core.frames import read_frames
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore
from mace_core.seed.prepare import prepare_seed
from mace_core.storage import read_json, write_json
from mace_core.tables import read_table

pytestmark = [pytest.mark.campaign, pytest.mark.slow]

RATE = 0.3


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """The finished campaign; ``faults`` maps frame ids to how their label was made to fail."""
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    values["seed"] |= {"structures": [str(REPOSITORY / "config/test/copper.xyz")], "n_frames": 30}
    values["label"]["batch_size"] = 12
    # Poor models that walk on whatever they think of themselves: frames for every kind of failure.
    values["train"]["max_num_epochs"] = 10
    values["explore"]["max_force_error"] = 50_000
    values["select"] |= {"max_frames": 9, "audit_frames": 7, "window": [1, 100_000]}
    values["tracking"] = {"enabled": False}
    values["labeller"] = {
        "engine": "ase",
        "calculator": "faulty_labeller:FaultyCalculator",
        "time_limit": 5,
        "kwargs": {"rate": RATE},
    }
    campaign = Campaign(
        tmp_path_factory.mktemp("faults"), values, os.pathsep.join([str(BIN), os.environ["PATH"]])
    )
    paths = [str(REPOSITORY / "tests"), campaign.env.get("PYTHONPATH", "")]
    campaign.env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # A choice of frames in which every fault occurs already among the seeds.
    seeds = prepare_seed(load_config(campaign.config), [], campaign.folder / "seeds.extxyz")
    choice = next(
        seed for seed in range(10_000) if {fault_of(a, seed, RATE) for a in seeds} >= set(FAULTS)
    )
    campaign.set({"labeller.kwargs": {"seed": choice, "rate": RATE}})
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
    return {f.info["frame_id"]: fault_of(f, campaign.choice, RATE) for f in frames}


def test_the_campaign_came_to_its_end(campaign):
    summary = read_json(campaign.layout.summary)
    assert summary["outcome"] == "budget_spent"
    assert campaign.layout.assessed_generations() == [0, 1, 2]


def store_of(campaign):
    labeller = ASELabeller.model_validate(campaign.values["labeller"])
    return LabelStore(campaign.folder / "labels", labeller)


def test_each_failure_is_on_record_with_a_reason_of_its_own(campaign):
    faults = asked(campaign)
    assert set(faults.values()) == {None, *FAULTS}
    assert 0.2 < sum(fault is not None for fault in faults.values()) / len(faults) < 0.4
    merged = {
        label["frame_id"]: label
        for g in campaign.layout.assessed_generations()
        for label in read_json(campaign.layout.merged(g))["labels"]
    }
    assert set(merged) == set(faults)
    store = store_of(campaign)
    for frame_id, fault in faults.items():
        status, reason = OUTCOMES[fault]
        for found in (merged[frame_id], vars(store.get(frame_id))):
            assert found["status"] == status, (fault, found["reason"])
            assert reason in found["reason"]
            assert bool(found["reason"]) == (fault is not None)
    counts = Counter(OUTCOMES[fault][0] for fault in faults.values())
    labels = [
        read_json(campaign.layout.assess(g))["labels"]
        for g in campaign.layout.assessed_generations()
    ]
    for status in {status for status, _ in OUTCOMES.values()}:
        assert sum(part[status] for part in labels) == counts[status]
    total = read_json(campaign.layout.summary)["total"]
    assert (total["converged"], total["quarantined"]) == (
        counts["converged"],
        counts["quarantined"],
    )


def test_the_trained_set_is_that_of_a_labeller_without_faults(campaign, tmp_path, monkeypatch):
    """Byte for byte, on the frames that succeeded: a failure leaves no trace in the data.

    But in how many labels of each stratum were asked for.
    """
    monkeypatch.setenv("PYTHONPATH", campaign.env["PYTHONPATH"])  # for the labeller
    faults = asked(campaign)
    sound = campaign.values | {
        "labeller": campaign.values["labeller"] | {"kwargs": {"rate": 0.0}},
        "campaign": campaign.values["campaign"] | {"label_store": str(tmp_path / "labels")},
    }
    config = parse_config(sound, "test")
    store = LabelStore(config.campaign.label_store, config.labeller)
    merged, assessed = [], []
    generation = {
        atoms.info["frame_id"]: g
        for g in campaign.layout.assessed_generations()
        for atoms in read_frames(campaign.layout.selected(g))
    }
    for g in (0, 1):
        frames = [
            atoms
            for atoms in read_frames(campaign.layout.selected(g))
            if not faults[atoms.info["frame_id"]]
        ]
        outcomes = label_frames(frames, config.labeller, store)
        assert all(outcome.record.converged for outcome in outcomes)
        table = read_json(campaign.layout.merged(g)) | {"theory": store.theory_id}
        kept = {atoms.info["frame_id"] for atoms in frames}
        table["labels"] = [label for label in table["labels"] if label["frame_id"] in kept]
        merged.append(tmp_path / f"merged_{g}.json")
        write_json(merged[-1], table)
        assessed.append(tmp_path / f"assess_{g}.json")
        write_json(assessed[-1], {"generation": g, "quarantine": []})
        plan = read_json(campaign.layout.plan(g + 1))
        plan |= {"config": config.model_dump(mode="json"), "theory": store.theory_id}
        write_json(tmp_path / "plan.json", plan)
        out = tmp_path / f"dataset_{g + 1}"
        build_dataset(tmp_path / "plan.json", merged, out, assessed)
        theirs = campaign.layout.dataset(g + 1)
        for name in ("train.extxyz", "valid.extxyz"):
            assert (out / name).read_bytes() == (theirs / name).read_bytes(), name
        told, mine = (read_json(folder / "dataset.json") for folder in (theirs, out))
        sent = sum(counts.pop("labels") for counts in told["strata"].values())
        got = sum(counts.pop("labels") for counts in mine["strata"].values())
        lost = [fault for frame, fault in faults.items() if fault and generation[frame] <= g]
        assert told == mine and sent == got + len(lost)


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
