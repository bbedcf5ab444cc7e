import json
from pathlib import Path

import pytest
import torch
from ase.build import molecule
from mace_tools import ARCHITECTURES, ELEMENTS, crystal, small_model

from mace_core.errors import UserError
from mace_core.model.files import load_model, read_description, save_model
from mace_core.model.graph import graph_of


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_round_trip_is_identical(tmp_path, architecture):
    model = small_model(1, **ARCHITECTURES[architecture])
    model.scale_shift.scale.fill_(2.5)
    save_model(model, tmp_path / "new" / "folder", {"generation": 3})
    loaded = load_model(tmp_path / "new" / "folder")
    assert read_description(tmp_path / "new" / "folder")["metadata"] == {"generation": 3}
    assert loaded.architecture == model.architecture and loaded.dtype == model.dtype
    graph = graph_of(crystal(), model.r_max, ELEMENTS)
    a, b = model(graph, stress=True), loaded(graph, stress=True)
    for name in ("energy", "node_energy", "forces", "stress"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert {n: t.tolist() for n, t in model.state_dict().items()} == {
        n: t.tolist() for n, t in loaded.state_dict().items()
    }


def test_format_1_is_still_read():
    """A model of before heads, blocks and transforms; energy and force are what it gave then."""
    model = load_model(Path(__file__).parent / "format_1")
    out = model(graph_of(molecule("H2O"), 4.0, [1, 8]))
    assert out.energy.item() == pytest.approx(-2068.258487386424, abs=1e-9, rel=0)
    assert out.forces[0].tolist() == pytest.approx([0, 0, 0.05073302126323116], abs=1e-12)
    assert model.E0.tolist() == [[-13.5, -2040.25]]


def test_constants_of_the_pair_are_kept_with_the_weights(tmp_path):
    """A table of radii that changes does not change a model."""
    model = small_model(1, distance_transform="Agnesi", pair_repulsion=True)
    model.radial_basis.transform.covalent_radii += 0.1
    model.pair_repulsion.covalent_radii -= 0.1
    model.radial_basis.transform.q.fill_(0.8)
    save_model(model, tmp_path)
    graph = graph_of(crystal(), model.r_max, ELEMENTS)
    assert torch.equal(load_model(tmp_path)(graph).forces, model(graph).forces)


def test_two_saves_are_the_same_bytes(tmp_path):
    for name in "ab":
        save_model(small_model(2), tmp_path / name)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("saved, loaded", [("float64", "float32"), ("float32", "float64")])
def test_precision_can_be_changed(tmp_path, saved, loaded):
    saved, loaded = getattr(torch, saved), getattr(torch, loaded)
    model = small_model(3, saved)
    save_model(model, tmp_path)
    assert load_model(tmp_path).dtype == saved
    other = load_model(tmp_path, loaded)
    assert other.dtype == loaded
    assert {p.dtype for p in other.parameters()} == {loaded}
    assert torch.equal(other.E0, model.E0)
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(p.to(loaded), q), name


def change(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_refuses_newer_format(tmp_path):
    save_model(small_model(), tmp_path)
    change(tmp_path, format=99)
    with pytest.raises(UserError, match="model format 99 is newer"):
        load_model(tmp_path)


def test_refuses_unknown_and_missing_keys_by_name(tmp_path):
    save_model(small_model(), tmp_path)
    change(tmp_path, colour="red")
    with pytest.raises(UserError, match="unknown keys: colour"):
        load_model(tmp_path)
    save_model(small_model(), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    del description["elements"]
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="missing keys: elements"):
        load_model(tmp_path)


def test_refuses_unknown_architecture_by_name(tmp_path):
    save_model(small_model(), tmp_path)
    change(tmp_path, architecture=small_model().architecture.model_dump() | {"attention": True})
    with pytest.raises(UserError, match="attention"):
        load_model(tmp_path)


def test_refuses_weights_of_another_model(tmp_path):
    for seed in (1, 2):
        save_model(small_model(seed), tmp_path / str(seed))
    (tmp_path / "1" / "model.safetensors").write_bytes(
        (tmp_path / "2" / "model.safetensors").read_bytes()
    )
    with pytest.raises(UserError, match="not the file that"):
        load_model(tmp_path / "1")


def test_refuses_weights_that_do_not_fit(tmp_path):
    save_model(small_model(), tmp_path)
    change(tmp_path, architecture=small_model(num_channels=8).architecture.model_dump())
    with pytest.raises(UserError, match=r"weights do not fit .*node_embedding\.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_says_what_is_missing(tmp_path, name):
    with pytest.raises(UserError, match=r"model\.json is missing"):
        load_model(tmp_path)
    save_model(small_model(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_model(tmp_path)
