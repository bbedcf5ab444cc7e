"""Explore and select on the command line with a committee of real (untrained) MACE models."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from typer.testing import CliRunner

from mace_core.config.campaign import parse_config
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.storage import read_json, write_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    from mace_core.model.files import save_model
    from mace_core.model.model import MACE

    folder = tmp_path_factory.mktemp("loop")
    config = parse_config(
        {
            "campaign": {"name": "t"},
            "labeller": {"engine": "emt"},
            "seed": {"structures": ["x.xyz"]},
            "model": {
                "r_max": 4.0, "num_channels": 4, "max_ell": 1, "max_L": 0, "correlation": 2,
                "MLP_irreps": "4x0e", "radial_MLP": [8],
            },
            "train": {"members": 2},
            "explore": {
                "walkers": 3, "steps": 12, "save_interval": 3, "temperatures": [100.0],
                "max_force_error": 9e5, "fragment_factor": 4.0, "max_temperature_factor": 100,
                "max_energy_change": 100,
            },
            "select": {"window": [0, 1e6], "max_frames": 3, "audit_frames": 2},
        },
        where="test",
    )  # fmt: skip
    members = []
    for m in range(2):
        model = MACE(
            config.model, [1, 6, 29], {1: -13.0, 6: -1000.0, 29: -3.0}, 8.0, 0.05, 0.0,
            dtype=torch.float64, seed=m,
        )  # fmt: skip
        save_model(model, folder / f"member_{m}")
        members.append(str(folder / f"member_{m}"))
    write_json(
        folder / "plan.json",
        {"generation": 1, "config": config.model_dump(mode="json"), "labelled": []},
    )
    write_json(folder / "committee.json", {"members": members, "calibration": {"factor": 3.0}})
    rng = np.random.default_rng(0)
    frames = []
    for atoms in (molecule("CH4"), bulk("Cu", cubic=True)) * 3:
        atoms = atoms.copy()
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        frames.append(canonical(atoms))
    write_frames(folder / "train.extxyz", frames)
    return folder


def maceloop(*arguments):
    from mace_core.cli.main import build

    result = CliRunner().invoke(build(), [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_walk_and_select_with_a_committee(folder):
    common = ["--plan", folder / "plan.json", "--committee", folder / "committee.json"]
    common += ["--train", folder / "train.extxyz"]
    walkers = [folder / f"walker_{w}.extxyz" for w in range(3)]
    for w, out in enumerate(walkers):
        said = maceloop("explore", *common, "--walker", w, "--out", out)
        assert f"gen 1 · walker {w} · 100K" in said
    out = folder / "select" / "frames.extxyz"
    said = maceloop("select", *common, "--out", out, *walkers)
    frames = read_frames(out)
    content = read_json(folder / "select" / "select.json")
    assert content["message"] in said
    assert [w["walker"] for w in content["walkers"]] == [0, 1, 2]
    assert (content["audit"], content["picked"]) == (2, 3)
    assert [f.info["role"] for f in frames] == ["audit"] * 2 + ["picked"] * 3

    # What the walkers stored is what the committee says of the rounded frame.
    from mace_core.committee import Committee

    committee = Committee.load(read_json(folder / "committee.json")["members"])
    for f, p in zip(frames, committee.predict(frames), strict=True):
        assert f.info["MACE_energy"] == pytest.approx(p.energy, abs=1e-4)
        assert f.arrays["MACE_forces"] == pytest.approx(p.forces, abs=1e-4)
        assert f.info["MACE_uncertainty"] > 1e-5
        assert f.info["MACE_uncertainty"] == pytest.approx(3.0 * p.max_forces_std, rel=0.01)
