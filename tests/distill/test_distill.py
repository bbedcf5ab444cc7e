"""A student learns what its committee says, from frames that are not the campaign's."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from typer.testing import CliRunner

from mace_core.committee import Committee
from mace_core.config.campaign import parse_config
from mace_core.conventions import CONFIG_TYPE, FRAME_ID, REF_ENERGY, REF_FORCES, REF_STRESS
from mace_core.distill.lessons import RATTLE, TAUGHT, displaced, taught, visited
from mace_core.distill.student import distill
from mace_core.errors import UserError
from mace_core.explore.run import explore
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.model.files import save_model
from mace_core.model.model import MACE
from mace_core.storage import write_json

FACTOR = 2.0


def settings(**explore):
    values = {
        "campaign": {"name": "t", "seed": 5},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["x.xyz"], "strain_max": 0.02},
        "model": {
            "r_max": 4.0, "num_channels": 4, "max_ell": 1, "max_L": 0, "correlation": 2,
            "MLP_irreps": "4x0e", "radial_MLP": [8],
        },
        "train": {"members": 2, "max_num_epochs": 30, "default_dtype": "float64"},
        "explore": {
            "walkers": 2, "save_interval": 2, "temperatures": [50.0], "max_force_error": 9e5,
            "fragment_factor": 4.0, "max_temperature_factor": 100, "max_energy_change": 100,
        } | explore,
        "select": {"window": [0, 1e6]},
    }  # fmt: skip
    return parse_config(values, where="test")


def shaken(n, seed):
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = molecule("CH4") if k % 2 else bulk("Cu", cubic=True)
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        frames.append(canonical(atoms))
    return frames


def labelled_by(committee, frames):
    labelled = taught(committee, frames, 1.0, 1e9)
    for atoms in labelled:
        del atoms.info[CONFIG_TYPE]
    return labelled


@pytest.fixture
def generation(tmp_path):
    """Two random models as a committee, and frames whose true labels are its mean."""
    folder, config = tmp_path / "gen_01", settings()
    E0s = {"H": -13.0, "C": -1000.0, "Cu": -3.0}
    members = []
    for m in range(2):
        model = MACE(
            config.model, [1, 6, 29], dict(zip((1, 6, 29), E0s.values(), strict=True)), 8.0, 0.3,
            0.0, dtype=torch.float64, seed=m,
        )  # fmt: skip
        save_model(model, folder / "train" / f"member_{m}")
        members.append(str(folder / "train" / f"member_{m}"))
    write_json(
        folder / "plan.json",
        {"generation": 1, "config": config.model_dump(mode="json"), "labelled": []},
    )
    write_json(
        folder / "train" / "committee.json",
        {"members": members, "calibration": {"factor": FACTOR}},
    )
    committee = Committee.load(members)
    write_frames(folder / "dataset" / "train.extxyz", labelled_by(committee, shaken(8, 0)))
    write_frames(folder / "dataset" / "valid.extxyz", labelled_by(committee, shaken(4, 1)))
    write_json(folder / "dataset" / "dataset.json", {"E0s": E0s, "sha256": "s"})
    write_frames(folder / "assess" / "audit.extxyz", labelled_by(committee, shaken(6, 2)))
    return folder


def maceloop(*arguments):
    from mace_core.cli.main import build

    result = CliRunner().invoke(build(), [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_student_comes_close_to_the_mean_and_goes_on_where_it_was(generation, tmp_path):
    out = tmp_path / "student"
    said = maceloop("distill", generation, "--out", out, "--frames", 60)
    assert "8 labels" in said and "audit (6 frames)" in said
    again = distill(generation, out, n_frames=60)
    mae = again["force_mae"]["audit"]
    assert mae["committee"] < 1e-6 < mae["member"]
    assert mae["student"] < 0.3 * mae["member"]
    assert again["n_labelled"] == 8 and 30 < again["n_taught"] <= 60

    walks = sorted((out / "walks").glob("*.extxyz"))
    times = [path.stat().st_mtime_ns for path in walks]
    distill(generation, out, n_frames=60, max_num_epochs=1)
    assert [path.stat().st_mtime_ns for path in walks] == times
    with pytest.raises(UserError, match="another n_frames"):
        distill(generation, out, n_frames=61)
    model = generation / "train" / "member_0" / "model.safetensors"
    model.write_bytes((generation / "train" / "member_1" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="another committee"):
        distill(generation, out, n_frames=60)


def test_its_frames_are_labelled_by_the_committee_and_not_those_of_the_campaign(
    generation, tmp_path
):
    out, committee = tmp_path / "student", generation / "train" / "committee.json"
    distill(generation, out, n_frames=20, max_num_epochs=1)
    frames = read_frames(out / "dataset" / "train.extxyz")
    given = read_frames(generation / "dataset" / "train.extxyz")
    assert [a.info[FRAME_ID] for a in frames[:8]] == [a.info[FRAME_ID] for a in given]
    lessons = [a for a in frames if a.info.get(CONFIG_TYPE) == TAUGHT]
    assert len(lessons) == len(frames) - 8
    members = [generation / "train" / f"member_{m}" for m in range(2)]
    for atoms, said in zip(
        lessons, Committee.load(members).predict(lessons, stress=True), strict=True
    ):
        assert atoms.info[REF_ENERGY] == pytest.approx(said.energy, abs=1e-6)
        np.testing.assert_allclose(atoms.arrays[REF_FORCES], said.forces, atol=1e-6)
        assert (REF_STRESS in atoms.info) == bool(atoms.pbc.all())

    train, walk = generation / "dataset" / "train.extxyz", tmp_path / "walk.extxyz"
    explore(settings(steps=20), 1, committee, train, 0, walk)
    theirs = {a.info[FRAME_ID] for a in read_frames(walk)}
    ours = {a.info[FRAME_ID] for p in (out / "walks").glob("*.extxyz") for a in read_frames(p)}
    assert ours and theirs and not ours & theirs


def test_what_the_committee_is_unsure_of_is_not_taught(generation):
    committee = Committee.load([generation / "train" / f"member_{m}" for m in range(2)])
    frames = shaken(10, 3)
    spreads = [FACTOR * p.max_forces_std for p in committee.predict(frames)]
    bound = float(np.median(spreads))
    lessons = taught(committee, frames, FACTOR, 1000 * bound)
    sure = [a.info[FRAME_ID] for a, s in zip(frames, spreads, strict=True) if s <= bound]
    assert [a.info[FRAME_ID] for a in lessons] == sure and len(sure) == 5


def test_where_a_walk_went_wrong_is_not_taught(generation, tmp_path):
    config = settings(save_interval=1)  # random models bring atoms together
    frames = visited(config, generation, tmp_path / "walks", 400, seed=0)
    walks = [read_frames(path) for path in (tmp_path / "walks").glob("*.extxyz")]
    wrong = {w[-1].info[FRAME_ID] for w in walks if w[-1].info["walker_end"] == "close_contact"}
    assert wrong and not wrong & {atoms.info[FRAME_ID] for atoms in frames}


def test_every_second_frame_is_displaced_and_crystals_strained():
    frames = shaken(40, 4)
    moved = displaced(frames, 0.02, seed=1)
    for k, (before, after) in enumerate(zip(frames, moved, strict=True)):
        if k % 2 == 0:
            assert after.info[FRAME_ID] == before.info[FRAME_ID]
            continue
        assert after.info[FRAME_ID] != before.info[FRAME_ID]
        assert not after.pbc.any()  # every second one of these is a molecule
        assert 0 < np.abs(after.positions - before.positions).max() < 6 * RATTLE
    crystals = [canonical(bulk("Cu", cubic=True)) for _ in range(2)]
    strain = displaced(crystals, 0.02, seed=1)[1].cell[:] / crystals[0].cell[0, 0] - np.eye(3)
    assert 1e-4 < np.abs(strain).max() < 0.021


def test_a_generation_without_a_committee_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"(?s)no plan.json.*from 1 on"):
        distill(tmp_path, tmp_path / "out")
