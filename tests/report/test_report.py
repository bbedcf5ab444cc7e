"""The report is one file, says everything, and asks nothing of the network."""

import json
import re
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_campaign import FAILURES, write_fake_campaign

from mace_core.assess.advice import ADVICE, in_unit
from mace_core.assess.decide import decide
from mace_core.campaign_tables import generations_table
from mace_core.chronicle import Chronicle
from mace_core.config import load_config
from mace_core.config.labellers import LabellerBase
from mace_core.conventions import Outcome
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelFolder
from mace_core.layout import Layout
from mace_core.report import page, write_report
from mace_core.report.advice import KINDS
from mace_core.storage import read_json, sha256_file, write_json
from mace_core.summary import summarise


class Page(HTMLParser):
    """A parsed page: its text, its scripts by id or figure, and every address in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.raw = path.read_text()
        self.words, self.addresses, self.data, self.styles, self.ids = [], [], {}, [], set()
        self._inside, self._key = None, None
        self.feed(self.raw)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attrs:
                self.addresses.append(attrs[name])
        if tag in ("script", "style"):
            self._inside = tag
            self._key = attrs.get("data-for") or attrs.get("id")

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data):
        if self._inside == "style":
            self.styles.append(data)
        elif self._inside == "script":
            if self._key:
                self.data[self._key] = data
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    config = load_config(write_fake_campaign(folder, generations=3))
    return config, Layout(config.campaign.results_dir, config.campaign.name)


@pytest.fixture(scope="module")
def report(campaign) -> Page:
    config, layout = campaign
    return Page(write_report(config, 3, layout.report(3)))


def written(folder: Path, **kwargs) -> Page:
    config = load_config(write_fake_campaign(folder, **kwargs))
    return Page(write_report(config, None, folder / "report.html"))


def test_nothing_is_fetched(report):
    assert report.addresses, "the contents link to sections"
    assert all(address.startswith("#") for address in report.addresses)
    css = "".join(report.styles)
    assert "@import" not in css and "url(" not in css
    assert len(report.raw) < 12e6


def test_links_of_the_contents_lead_somewhere(report):
    assert {address[1:] for address in report.addresses} <= report.ids


def test_every_failed_label_is_there_with_its_reason(report, campaign):
    _, layout = campaign
    failed = [
        label
        for g in range(4)
        for label in read_json(layout.merged(g))["labels"]
        if label["status"] != "converged"
    ]
    assert len(failed) == 6
    for label in failed:
        assert label["frame_id"] in report.text
    for status, reason in FAILURES:
        assert status in report.text and reason in report.text
    assert "newton: timeout" in report.text, "the attempts of the label store are told"


def test_labels_in_quarantine_are_there_with_how_to_release_them(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=2))
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    merged, assess = read_json(layout.merged(2)), read_json(layout.assess(2))
    large, doubted, released = (merged["labels"][k] for k in (5, 6, 7))
    large |= {"status": "quarantined", "reason": "force of 200 eV/Å on atom 0 (C)"}
    write_json(layout.merged(2), merged)
    assess["quarantine"] = [
        {"frame_id": label["frame_id"], "role": "picked", "reason": f"energy is {k} eV/atom off"}
        for k, label in enumerate((doubted, released), start=7)
    ]
    write_json(layout.assess(2), assess)
    scored = read_frames(layout.predictions(2, "picked"))
    apart = [a for a in scored if a.info["frame_id"] == doubted["frame_id"]]
    write_frames(layout.predictions(2, "quarantine"), apart)
    write_frames(layout.predictions(2, "picked"), [a for a in scored if a not in apart])
    store = LabelFolder(Path(config.campaign.label_store) / merged["theory"])
    store.releases.write(released["frame_id"], {"reason": "computed again"})

    found = Page(write_report(config, None, tmp_path / "report.html"))
    assert "force of 200 eV/Å on atom 0 (C)" in found.text
    assert "energy is 7 eV/atom off" in found.text and "energy is 8 eV/atom off" in found.text
    for label in (large, doubted):
        command = (
            f"maceloop labels release {label['frame_id']} --store {config.campaign.label_store}"
        )
        assert command in found.text
    assert f"labels release {released['frame_id']}" not in found.text
    assert "Released by" in found.text and "computed again" in found.text
    viewer = json.loads(found.data["viewer-data"])["properties"]
    assert viewer["label"]["values"].count("quarantined") == 3
    shown = dict(zip(viewer["label"]["values"], viewer["true error"]["values"], strict=True))
    assert shown["quarantined"] is not None, "also of a doubted label the error is shown"
    assert summarise(layout, config)["total"]["quarantined"] == 2


def test_rungs_are_told_where_one_was_not_the_first(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=1))
    layout = Layout(config.campaign.results_dir, config.campaign.name)

    def report_with(rungs):
        merged = read_json(layout.merged(1))
        for label, rung in zip(merged["labels"], rungs, strict=False):
            label["rung"] = rung
        write_json(layout.merged(1), merged)
        return Page(write_report(config, None, tmp_path / "report.html")).text

    assert "retry ladder" not in report_with(["default"] * 5)
    assert re.search(r"retry ladder.* default 3 damped 2 ", report_with(["damped"] * 2))


def test_text_from_outside_is_text(report):
    assert "&lt;NaN&gt;" in report.raw and "<NaN>" not in report.raw


def test_header_and_decision(report, campaign):
    _, layout = campaign
    assess = read_json(layout.assess(3))
    assert "Converged" in report.text
    reason = assess["reason"]
    assert reason[0].upper() + reason[1:] in report.text
    for check in assess["checks"]:
        assert check["name"] in report.text and check["message"] in report.text
    audit = assess["audit"]
    assert page.mev(audit["force_mae"]) in report.text
    assert page.mev(audit["force_mae_high"]) in report.text


def test_calls_that_the_store_answered_are_told_from_computed_ones(report, campaign):
    _, layout = campaign
    total = read_json(layout.assess(3))["labels"]
    assert total["total_found"] == 3
    said = f"{total['total_calls'] - 3} computed, 3 found in the store"
    assert f'<dd class="sub">{said}</dd>' in report.raw
    assert report.raw.count(" found</small>") == 1  # in one generation


def test_plots_hold_the_numbers(report, campaign):
    _, layout = campaign
    assert {key for key in report.data if key.startswith("plot-")} == {
        "plot-learning", "plot-uncertainty", "plot-coverage", "plot-walkers", "plot-costs",
        "plot-parity_forces", "plot-parity_energies",
    }  # fmt: skip
    learning = json.loads(report.data["plot-learning"])
    curve = next(t for t in learning["data"] if t.get("name") == "audit")
    assert list(_numbers(curve["y"])) == pytest.approx(
        [1000 * read_json(layout.assess(g))["audit"]["force_mae"] for g in (1, 2, 3)]
    )
    spent = [read_json(layout.plan(g))["labels_spent"] for g in (1, 2, 3)]
    assert list(_numbers(curve["x"])) == spent, "models are placed at what was paid before them"
    assert learning["layout"]["yaxis"]["type"] == "log"


def test_walkers_are_told_one_by_one(report, campaign):
    _, layout = campaign
    for w in range(4):
        walker = read_json(layout.walker(3, w).with_suffix(".json"))
        assert walker["reason"] in report.text
    walkers = json.loads(report.data["plot-walkers"])
    shown = [len(trace["y"]["bdata"]) > 0 for trace in walkers["data"] if "name" in trace]
    assert len(shown) == 3, "completed, uncertain and close contact"


def test_viewer_has_every_frame_with_error_and_uncertainty(report):
    dataset = json.loads(report.data["viewer-data"])
    assert len(dataset["structures"]) == 12 + 3 * 14, "isolated atoms are left out"
    properties = dataset["properties"]
    status = properties["label"]["values"]
    error = properties["true error"]["values"]
    roles = properties["role"]["values"]
    assert {"seed", "picked", "audit"} == set(roles)
    for value, role, label in zip(error, roles, status, strict=True):
        assert (value is None) == (role == "seed" or label != "converged")
    assert None not in [
        u for u, r in zip(properties["uncertainty"]["values"], roles, strict=True) if r != "seed"
    ]


def test_provenance(report, campaign):
    _, layout = campaign
    assert read_json(layout.assess(3))["dataset"]["sha256"] in report.text
    for m in range(2):
        assert sha256_file(layout.member(3, m) / "model.safetensors") in report.text
    assert read_json(layout.plan(3))["theory"] in report.text
    assert "target_force_mae: 40.0" in report.raw
    assert f"torch {version('torch')}" in report.text


def test_latest_copy_and_tables(campaign, report, tmp_path):
    config, layout = campaign
    latest = layout.root / "report.html"
    assert latest.read_text() == report.raw
    table = pd.read_parquet(layout.root / "tables" / "learning_curve.parquet")
    assert table["generation"].tolist() == [0, 1, 2, 3]
    assert np.isnan(table["audit_force_mae"][0]) and table["audit_force_mae"][3] > 0
    walkers = pd.read_csv(layout.root / "tables" / "walkers.csv")
    assert len(walkers) == 12 and set(walkers["end"]) == {"completed", "uncertain", "close_contact"}
    early = Page(write_report(config, 1, tmp_path / "early.html"))
    assert "after generation 1" in early.text and "Running" in early.text
    assert latest.read_text() == report.raw, "an earlier report is not the latest"


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [
        ("converged", "Converged"),
        ("budget_spent", "Budget spent"),
        ("stalled", "Stalled"),
        ("continue", "Running"),
    ],
)
def test_outcomes_look_different(tmp_path, outcome, headline):
    found = written(tmp_path, generations=1, outcome=outcome)
    assert f'class="outcome-{outcome}"' in found.raw
    assert headline in found.text
    assert ("What to do:" in found.text) == (outcome != "converged")


def test_generation_zero_alone(tmp_path):
    found = written(tmp_path, generations=0, outcome="continue")
    assert "generation 0 only labels" in found.text
    assert {key for key in found.data if key.startswith("plot-")} == {"plot-costs"}
    assert "uncertainty" not in json.loads(found.data["viewer-data"])["properties"]


def test_without_frozen_set_and_calibration(tmp_path):
    found = written(tmp_path, generations=2, frozen=False, calibrated=False)
    assert "no frozen test set was given" in found.text
    assert "No calibration was made" in found.text
    assert "plot-coverage" not in found.data and "plot-parity_forces" in found.data


def test_factors_say_their_interval_or_that_they_are_assumed(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=1))
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    assess, committee = read_json(layout.assess(1)), read_json(layout.committee(1))
    assumed = {
        "factor": 3.0,
        "calibrated": False,
        "coverage": 0.9,
        "level": None,
        "n_frames": 2,
        "source": "the committee cannot be calibrated on 2 frames, 5 are needed",
    }
    measured = assess["calibration"] | {"factor": 2.5, "factor_low": 2.0, "factor_high": 4.0}
    coverage = assess["measured_coverage"] | {"expected": None}
    changed = {"calibration": measured, "measured_coverage": coverage}
    write_json(layout.committee(1), committee | {"calibration": assumed})
    write_json(layout.assess(1), assess | changed)
    found = Page(write_report(config, None, tmp_path / "assumed.html"))
    assert "Factor in generation 1: not calibrated yet (assumed factor 3)" in found.text
    assert "For the next generation: 2.5 (90% interval 2 to 4)" in found.text
    assert "plot-coverage" in found.data
    # Not calibrated after it either, and committee.json of an earlier version.
    write_json(layout.committee(1), committee)
    write_json(layout.assess(1), assess | changed | {"calibration": assumed})
    found = Page(write_report(config, None, tmp_path / "old.html"))
    assert "Factor in generation 1: 3, bounds the error of 90% of frames; 6 frames:" in found.text
    assert "For the next generation: not calibrated yet (assumed factor 3)" in found.text


def test_audit_without_bounds_and_without_frames(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=2))
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    one, none = read_json(layout.assess(1)), read_json(layout.assess(2))
    for errors in (one["audit"], *one["audit"]["by_element"].values()):
        errors |= {"force_mae_low": None, "force_mae_high": None}
    none["audit"] = None
    write_json(layout.assess(1), one)
    write_json(layout.assess(2), none)
    found = Page(write_report(config, None, tmp_path / "report.html"))
    assert not re.search(r"\bnan\b", found.text.replace("<NaN>", ""), re.IGNORECASE)
    curve = json.loads(found.data["plot-learning"])["data"]
    assert len(_numbers(next(t for t in curve if t.get("name") == "audit")["y"])) == 1


def test_changed_settings_are_told(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=2))
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    plan = read_json(layout.plan(2))
    plan["config"]["train"]["max_num_epochs"] = 77
    plan["config"]["tracking"]["uri"] = "postgresql://me:secret@host/db"
    write_json(layout.plan(2), plan)
    found = Page(write_report(config, None, tmp_path / "report.html"))
    assert re.search(r"2\s+train\.max_num_epochs\s+20\s+77", found.text)
    assert "secret" not in found.raw


def test_nothing_assessed_is_said(tmp_path):
    path = write_fake_campaign(tmp_path, generations=0)
    config = load_config(path)
    Layout(config.campaign.results_dir, config.campaign.name).assess(0).unlink()
    with pytest.raises(UserError, match="no generation is assessed"):
        write_report(config, None, tmp_path / "report.html")


def test_every_check_of_the_stop_rule_has_a_mend(campaign):
    config, layout = campaign
    history = [read_json(layout.assess(g)) for g in range(4)]
    for past in (history[:1], history):
        for check in decide(past, config).checks:
            assert check.name in ADVICE and check.kind in KINDS
            in_unit(check.value, ADVICE[check.name].unit)
            in_unit(check.limit, ADVICE[check.name].unit)
    assert set(page.advice.OUTCOMES) == set(Outcome)


def test_keys_that_a_mend_names_exist():
    from mace_core.config import Config

    schema = Config.model_json_schema()
    known = {f"labeller.{key}" for key in ("spins", *LabellerBase.model_fields)}
    for section, reference in schema["properties"].items():
        name = reference.get("$ref", "").rsplit("/", 1)[-1]
        known |= {f"{section}.{key}" for key in schema["$defs"].get(name, {}).get("properties", {})}
    for advice in ADVICE.values():
        for key in re.findall(r"\b[a-z]+\.[A-Za-z_0]+\b", f"{advice.mend} {advice.few}"):
            assert key in known, f"{key} in {advice.title!r}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "12.3"), (0.00051, "0.510"), (1.2345, "1234"), (0.1, "100"), (None, "–")],
)
def test_errors_are_said_in_mev(value, text):
    assert page.mev(value) == text


def test_table_has_one_unit(campaign):
    config, layout = campaign
    table = generations_table(Chronicle(config).generations)
    assert table["frozen_force_mae"][3] == read_json(layout.assess(3))["frozen"]["force_mae"]


def _numbers(values) -> np.ndarray:
    """Values of a plotly JSON array, packed or not."""
    if isinstance(values, dict):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.array(values)
