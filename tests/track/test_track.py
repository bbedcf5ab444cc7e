"""MLflow follows the files: once each, at the right step, and it may be away."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_campaign import write_fake_campaign

from mace_core.config import load_config
from mace_core.layout import Layout
from mace_core.storage import read_json, write_json
from mace_core.track import project, track
from mace_core.track.store import artifact_root


def client_of(folder: Path):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}", f"sqlite:///{folder / 'mlflow.db'}")


def runs_by_name(folder: Path, name: str = "ethanol") -> dict:
    client = client_of(folder)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names), f"a run exists twice: {sorted(names)}"
    return dict(zip(names, runs, strict=True))


def everything(folder: Path) -> str:
    """The whole database as SQL."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return "\n".join(database.iterdump())


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A database with MLflow's tables: making them takes seconds."""
    from mace_core.track.store import open_client

    folder = tmp_path_factory.mktemp("store")
    config = load_config(write_fake_campaign(folder, generations=0))
    open_client(config.tracking)
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, empty_store):
    """A campaign of two generations, projected one after the other as the workflow does."""
    folder = tmp_path_factory.mktemp("tracked")
    config = load_config(write_fake_campaign(folder, generations=2))
    shutil.copy(empty_store, folder / "mlflow.db")
    results = [track(config, g) for g in range(3)]
    return folder, config, results


@pytest.fixture
def campaign(tmp_path, empty_store):
    """A campaign of one generation that nobody has tracked."""
    config = load_config(write_fake_campaign(tmp_path, generations=1))
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path, config, Layout(config.campaign.results_dir, config.campaign.name)


def test_each_step_adds_only_what_is_new(tracked):
    _, _, results = tracked
    assert [r["synced"] for r in results] == [True] * 3
    assert [r["created"] for r in results] == [
        ["gen 00", "campaign"],
        ["gen 01", "campaign"],
        ["gen 02", "campaign"],
    ]
    assert results[2]["unchanged"] == ["gen 00", "gen 01"]


def test_generations_are_at_top_level_and_members_below_them(tracked):
    runs = runs_by_name(tracked[0])
    top = {name for name, run in runs.items() if "mlflow.parentRunId" not in run.data.tags}
    assert top == {"campaign", "gen 00", "gen 01", "gen 02"}
    below = {
        name: run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name not in top
    }
    assert below == {
        f"gen {g:02d} member {m}": runs[f"gen {g:02d}"].info.run_id for g in (1, 2) for m in (0, 1)
    }
    assert all(run.info.status == "FINISHED" for run in runs.values())


def test_tracking_again_changes_nothing(tracked):
    folder, config, _ = tracked
    before = everything(folder)
    assert track(config)["created"] == []
    assert track(config, 1)["created"] == [], "an early generation again turns nothing back"
    assert everything(folder) == before


def test_campaign_metrics_stand_at_step_generation(tracked):
    folder, config, _ = tracked
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    campaign = runs_by_name(folder)["campaign"].info.run_id
    history = client_of(folder).get_metric_history(campaign, "audit/force_mae_meV_A")
    assert {m.step: m.value for m in history} == pytest.approx(
        {g: 1000 * read_json(layout.assess(g))["audit"]["force_mae"] for g in (1, 2)}
    )
    calls = client_of(folder).get_metric_history(campaign, "label/total_calls")
    assert [(m.step, m.value) for m in calls] == [
        (g, read_json(layout.assess(g))["labels"]["total_calls"]) for g in range(3)
    ]


def test_generation_run_says_what_was_measured(tracked):
    folder, config, _ = tracked
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    assess = read_json(layout.assess(2))
    run = runs_by_name(folder)["gen 02"]
    metrics = run.data.metrics
    expected = {
        "audit/force_mae_high_meV_A": 1000 * assess["audit"]["force_mae_high"],
        "frozen/force_mae_meV_A": 1000 * assess["frozen"]["force_mae"],
        "picked/force_mae_meV_A": 1000 * assess["picked"]["force_mae"],
        "element/H_force_mae_meV_A": 1000 * assess["audit"]["by_element"]["H"]["force_mae"],
        "data/n_train": assess["dataset"]["n_train"],
        "label/calls": assess["labels"]["calls"],
        "label/found": 3,
        "label/total_found": 3,
        "label/failed": assess["labels"]["calls"] - assess["labels"]["converged"],
        "label/seconds": assess["labels"]["seconds"],
        "calibration/factor": assess["calibration"]["factor"],
        "calibration/coverage": assess["measured_coverage"]["share"],
        "md/stable_fraction": 0.75,
        "md/time_fs": assess["walkers"]["time_fs"],
        "select/candidates": 31,
        "train/seconds": 61.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert run.data.params["generation"] == "2"
    assert run.data.params["labeller.basis"] == "def2-svp"
    assert run.data.params["dataset.sha256"] == assess["dataset"]["sha256"]
    assert run.inputs.dataset_inputs[0].dataset.digest == assess["dataset"]["sha256"][:36]
    assert assess["reason"] in run.data.tags["mlflow.note.content"]


def test_members_have_their_training_curves(tracked):
    folder, _, _ = tracked
    run = runs_by_name(folder)["gen 02 member 1"]
    history = client_of(folder).get_metric_history(run.info.run_id, "valid/forces_mae_meV_A")
    assert [m.step for m in history] == list(range(2, 21, 2))
    assert history[0].value > history[-1].value
    assert run.data.params["seed"] == "8"


def test_artifacts_are_figures_and_the_files_themselves(tracked, tmp_path):
    folder, config, _ = tracked
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    client = client_of(folder)
    run = runs_by_name(folder)["gen 02"]
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(
        folder / "mlartifacts"
    )
    root = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files == {
        "assess.json",
        "plan.json",
        "committee/committee.json",
        *(f"committee/member_{m}/model.{s}" for m in (0, 1) for s in ("json", "safetensors")),
        *(f"figures/{name}.png" for name in ("parity", "learning_curve", "uncertainty")),
    }
    for figure in (root / "figures").iterdir():
        assert figure.read_bytes().startswith(b"\x89PNG")
    weights = root / "committee" / "member_1" / "model.safetensors"
    assert weights.read_bytes() == (layout.member(2, 1) / "model.safetensors").read_bytes()


def test_registry_has_a_version_a_generation_and_the_best_one(tracked):
    folder, _, _ = tracked
    client = client_of(folder)
    versions = client.search_model_versions("name='ethanol'")
    runs = runs_by_name(folder)
    assert {v.tags["generation"]: v.run_id for v in versions} == {
        str(g): runs[f"gen {g:02d}"].info.run_id for g in (1, 2)
    }
    best = client.get_model_version_by_alias("ethanol", "best")
    assert best.tags["generation"] == "2"
    source = Path(best.source.removeprefix("file://"))
    assert (source / "member_0" / "model.safetensors").is_file()


def test_experiment_describes_itself(tracked):
    folder, _, results = tracked
    tags = client_of(folder).get_experiment(results[0]["experiment_id"]).tags
    assert "pyscf" in tags["mlflow.note.content"] and "Converged" in tags["mlflow.note.content"]
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_retrained_generation_replaces_its_runs(campaign):
    folder, config, layout = campaign
    track(config)
    before = runs_by_name(folder)
    (layout.member(1, 0) / "model.safetensors").write_bytes(b"other weights")
    assess = read_json(layout.assess(1))
    assess["audit"]["force_mae"] = 0.5
    write_json(layout.assess(1), assess)
    assert track(config)["created"] == ["gen 01", "campaign"]
    after = runs_by_name(folder)
    assert after.keys() == before.keys()
    changed = {n for n in after if after[n].info.run_id != before[n].info.run_id}
    assert changed == {"gen 01", "gen 01 member 0", "gen 01 member 1", "campaign"}
    curve = client_of(folder).get_metric_history(
        after["campaign"].info.run_id, "audit/force_mae_meV_A"
    )
    assert [(m.step, m.value) for m in curve] == [(1, pytest.approx(500.0))], "curves are not mixed"
    (version,) = client_of(folder).search_model_versions("name='ethanol'")
    assert version.run_id == after["gen 01"].info.run_id
    best = client_of(folder).get_model_version_by_alias("ethanol", "best")
    assert best.version == version.version


def test_best_alias_moves(tmp_path, empty_store):
    config = load_config(write_fake_campaign(tmp_path, generations=2))
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    shutil.copy(empty_store, tmp_path / "mlflow.db")

    def best():
        version = client_of(tmp_path).get_model_version_by_alias("ethanol", "best")
        return version.tags["generation"]

    track(config, 1)
    assert best() == "1"
    track(config, 2)
    assert best() == "2"
    assess = read_json(layout.assess(2))
    assess["audit"] |= {"force_mae_low": 5.0, "force_mae": 6.0, "force_mae_high": 7.0}
    write_json(layout.assess(2), assess)
    track(config)
    assert best() == "1"


def test_run_that_was_cut_off_is_made_anew(campaign, monkeypatch, capsys):
    folder, config, _ = campaign
    register = project.Registry.register

    def killed(*args):
        register(*args)
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(project.Registry, "register", killed)
        assert track(config) == {"synced": False, "reason": "OSError: disk full"}
    assert "disk full" in capsys.readouterr().err
    result = track(config)
    assert result["synced"] and result["created"] == ["gen 01", "campaign"]
    assert len(runs_by_name(folder)) == 5
    assert len(client_of(folder).search_model_versions("name='ethanol'")) == 1


def test_server_that_is_down_costs_nothing_and_is_caught_up(campaign, capsys):
    folder, config, _ = campaign
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    away = config.model_copy(
        update={
            "tracking": config.tracking.model_copy(
                update={"uri": f"http://me:secret@127.0.0.1:{port}"}
            )
        }
    )
    start = time.monotonic()
    result = track(away, 0)
    assert time.monotonic() - start < 20
    assert not result["synced"] and result["reason"]
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "not tracked" in err and "secret" not in err
    assert track(config)["created"] == ["gen 00", "gen 01", "campaign"]
    assert len(runs_by_name(folder)) == 5


@pytest.mark.slow
def test_tracking_server(campaign):
    """Over http, artifacts go through the server, and the registry takes them from there."""
    folder, config, _ = campaign
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    uri, store = f"http://127.0.0.1:{port}", f"sqlite:///{folder / 'mlflow.db'}"
    options = f"--host 127.0.0.1 --port {port} --workers 1 --backend-store-uri {store} "
    options += f"--artifacts-destination {folder / 'served'}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        tracking = config.tracking.model_copy(update={"uri": uri})
        remote = config.model_copy(update={"tracking": tracking})
        for _ in range(60):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(1)
        assert track(remote)["created"] == ["gen 00", "gen 01", "campaign"]
        assert track(remote)["created"] == []
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    best = client_of(folder).get_model_version_by_alias("ethanol", "best")
    assert best.source.startswith("mlflow-artifacts:/")
    assert list((folder / "served").rglob("committee/member_0/model.safetensors"))


def test_locked_store_is_no_error(campaign):
    folder, config, _ = campaign
    with sqlite3.connect(folder / "mlflow.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        result = track(config)
        database.execute("ROLLBACK")
    assert not result["synced"] and "locked" in result["reason"]
    assert track(config)["synced"]


def test_command_line_exits_zero_without_a_store(tmp_path):
    config = write_fake_campaign(
        tmp_path, generations=0, tracking_uri="sqlite:////proc/no/mlflow.db"
    )
    out = tmp_path / "tracked.json"
    done = _command("--config", config, "--through", 0, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1 and "not tracked" in done.stderr
    assert not json.loads(out.read_text())["synced"]


def test_disabled_tracking_does_not_even_import_mlflow(tmp_path):
    path = write_fake_campaign(tmp_path, generations=0)
    path.write_text(path.read_text().replace("tracking:\n", "tracking:\n  enabled: false\n"))
    code = (
        "import sys; from mace_core.config import load_config; from mace_core.track import track\n"
        f"print(track(load_config({str(path)!r}))); assert 'mlflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'synced': False, 'reason': 'disabled'}"


def test_two_campaigns_may_make_the_store_together(tmp_path):
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    processes = []
    for name in ("one", "two"):
        config = write_fake_campaign(tmp_path / name, generations=0, name=name, tracking_uri=uri)
        processes.append(_start("--config", config, "--out", tmp_path / name / "tracked.json"))
    for process in processes:
        assert process.wait(timeout=120) == 0
    for name in ("one", "two"):
        assert read_json(tmp_path / name / "tracked.json")["synced"]


def test_campaign_without_frozen_set_or_calibration(tmp_path, empty_store):
    config = load_config(
        write_fake_campaign(tmp_path, generations=1, frozen=False, calibrated=False)
    )
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    assert track(config)["synced"]
    metrics = runs_by_name(tmp_path)["gen 01"].data.metrics
    assert "audit/force_mae_meV_A" in metrics
    assert not [name for name in metrics if name.startswith(("frozen/", "calibration/"))]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("continue", "RUNNING"), ("budget_spent", "KILLED"), ("stalled", "FAILED")],
)
def test_outcomes_look_different(tmp_path, empty_store, outcome, status):
    config = load_config(write_fake_campaign(tmp_path, generations=0, outcome=outcome))
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    track(config)
    assert runs_by_name(tmp_path)["campaign"].info.status == status


def test_where_artifacts_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracking = load_config(write_fake_campaign(tmp_path, generations=0)).tracking

    def root(**settings):
        return artifact_root(tracking.model_copy(update=settings), "ethanol")

    assert root(uri="sqlite:///mlflow.db") == (tmp_path / "mlartifacts/ethanol").as_uri()
    assert root(uri="http://host:5000") is None, "left to the server"
    assert root(artifacts="s3://bucket/runs/") == "s3://bucket/runs/ethanol"
    assert root(artifacts="kept") == (tmp_path / "kept/ethanol").as_uri()


def _command(*args):
    line = [sys.executable, "-m", "mace_core.cli.main", "track", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def _start(*args):
    line = [sys.executable, "-m", "mace_core.cli.main", "track", *map(str, args)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, env=os.environ)
