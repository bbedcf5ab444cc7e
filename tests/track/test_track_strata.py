"""What MLflow is told of strata, the exam and the verdict."""

import shutil

import pytest
from fake_campaign import write_fake_campaign
from mlflow.utils.validation import _validate_metric_name
from test_track import client_of, empty_store, runs_by_name  # noqa: F401

from mace_core.chronicle import Chronicle
from mace_core.config import load_config
from mace_core.layout import Layout
from mace_core.storage import read_json, write_json
from mace_core.track import track
from mace_core.track.verdict import note, safe_names

STRATA = {"HCN.xyz": 0.011, "a/HNC (2×1×1) é|.xyz": 0.033}


@pytest.fixture
def campaign(tmp_path, empty_store):  # noqa: F811
    path = write_fake_campaign(tmp_path, generations=2, outcome="stalled", strata=STRATA)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path, load_config(path)


def test_metrics_of_strata_and_exam(campaign):
    folder, config = campaign
    assert track(config)["synced"]
    runs = runs_by_name(folder)
    metrics = runs["gen 02"].data.metrics
    place = "audit/stratum/a_HNC 2x1x1 __.xyz"
    expected = {
        "audit/stratum/HCN.xyz/force_mae_meV_A": 11,
        "audit/stratum/HCN.xyz/force_mae_high_meV_A": 16.5,
        "audit/stratum/HCN.xyz/energy_mae_meV_atom": 1.1,
        "audit/stratum/HCN.xyz/stress_mae_high_meV_A3": 0.165,
        "audit/stratum/HCN.xyz/n_frames": 10,
        f"{place}/force_mae_high_meV_A": 49.5,
        "audit/exam/HCN.xyz/force_mae_meV_A": 11,
        "audit/exam/HCN.xyz/steps_done": 10000,
        "audit/worst_stratum_force_mae_high_meV_A": 49.5,
        "audit/strata_failing": 1,
        "audit/lost": 1,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    run = runs["campaign"].info.run_id
    history = client_of(folder).get_metric_history(run, f"{place}/force_mae_meV_A")
    assert [(m.step, m.value) for m in history] == [(1, pytest.approx(66)), (2, pytest.approx(33))]
    assert not [name for name in runs["gen 00"].data.metrics if name.startswith("audit")]
    assert not [name for name in runs["gen 01"].data.metrics if name.startswith("audit/exam")]


def test_the_note_says_verdict_and_failed_checks(campaign):
    folder, config = campaign
    track(config)
    for name in ("gen 02", "campaign"):
        said = runs_by_name(folder)[name].data.tags["mlflow.note.content"]
        assert said.startswith("**Stalled**: no progress")
        failed = next(line for line in said.splitlines() if line.startswith("Failed: "))
        assert "MD stays stable" in failed and "Enough audit frames" not in failed
        assert "| HCN.xyz | yes | 10 | 11 [≤ 16.5] |" in said
        assert "(2×1×1) é\\|.xyz | no | 10 | 33 [≤ 49.5]" in said
        assert "hold all together with 95%" in said
        assert "| Audited force error below the target | no | 21.3 meV/Å | below 40 |" in said


def test_notes_of_many_strata_fit(campaign):
    _, config = campaign
    path = Layout(config.campaign.results_dir, config.campaign.name).assess(2)
    assess = read_json(path)
    proto = assess["strata"]["HCN.xyz"]
    assess["strata"] = {f"{k} " + 300 * "x": proto for k in range(60)}
    write_json(path, assess)
    said = note(Chronicle(config).last)
    assert len(said) < 8000 and said.startswith("**Stalled**")
    assert track(config)["synced"]


def test_safe_names_are_allowed_and_all_different():
    strata = [
        "a/b.xyz",
        "a_b.xyz",
        "A_B.xyz",
        "x" * 400,
        "x" * 401,
        "Cu3Au (2×1×1)",
        "été \n .",
        "a: b",
    ]
    made = safe_names(strata)
    assert len({safe.lower() for safe in made.values()}) == len(strata)
    assert made["Cu3Au (2×1×1)"] == "Cu3Au 2x1x1"
    assert made == safe_names(reversed(strata)), "they do not depend on the order"
    for safe in made.values():
        _validate_metric_name(f"audit/stratum/{safe}/force_mae_high_meV_A")
        assert "/" not in safe
