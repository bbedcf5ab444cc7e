"""Whether a tracking store answers and takes a run: asked before a campaign, never by one."""

import contextlib
import os
import socket
import sqlite3
from urllib.parse import urlsplit

from mace_core.config.sections import Tracking
from mace_core.errors import UserError, without_passwords
from mace_core.track.store import artifact_root, is_database, open_client, sqlite_file

#: The experiment of the trial runs; it is deleted afterwards, as they are.
EXPERIMENT = "maceloop-doctor"

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_WAIT = 5.0  # seconds for a connection

#: What goes on without it, in every mend.
_ANYWAY = "a campaign runs without it, and `maceloop sync` brings it up to date later"


def probe(tracking: Tracking) -> str:
    """What was found, as a sentence.

    A local database is only opened for writing. Anything else gets a run with a metric and an
    artifact, in an experiment of its own; both are deleted again.

    Raises:
        UserError: it does not answer, or cannot be written; ``where`` is the URI without password.
    """
    where = without_passwords(tracking.uri)
    database = sqlite_file(tracking.uri)
    if database is not None:
        return _local(database, where)
    _connect(tracking.uri, where)
    try:
        client = open_client(tracking)
        _write_and_delete(client, tracking)
    except Exception as err:
        said = without_passwords(" ".join(str(err).split()))[:300]
        raise UserError(
            f"it answers, but cannot be written: {said}",
            where=where,
            mend="see the server's log and its rights on database and artifacts"
            if not is_database(tracking.uri)
            else f"see the user's rights on the database; {_ANYWAY}",
        ) from err
    return "tracking store: answers, and takes runs and artifacts"


def _local(database, where: str) -> str:
    if not database.exists():
        there = next(p for p in database.parents if p.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise UserError(
                f"{there} is not writable", where=where, mend="name a file in another folder"
            )
        return "tracking store: will be made"
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=_WAIT)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as err:
        raise UserError(
            f"{database} cannot be written: {err}",
            where=where,
            mend="move the file away, or close what holds it; " + _ANYWAY,
        ) from err
    if tables and "experiments" not in tables:
        raise UserError(
            f"{database} is a database of something else", where=where, mend="name another file"
        )
    return "tracking store: can be written"


def _connect(uri: str, where: str) -> None:
    """Raise :class:`UserError` where nothing listens: at once, and in plain words."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in _PORTS or not parts.hostname:
        return
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[scheme]), _WAIT).close()
    except OSError as err:
        start = (
            f"start it (`mlflow server --host {parts.hostname} --port {parts.port or 80} …`)"
            if scheme.startswith("http")
            else "start the database"
        )
        raise UserError(
            f"nothing answers there: {err.strerror or err}",
            where=where,
            mend=f"{start}, or mend the address; {_ANYWAY}",
        ) from err


def _write_and_delete(client, tracking: Tracking) -> None:
    # Where artifacts go is fixed with an experiment: through a server and without, it differs.
    name = EXPERIMENT + ("-database" if is_database(tracking.uri) else "")
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        root = artifact_root(tracking, name)
        experiment_id = client.create_experiment(name, artifact_location=root)
    else:
        experiment_id = experiment.experiment_id
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment_id)
    try:
        run = client.create_run(experiment_id, run_name="trial")
        client.log_metric(run.info.run_id, "trial", 1.0)
        client.log_text(run.info.run_id, "written by maceloop doctor\n", "trial.txt")
        client.delete_run(run.info.run_id)
    finally:
        client.delete_experiment(experiment_id)
