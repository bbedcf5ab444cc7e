"""`maceloop label` and `maceloop merge-labels`, from file to file."""

from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from mace_core.cli.label import register
from mace_core.config import load_config
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.label.isolated import isolated_atoms
from mace_core.label.theory import theory_id
from mace_core.storage import read_json, write_json


@pytest.fixture
def cli():
    app = typer.Typer()
    register(app)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def campaign(tmp_path, monkeypatch, crystals):
    """Configuration, plan and selected frames in the current folder."""
    monkeypatch.chdir(tmp_path)
    config = {
        "campaign": {"name": "test"},
        "seed": {"structures": ["in.extxyz"]},
        "labeller": {
            "engine": "ase",
            "calculator": "faulty_labeller:FaultyCalculator",
            "kwargs": {"rate": 0.4, "faults": ["unconverged", "nan"]},
        },
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    settings = load_config("c.yaml")
    plan = {
        "generation": 2,
        "config": settings.model_dump(mode="json"),
        "theory": theory_id(settings.labeller),
    }
    write_json("plan.json", plan)
    frames = [canonical(atoms) for atoms in crystals(10)]
    for n, atoms in enumerate(frames):
        atoms.info |= {"role": "audit" if n % 3 else "picked", "group": "500K", "why_picked": "why"}
        if n:  # the first is of an earlier version
            atoms.info |= {"stratum": "fcc (2×1×1)", "exam": n == 1}
    frames += isolated_atoms(["Cu"], settings.labeller)
    write_frames("frames.extxyz", frames)
    return plan


def label(cli, b, n, **options):
    extra = [x for key, value in options.items() for x in (f"--{key}", value)]
    out = f"batch_{b}.extxyz"
    return cli(
        *("label", "--frames", "frames.extxyz", "--config", "plan.json", "--batch", f"{b}/{n}"),
        *("--out", out, *extra),
    )


def merge(cli, out, batches):
    files = [f"batch_{b}.extxyz" for b in batches]
    cli("merge-labels", "--plan", "plan.json", "--frames", "frames.extxyz", "--out", out, *files)
    return read_json(out)


def test_from_frames_to_merged(cli, campaign):
    for b in range(2):
        assert "frames" in label(cli, b, 2).splitlines()[-1]
    merged = merge(cli, "m.json", range(2))
    selected = read_frames("frames.extxyz")
    assert [row["frame_id"] for row in merged["labels"]] == [a.info["frame_id"] for a in selected]
    assert (merged["generation"], merged["theory"]) == (2, campaign["theory"])
    assert merged["calls"] == sum(merged["counts"].values()) == 11
    assert merged["counts"]["converged"] < 11
    assert merged["wall_seconds"] == pytest.approx(
        sum(row["wall_seconds"] for row in merged["labels"]), abs=1e-3
    )
    assert all(row["computed"] for row in merged["labels"])
    assert merged["labels"][-1]["role"] == "isolated"
    assert {row["rung"] for row in merged["labels"]} == {"default"}
    first = merged["labels"][0]
    assert (first["role"], first["group"], first["why_picked"]) == ("picked", "500K", "why")
    composition = selected[0].symbols.formula.reduce()[0].format("hill")
    strata = [row["stratum"] for row in merged["labels"]]
    assert strata == [composition] + ["fcc (2×1×1)"] * 9 + [None]
    assert [row["exam"] for row in merged["labels"]] == [False, True] + [False] * 9
    for row in merged["labels"]:
        assert (row["reason"] == "") == (row["status"] == "converged")

    # Rebuilt from the store: the same story, without one call.
    for b in range(2):
        assert "from the store" in label(cli, b, 2)
    rebuilt = merge(cli, "m2.json", range(2))
    assert not any(row.pop("computed") for row in rebuilt["labels"])
    assert all(row.pop("computed") for row in merged["labels"])
    assert rebuilt == merged


def test_merge_refuses_anything_but_the_selected_frames(cli, campaign, crystals):
    for b in range(2):
        label(cli, b, 2)
    extra = read_frames("batch_0.extxyz")[0]
    extra.positions[0] += 0.01
    write_frames("batch_strange.extxyz", [extra])
    for batches, message in (
        ([], "11 selected but not labelled"),
        ([0], "5 selected but not labelled"),
        ([0, 1, 1], "5 labelled but not selected"),
        ([0, 1, "strange"], "1 labelled but not selected"),
    ):
        with pytest.raises(UserError, match=message):
            merge(cli, "m.json", batches)
    assert not Path("m.json").exists()


def test_labels_of_two_theories_are_not_mixed(cli, campaign, monkeypatch):
    label(cli, 0, 1)
    other = campaign | {"theory": "0" * 16}
    write_json("plan.json", other)
    with pytest.raises(UserError, match="level of theory"):
        merge(cli, "m.json", [0])
    with pytest.raises(UserError, match="planned at level of theory 0000000000000000; with ase=="):
        label(cli, 0, 1)


def test_label_from_yaml_into_a_given_store(cli, campaign, crystals):
    write_frames("raw.extxyz", crystals(2, seed=9))
    arguments = ["label", "--frames", "raw.extxyz", "--config", "c.yaml", "--store", "S"]
    cli(*arguments, "--out", "o.extxyz")
    frames = read_frames("o.extxyz")
    assert len(frames) == 2
    assert all(atoms.info["frame_id"] == canonical(atoms).info["frame_id"] for atoms in frames)
    assert Path("S", campaign["theory"], "theory.json").is_file()
    cli(*arguments, "--out", "empty.extxyz", "--batch", "5/6")
    assert read_frames("empty.extxyz") == []
    for bad in ("3/3", "x", "1", "-1/3"):
        with pytest.raises(UserError, match="--batch"):
            cli(*arguments, "--out", "o.extxyz", f"--batch={bad}")
