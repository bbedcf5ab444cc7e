"""Where results, labels and runs are kept: writable folders, a store that MLflow takes."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings
from mace_core.errors import without_passwords

#: Stores that MLflow 3 takes; it refuses plain folders.
_TRACKING = ("sqlite:", "postgresql", "mysql", "mssql", "http:", "https:", "databricks")

#: The Python module by which SQLAlchemy reaches a database, and how to get it.
_DRIVERS = {
    "postgresql": ("psycopg2", "pip install 'maceloop[postgres]'"),
    "mysql": (
        "MySQLdb",
        "pip install mysqlclient, or write mysql+pymysql://… (pip install pymysql)",
    ),
    "mssql": ("pyodbc", "pip install pyodbc"),
}

#: Bytes below which labels and models may soon find no room.
_LITTLE_ROOM = 2e9


def places(config: Config, base: Path, found: Findings) -> None:
    """Whether results and labels lie where they may be written and kept."""
    campaign = config.campaign
    results, store = base / campaign.results_dir, base / campaign.label_store
    for key, path in (("results_dir", results), ("label_store", store)):
        value = getattr(campaign, key)
        if path.exists() and not path.is_dir():
            found.problem(f"campaign.{key}", value, "is a file", "name a folder")
            continue
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not os.access(there, os.W_OK):
            found.problem(
                f"campaign.{key}", value, f"{there} is not writable", "name another folder"
            )
        free = shutil.disk_usage(there).free
        if free < _LITTLE_ROOM:
            found.notes.append(
                f"campaign.{key}: {value!r}: only {free / 1e6:.0f} MB are free there"
            )
    if store.resolve().is_relative_to((results / campaign.name).resolve()):
        found.problem(
            "campaign.label_store",
            campaign.label_store,
            "lies in the campaign's results, which may be thrown away; labels never are",
            "name a folder outside of results_dir, e.g. labels",
        )


def tracking(config: Config, found: Findings) -> None:
    """Whether MLflow is there and takes such a store; not whether the store answers."""
    uri = config.tracking.uri
    shown = without_passwords(uri)
    dialect, _, driver = uri.partition(":")[0].partition("+")
    if not config.tracking.enabled:
        found.good.append("tracking: off")
    elif not uri.startswith(_TRACKING):
        found.problem(
            "tracking.uri",
            shown,
            "MLflow takes a database or a server, no plain folder",
            "write e.g. sqlite:///mlflow.db, or http://host:5000",
        )
    elif find_spec("mlflow") is None:
        found.problem("tracking.enabled", True, "mlflow is not installed", "pip install mlflow")
    elif dialect in _DRIVERS and find_spec(driver or _DRIVERS[dialect][0]) is None:
        found.problem(
            "tracking.uri",
            shown,
            f"the Python module {driver or _DRIVERS[dialect][0]!r} is not installed",
            f"pip install {driver}" if driver else _DRIVERS[dialect][1],
        )
    else:
        found.good.append(f"tracking: {shown}")
