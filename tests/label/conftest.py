"""Frames, calculators on PYTHONPATH, and a log of calls."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def calculators(monkeypatch):
    """Workers find the test calculators."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]), prepend=os.pathsep
    )


@pytest.fixture
def call_log(tmp_path, monkeypatch):
    """A function that returns the lines that faulty calculators have logged so far."""
    path = tmp_path / "calls.log"
    monkeypatch.setenv("MACELOOP_CALL_LOG", str(path))
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def crystals():
    """A function that makes n different rattled copper cells (4 atoms)."""

    def make(n, seed=0):
        rng = np.random.default_rng(seed)
        frames = []
        for _ in range(n):
            atoms = bulk("Cu", cubic=True)
            atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
            frames.append(atoms)
        return frames

    return make
