"""The Python that has mace-torch, if there is one."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mace_python() -> str:
    """Path of a Python with the real mace-torch."""
    peer = Path(__file__).parents[2] / ".peer-venv/bin/python"
    python = os.environ.get("MACELOOP_MACE_PYTHON") or (peer if peer.exists() else None)
    if python is None:
        pytest.skip("no mace-torch here: `make goldens`, or set MACELOOP_MACE_PYTHON")
    return str(python)
