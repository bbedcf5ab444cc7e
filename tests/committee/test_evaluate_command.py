import numpy as np
import pytest
import typer
from mace_tools import crystal, ethanol, small_model
from typer.testing import CliRunner

from mace_core.cli import evaluate
from mace_core.conventions import MACE_ENERGY, MACE_FORCES, MACE_FORCES_STD, MACE_STRESS
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.model.files import save_model


@pytest.fixture
def app():
    app = typer.Typer()
    app.callback()(lambda: None)  # keeps `evaluate` a subcommand
    evaluate.register(app)
    return app


@pytest.mark.parametrize("style", ["--model A B C", "--model A --model B --model C"])
def test_committee(app, tmp_path, style):
    for seed, name in enumerate("ABC"):
        save_model(small_model(seed), tmp_path / name)
    write_frames(tmp_path / "in.xyz", [ethanol(), crystal()])
    models = [str(tmp_path / word) if len(word) == 1 else word for word in style.split()]
    files = ["--frames", tmp_path / "in.xyz", "--out", tmp_path / "out.xyz"]
    result = CliRunner().invoke(app, ["evaluate", *models, *map(str, files)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 frames by 3 model(s)")
    molecule, solid = read_frames(tmp_path / "out.xyz")
    for frame in (molecule, solid):
        assert isinstance(frame.info[MACE_ENERGY], float)
        assert frame.arrays[MACE_FORCES].shape == (len(frame), 3)
        assert (frame.arrays[MACE_FORCES_STD] > 0).all()
    assert np.shape(solid.info[MACE_STRESS]) == (6,) and MACE_STRESS not in molecule.info


def test_missing_model(app, tmp_path):
    write_frames(tmp_path / "in.xyz", [ethanol()])
    arguments = ["--model", "nowhere", "--frames", tmp_path / "in.xyz", "--out", tmp_path / "o.xyz"]
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert isinstance(result.exception, UserError) and "nowhere" in str(result.exception)
    assert not (tmp_path / "o.xyz").exists()
