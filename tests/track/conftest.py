"""A Postgres and MLflow servers of the tests' own, on loopback."""

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


@pytest.fixture(scope="session")
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
