"""Fine-tuning: the start, its E0s, replay and frozen parts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers
from training_toy import E0S, MODEL, cluster, crystal, write_settings

from mace_core.config.campaign import load_settings
from mace_core.config.sections import Model
from mace_core.convert.select import select
from mace_core.errors import UserError
from mace_core.frames import write_frames
from mace_core.model.files import load_model, save_model
from mace_core.model.graph import graph_of
from mace_core.model.model import MACE
from mace_core.train.data import Dataset
from mace_core.train.foundation import choose_E0s, start_from
from mace_core.train.member import train_member
from mace_core.train.replay import Mixed, labelled_by

BASE_E0S = {atomic_numbers[symbol]: energy for symbol, energy in E0S.items()}


@pytest.fixture
def base(tmp_path):
    """A model of five elements and two heads, on disk."""
    architecture = Model(**MODEL, heads=["pbe", "other"])
    model = MACE(architecture, list(BASE_E0S), BASE_E0S, 8.0, scale=0.7, seed=3)
    save_model(model, tmp_path / "base")
    return model


def settings(tmp_path, data=None, **train):
    train = {"foundation_model": str(tmp_path / "base"), "foundation_head": "pbe", **train}
    return write_settings(tmp_path / "c.yaml", data=data, **{"max_num_epochs": 2, **train})


def energies(model, frames, head=None):
    return np.array(
        [
            model(graph_of(a, model.r_max, model.elements, model.dtype, head=head)).energy.item()
            for a in frames
        ]
    )


def labelled(frames, model, head=0, move=0.0):
    """Labels of the model itself, its E0s moved."""
    for atoms, energy in zip(frames, energies(model, frames, head), strict=True):
        atoms.info["REF_energy"] = energy + move * len(atoms)
    return frames


def test_it_starts_as_the_base_model_for_the_elements_of_the_data(base, tmp_path):
    frames = labelled([crystal(k) for k in range(6)], base)
    config = load_settings(settings(tmp_path))
    start = start_from(config, frames, {z: BASE_E0S[z] for z in (13, 29)}, torch.float64)
    assert start.model.elements == [13, 29]
    assert start.model.heads == ["Default"]
    assert np.allclose(energies(start.model, frames), energies(base, frames, 0), atol=1e-10)
    assert not start.replay


def test_a_file_of_mace_torch_is_as_good_as_a_folder(tmp_path):
    file = Path(__file__).parents[1] / "goldens/trained.model"
    config = load_settings(
        write_settings(tmp_path / "c.yaml", model={"r_max": 9.0}, foundation_model=str(file))
    )
    with pytest.raises(UserError, match="describes another model") as caught:
        start_from(config, [], {1: -13.0}, torch.float32)
    keys = dict(
        item.split(": ")
        for item in caught.value.mend.split("section: ")[1].split(", ")
        if ": " in item and "[" not in item and "]" not in item
    )
    assert keys["r_max"] == "4.0"


def test_E0s_of_another_reference_are_refused_with_the_numbers(base):
    frames = labelled([crystal(k) for k in range(6)], base, move=2.0)
    given = {13: E0S["Al"] + 2, 29: E0S["Cu"] + 2.0}
    with pytest.raises(UserError) as caught:
        choose_E0s(_single(base), given, frames, "check")
    text = str(caught.value)
    assert "Cu 3.000 in the model, 5.000 in the data (+2.000)" in text
    assert "off by +2000 meV/atom with its own E0s, by +0 with the data's, by +0 with" in text
    near = {13: E0S["Al"] + 0.01, 29: E0S["Cu"] - 0.01}
    assert choose_E0s(_single(base), near, frames, "check") == {**BASE_E0S, **near}


@pytest.mark.parametrize("choice", ["data", "foundation", "estimated"])
def test_the_user_says_which_E0s_count(base, choice):
    frames = labelled([crystal(k) for k in range(6)], base, move=2.0)
    given = {13: 100.0, 29: -100.0}
    chosen = choose_E0s(_single(base), given, frames, choice)
    expected = {
        "data": {**BASE_E0S, **given},
        "foundation": BASE_E0S,
        "estimated": {**BASE_E0S, 13: E0S["Al"] + 2, 29: E0S["Cu"] + 2},
    }[choice]
    assert chosen == pytest.approx(expected)


@pytest.mark.parametrize("choice", ["data", "estimated"])
def test_moved_energies_start_where_the_labels_are(base, tmp_path, choice):
    frames = labelled([crystal(k) for k in range(6)], base, move=2.0)
    config = load_settings(settings(tmp_path, foundation_E0s=choice))
    start = start_from(config, frames, {13: E0S["Al"] + 1.9, 29: E0S["Cu"] + 1.9}, torch.float64)
    off = [
        a.info["REF_energy"] - e for a, e in zip(frames, energies(start.model, frames), strict=True)
    ]
    assert abs(np.mean(off)) < 1e-9


def test_replay_frames_keep_the_labels_of_the_start(base, tmp_path):
    elsewhere = [cluster(k) for k in range(3)]
    write_frames(tmp_path / "replay.xyz", elsewhere)
    frames = labelled([crystal(k) for k in range(6)], base)
    config = load_settings(
        settings(tmp_path, pt_train_file=str(tmp_path / "replay.xyz"), weight_pt_head=0.5)
    )
    start = start_from(config, frames, {z: BASE_E0S[z] for z in (13, 29)}, torch.float64)
    assert start.model.elements == [1, 6, 8, 13, 29]
    labels = [atoms.info["REF_energy"] for atoms in start.replay]
    assert np.allclose(labels, energies(base, elsewhere, 0), atol=1e-10)
    assert {atoms.info["config_weight"] for atoms in start.replay} == {0.5}


def test_labels_by_a_model_are_what_it_says(base):
    frames = [crystal(0), cluster(0)]
    model = _single(base)
    for atoms in labelled_by(model, frames):
        out = model(graph_of(atoms, model.r_max, model.elements), stress=True)
        assert atoms.info["REF_energy"] == out.energy.item()
        assert np.array_equal(atoms.arrays["REF_forces"], out.forces.detach().numpy())
        assert ("REF_stress" in atoms.info) == atoms.pbc.all()
    assert np.allclose(labelled_by(model, frames)[0].info["REF_stress"][3], 0, atol=1)


def test_each_epoch_replays_other_frames():
    def data(make, n):
        return Dataset([make(k) for k in range(n)], [1, 6, 8, 13, 29], 3.0, torch.float64)

    mixed = Mixed(data(crystal, 4), data(cluster, 9), 3)
    seen = set()
    for epoch in range(12):
        batches = mixed.shuffled(2, epoch)
        assert len(batches) == mixed.steps_per_epoch(2) == 4
        order = np.concatenate(batches)
        assert sorted(order[order < 4]) == [0, 1, 2, 3]
        assert len({*order[order >= 4]}) == 3
        seen |= {*order[order >= 4].tolist()}
    assert seen == set(range(4, 13))
    graph, targets = mixed.batch([0, 4])
    assert targets.n_atoms.tolist() == [4, 6]
    assert graph.n_atoms == 10
    assert mixed.n_replay == 3
    assert Mixed(data(crystal, 2), data(cluster, 1), None).n_replay == 1


def test_training_with_replay_and_frozen_parts(base, tmp_path):
    frames = labelled([crystal(k) for k in range(8)], base, move=0.01)
    write_frames(tmp_path / "train.xyz", frames)
    write_frames(tmp_path / "replay.xyz", [cluster(k) for k in range(4)])
    file = settings(
        tmp_path,
        pt_train_file=str(tmp_path / "replay.xyz"),
        freeze=["embedding", "interactions"],
        refit="none",
    )
    metrics = train_member(tmp_path / "train.xyz", file, tmp_path / "out")
    assert metrics["n_replay"] == 4
    model = load_model(tmp_path / "out")
    config = load_settings(file)
    start = start_from(config, frames, {z: BASE_E0S[z] for z in (13, 29)}, torch.float64).model
    moved = {
        name
        for name, p in model.named_parameters()
        if not torch.equal(p, dict(start.named_parameters())[name])
    }
    assert moved
    assert all(name.startswith(("products.", "readouts.")) for name in moved)
    with pytest.raises(UserError, match="every part is frozen"):
        file = settings(tmp_path, freeze=["embedding", "interactions", "products", "readouts"])
        train_member(tmp_path / "train.xyz", file, tmp_path / "other")


def test_what_does_not_fit_is_refused(base, tmp_path):
    def start(E0s, **train):
        config = load_settings(settings(tmp_path, **train))
        return start_from(config, [crystal(0)], E0s, torch.float64)

    with pytest.raises(UserError, match="does not know Fe"):
        start({26: 1.0})
    with pytest.raises(UserError, match="several heads"):
        start({13: 2.5}, foundation_head=None)
    with pytest.raises(UserError, match="no head 'scan'"):
        start({13: 2.5}, foundation_head="scan")
    with pytest.raises(UserError, match="pt_train_file"):
        load_settings(write_settings(tmp_path / "c.yaml", pt_train_file="x.xyz"))


def _single(base):
    return select(base, None, "pbe")


def test_replay_keeps_the_model_what_it_was_elsewhere(base, tmp_path):
    """Crystals are learnt anew; on free clusters the model changes less with replay."""
    write_frames(tmp_path / "train.xyz", [crystal(k) for k in range(8)])
    elsewhere = [crystal(20 + k) for k in range(12)]
    for atoms in elsewhere:
        atoms.pbc = False
    write_frames(tmp_path / "replay.xyz", elsewhere[:8])
    before, changes = _forces(base, elsewhere[8:], 0), {}
    for name, replay in {"naive": None, "replay": str(tmp_path / "replay.xyz")}.items():
        file = settings(
            tmp_path,
            foundation_E0s="estimated",
            pt_train_file=replay,
            max_num_epochs=20,
            eval_interval=20,
        )
        train_member(tmp_path / "train.xyz", file, tmp_path / name)
        after = _forces(load_model(tmp_path / name), elsewhere[8:], None)
        changes[name] = np.abs(after - before).mean()
    assert changes["replay"] < 0.7 * changes["naive"], changes


def _forces(model, frames, head):
    graphs = [graph_of(a, model.r_max, model.elements, model.dtype, head=head) for a in frames]
    return np.concatenate([model(graph).forces.detach().numpy() for graph in graphs])
