"""A team's tracking: a real MLflow server on a real Postgres, and what happens while it is away."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
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


def programs() -> Path | None:
    """Where Postgres' server programs are: Debian keeps them off PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextmanager
def running(command: list[str], port: int, log: Path, **options):
    """A server process, in a session of its own, until the end of the block."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, **options
        )
    try:
        wait_for(port, process, log)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT if "postgres" in command[0] else signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The URI of an empty database of a cluster of our own."""
    pytest.importorskip("psycopg2", reason="no psycopg2: pip install 'maceloop[postgres]'")
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("no Postgres here: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    user = {}
    if os.geteuid() == 0:  # Postgres refuses to run as root
        nobody = "postgres" if _exists("postgres") else "nobody"
        user = {"user": nobody, "group": _group(nobody)}
        shutil.chown(folder, nobody)
        for parent in folder.parents:  # pytest's are of mode 700
            if not parent.stat().st_mode & stat.S_IXOTH:
                parent.chmod(0o711)
    data, port = folder / "data", free_port()
    environment = os.environ | {"LC_ALL": "C"}
    subprocess.run(
        [
            *(bin_folder / "initdb", "--pgdata", data, "--username", "team", "--auth", "trust"),
            *("--no-sync", "--encoding", "UTF8"),
        ],
        check=True,
        capture_output=True,
        cwd="/",
        env=environment,
        **user,
    )
    command = [bin_folder / "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", folder]
    command = [*map(str, command), "-c", "fsync=off"]
    with running(command, port, folder.parent / "pg.log", cwd="/", env=environment, **user):
        yield f"postgresql://team:secret@127.0.0.1:{port}/postgres"


def _exists(user: str) -> bool:
    import pwd

    with suppress(KeyError):
        return bool(pwd.getpwnam(user))
    return False


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


@pytest.fixture
def server(postgres, tmp_path):
    """Starts an MLflow server on the database, at the same port each time."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", postgres]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    return f"http://127.0.0.1:{port}", lambda: running(command, port, tmp_path / "mlflow.log")


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
