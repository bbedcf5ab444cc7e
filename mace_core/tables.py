"""Tables on disk: parquet for machines, CSV beside it for eyes."""

import io
from pathlib import Path

import pandas as pd

from mace_core.storage import write_bytes


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write ``<path>.parquet`` and ``<path>.csv``, each whole or not at all.

    Args:
        table: written without its index.
        path: without suffix.
    """
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(f"{path}.parquet", buffer.getvalue())
    write_bytes(f"{path}.csv", table.to_csv(index=False).encode())


def read_table(path: str | Path) -> pd.DataFrame:
    """The table that :func:`write_table` wrote to ``path``."""
    return pd.read_parquet(f"{path}.parquet")
