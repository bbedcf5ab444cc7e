"""Opening a tracking store so that it fails fast, tells nobody, and is made only once."""

import logging
import os
from pathlib import Path

from filelock import FileLock

from mace_core.config.sections import Tracking


def open_client(tracking: Tracking):
    """A client of ``tracking.uri``, its schema made first if the database is new.

    Returns:
        ``mlflow.MlflowClient``.

    Raises:
        Exception: whatever MLflow, SQLAlchemy or the network raise when it cannot be reached.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # By default a dead server is asked for more than a minute, a silent one for two.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if is_database(tracking.uri):
        _make_tables(tracking.uri)
    return MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)


def artifact_root(tracking: Tracking, campaign: str) -> str | None:
    """Where a new experiment keeps its artifacts; None leaves it to the tracking server."""
    folder = tracking.artifacts
    if folder is None:
        if not is_database(tracking.uri):
            return None
        database = sqlite_file(tracking.uri)
        folder = str((database.parent if database else Path.cwd()) / "mlartifacts")
    if "://" in folder:
        return f"{folder.rstrip('/')}/{campaign}"
    return (Path(folder).resolve() / campaign).as_uri()


def is_database(uri: str) -> bool:
    """Whether the store is a database that this process opens itself."""
    return uri.split(":", 1)[0].split("+")[0] in {"sqlite", "postgresql", "mysql", "mssql"}


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of a sqlite store's file."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).resolve() if uri.startswith(prefix) else None


def _make_tables(uri: str) -> None:
    """Create the schema of a new database, one process at a time.

    Connecting here first also reports a database that is down at once; MLflow itself would try
    ten times. A database with an older schema is left alone: MLflow says how to upgrade it.
    """
    import sqlalchemy
    from mlflow.store.db import utils

    database = sqlite_file(uri)
    if database is None:
        engine = utils.create_sqlalchemy_engine(uri)
        with engine.connect():
            pass
        utils._safe_initialize_tables(engine)
    else:
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(database.with_name(f".{database.name}.lock"), timeout=120):
            engine = utils.create_sqlalchemy_engine(uri)
            sqlalchemy.inspect(engine)
            utils._safe_initialize_tables(engine)
    engine.dispose()
