"""Campaigns on the fake `maceloop`."""

import os
import sys
from pathlib import Path

import pytest
from campaigns import BIN, Campaign

FAKE = Path(__file__).with_name("fake_maceloop.py")

CRYSTAL = """4
Lattice="3.6 0 0 0 3.6 0 0 0 3.6" Properties=species:S:1:pos:R:3 pbc="T T T"
Cu 0.0 0.0 0.0
Cu 0.0 1.8 1.8
Cu 1.8 0.0 1.8
Cu 1.8 1.8 0.0
"""


@pytest.fixture
def fake_campaign(tmp_path):
    """A campaign of two generations whose steps take no time."""
    return new_fake_campaign(tmp_path)


@pytest.fixture(scope="session")
def make_fake_campaign():
    return new_fake_campaign


def new_fake_campaign(tmp_path: Path) -> Campaign:
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "maceloop"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -S {FAKE} "$@"\n')
    command.chmod(0o755)
    structure = tmp_path / "crystal.xyz"
    structure.write_text(CRYSTAL)
    values = {
        "campaign": {"name": "fake", "max_generations": 2},
        "labeller": {"engine": "emt"},
        "seed": {"structures": [str(structure)], "n_frames": 1},
        "train": {"members": 2, "max_num_epochs": 5},
        "explore": {"walkers": 2},
        "select": {"max_frames": 4, "audit_frames": 2},
        "label": {"batch_size": 4},
        "stop": {"streak": 1, "min_audit_frames": 2, "exam_length": 0},
    }
    path = os.pathsep.join([str(folder), str(BIN), os.environ["PATH"]])
    return Campaign(tmp_path / "work", values, path)
