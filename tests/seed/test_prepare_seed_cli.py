"""`maceloop prepare-seed` on a frozen plan."""

from ase.build import molecule
from ase.io import write
from typer.testing import CliRunner

from mace_core.config.campaign import parse_config
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.storage import write_json


def test_the_plan_says_what_to_prepare(tmp_path):
    from mace_core.cli.main import build

    write(tmp_path / "ch4.xyz", molecule("CH4"))
    write_frames(tmp_path / "mine.extxyz", [canonical(molecule("H2O"))])
    config = parse_config(
        {
            "campaign": {"name": "t"},
            "labeller": {"engine": "emt"},
            "seed": {"structures": [str(tmp_path / "ch4.xyz")], "n_frames": 2},
            "data": {"labelled": ["gone-by-now.extxyz"]},
        },
        where="test",
    )
    plan = {
        "generation": 0,
        "config": config.model_dump(mode="json"),
        "labelled": [{"path": str(tmp_path / "mine.extxyz"), "sha256": "0"}],
    }
    write_json(tmp_path / "plan.json", plan)
    arguments = ["--plan", tmp_path / "plan.json", "--out", tmp_path / "f.extxyz"]
    result = CliRunner().invoke(
        build(), ["prepare-seed", *map(str, arguments)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "gen 0 · 3 seed frames, 3 isolated atoms" in result.output
    isolated = [f for f in read_frames(tmp_path / "f.extxyz") if f.info["role"] == "isolated"]
    assert [f.symbols[0] for f in isolated] == ["H", "C", "O"]
