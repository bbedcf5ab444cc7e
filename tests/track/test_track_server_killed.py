"""MLflow's server dies under a running campaign: nothing stops, and nothing is lost."""

import os
import signal
import subprocess

import pytest
import yaml
from campaigns import BIN, REPOSITORY, Campaign
from fake_campaign import write_fake_campaign
from mlflow import MlflowClient

from mace_core.chronicle import Chronicle
from mace_core.config import load_config
from mace_core.storage import read_json
from mace_core.track import sync
from mace_core.track.records import generation_metrics

pytestmark = [pytest.mark.campaign, pytest.mark.slow]

RUNS = ["campaign", "gen 00", "gen 01", "gen 01 member 0", "gen 01 member 1"]


def new_campaign(folder, name, uri) -> Campaign:
    """config/test/emt.yaml in small: a generation of seeds, and one with models."""
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    folder = folder / name
    places = {"results_dir": str(folder / "results"), "label_store": str(folder / "labels")}
    values["campaign"] |= {"name": name, "max_generations": 1} | places
    values["seed"]["structures"] = [str(REPOSITORY / "config" / "test" / "copper.xyz")]
    values["train"]["max_num_epochs"] = 10
    values["explore"]["steps"] = 20
    values["tracking"] = {"uri": uri}
    return Campaign(folder, values, os.pathsep.join([str(BIN), os.environ["PATH"]]))


def runs_of(client: MlflowClient, name: str) -> dict:
    """The campaign's living runs by name; each is there once."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    names = [run.info.run_name for run in runs]
    assert len(names) == len(set(names)), names
    return dict(zip(names, runs, strict=True))


def test_killed_while_a_campaign_runs(server, tmp_path):
    """Meanwhile a colleague, who has a campaign there too, cannot write either."""
    uri, start = server
    campaign = new_campaign(tmp_path, "ada", uri)
    other = write_fake_campaign(tmp_path / "ben", generations=1, name="ben", tracking_uri=uri)
    client = MlflowClient(uri, uri)
    with start() as process:
        run = campaign.start()
        # In the middle of what is said of the first generation: it takes some twenty calls.
        campaign.wait_for(
            lambda: runs_of(client, "ada") or campaign.layout.tracked(0).exists(), 300
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert run.poll() is None, "the campaign was still running"

    assert run.wait(timeout=600) == 0, (campaign.folder / "run.log").read_text()
    assert "maceloop sync" in (campaign.folder / "run.log").read_text(), "it says how to catch up"
    assert read_json(campaign.layout.tracked(1))["synced"] is False
    assert campaign.layout.report(1).is_file()
    assert read_json(campaign.layout.summary)["outcome"] == "budget_spent"

    with start():
        commands = [[BIN / "maceloop", "sync", "--config", c] for c in (campaign.config, other)]
        both = [subprocess.Popen(command, cwd=tmp_path) for command in commands]
        assert [process.wait(timeout=120) for process in both] == [0, 0]
        assert sorted(runs_of(client, "ben")) == sorted(RUNS)
        check_complete(client, campaign)


def check_complete(client: MlflowClient, campaign: Campaign) -> None:
    """Runs, curves and models in MLflow are those of the campaign's files."""
    config = load_config(campaign.config)
    name = config.campaign.name
    runs = runs_of(client, name)
    assert sorted(runs) == sorted(RUNS)
    for generation in Chronicle(config).generations:
        measured = generation_metrics(generation)
        assert runs[f"gen {generation.g:02d}"].data.metrics == pytest.approx(measured)
        for metric, value in measured.items():
            history = client.get_metric_history(runs["campaign"].info.run_id, metric)
            assert {p.step: p.value for p in history}[generation.g] == pytest.approx(value)
        assert read_json(campaign.layout.tracked(generation.g))["synced"] is True
    best = client.get_model_version_by_alias(name, "best")
    assert best.run_id == runs["gen 01"].info.run_id
    assert sync(config)["created"] == []
