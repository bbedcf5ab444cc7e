"""Frames, calculators on PYTHONPATH, and a log of calls."""

import os
from pathlib import Path

import numpy as np
import pytest
import typer
from ase.build import bulk
from typer.testing import CliRunner

from mace_core.cli.labels import register
from mace_core.frames import canonical
from mace_core.label.record import Record

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


@pytest.fixture
def record():
    """A function that makes a record at a store's level of theory, of a crystal or a given frame.

    Different ``n`` are different frames; ``status`` other than converged leaves out the numbers.
    """

    def make(store, n=0, status="converged", *, frame=None, force=1.0, **outcome):
        if frame is None:
            frame = bulk("Cu", cubic=True)
            frame.positions[0, 0] += 0.001 * (n + 1)
        forces = np.zeros((len(frame), 3))
        if len(frame) > 1:
            forces[0, 0], forces[1, 0] = force, -force
        numbers = {"energy": -1.0 - n, "forces": forces.tolist()}
        return Record.of_frame(
            canonical(frame),
            store.theory_id,
            **{
                "status": status,
                "reason": "" if status == "converged" else f"it was {status}",
                "rung": "default",
                "attempts": [{"rung": "default", "status": status, "reason": "", "seconds": 36.0}],
                "wall_seconds": 36.0,
                "threads": 2,
                "core_seconds": 72.0,
                "engine_version": "ase 3.29.0",
                "host": "node7",
                "processor": "Abacus, 4 cores",
                "created": "2026-03-01T12:00:00+00:00",
                **(numbers if status == "converged" else {}),
                **outcome,
            },
        )

    return make


@pytest.fixture
def labels():
    """A function that runs `maceloop labels …` and returns exit code and output."""
    app = typer.Typer()
    register(app)

    def run(*arguments):
        result = CliRunner().invoke(app, ["labels", *(str(a) for a in arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run
