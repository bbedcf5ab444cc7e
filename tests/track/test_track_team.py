"""A team's tracking: a real MLflow server on a real Postgres, and what happens while it is away."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fake_campaign import write_fake_campaign

from mace_core.config import load_config
from mace_core.errors import UserError
from mace_core.layout import Layout
from mace_core.storage import read_json
from mace_core.track import sync, track
from mace_core.track.probe import EXPERIMENT, probe

pytestmark = pytest.mark.slow


def client_of(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def without_last(folder: Path, config):
    """Take the last generation away; returns what puts it back."""
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    last = layout.gen(layout.assessed_generations()[-1])
    aside = folder / "later"
    last.rename(aside)
    return lambda: aside.rename(last)


def test_a_server_on_postgres_that_goes_away_and_comes_back(server, tmp_path):
    uri, start = server
    path = write_fake_campaign(tmp_path, generations=2, tracking_uri=uri, name="team")
    config = load_config(path)
    layout = Layout(config.campaign.results_dir, "team")
    time_passes = without_last(tmp_path, config)
    with start():
        assert "takes runs and artifacts" in probe(config.tracking)
        assert track(config)["created"] == ["gen 00", "gen 01", "campaign"]

    time_passes()
    began = time.monotonic()
    done = maceloop("track", "--config", path, "--through", "2", "--out", layout.tracked(2))
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20
    assert "not tracked" in done.stderr and "maceloop sync" in done.stderr
    assert read_json(layout.tracked(2))["synced"] is False
    with pytest.raises(UserError, match="not in step"):
        sync(config)
    with pytest.raises(UserError, match="nothing answers"):
        probe(config.tracking)

    with start():
        done = maceloop("sync", "--config", path)
        assert done.returncode == 0, done.stderr
        assert "gen 02, campaign" in done.stdout
        assert read_json(layout.tracked(2))["synced"] is True
        assert sync(config)["created"] == []
        client = client_of(uri)
        experiment = client.get_experiment_by_name("team")
        runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
        members = [f"gen {g:02d} member {m}" for g in (1, 2) for m in (0, 1)]
        assert sorted(runs) == sorted(["campaign", "gen 00", "gen 01", "gen 02", *members])
        curve = client.get_metric_history(runs["campaign"].info.run_id, "label/total_calls")
        assert sorted(point.step for point in curve) == [0, 1, 2]
        best = client.get_model_version_by_alias("team", "best")
        there = client.download_artifacts(best.run_id, "committee", str(tmp_path))
        for m in (0, 1):
            name = f"member_{m}/model.safetensors"
            g = int(best.tags["generation"])
            ours = layout.member(g, m) / "model.safetensors"
            assert (Path(there) / name).read_bytes() == ours.read_bytes()
        # What the trial left is out of sight.
        visible = [e.name for e in client.search_experiments()]
        assert EXPERIMENT not in visible


def test_postgres_itself(postgres, tmp_path):
    """Without a server: the campaign writes to the database, and artifacts into a folder."""
    path = write_fake_campaign(tmp_path, generations=1, tracking_uri=postgres, name="direct")
    values = yaml.safe_load(path.read_text())
    values["tracking"]["artifacts"] = str(tmp_path / "shared")
    path.write_text(yaml.safe_dump(values))
    config = load_config(path)
    assert "takes runs and artifacts" in probe(config.tracking)
    result = sync(config)
    assert result["created"] == ["gen 00", "gen 01", "campaign"]
    assert "secret" not in str(result)
    assert list((tmp_path / "shared" / "direct").rglob("committee/member_0/model.safetensors"))


def maceloop(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mace_core.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
