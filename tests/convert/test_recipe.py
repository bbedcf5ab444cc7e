"""What our files make ``torch.load`` do, seen by a stand-in for mace-torch."""

import sys
import types

import pytest
import torch
from mace_tools import ARCHITECTURES, small_model

from mace_core.convert.basis import full_coupling
from mace_core.convert.files import export_model, import_model
from mace_core.convert.weights import from_model
from mace_core.errors import UserError
from mace_core.model.files import load_model, read_description, save_model


class FakeModule:
    """Says how it was made and what it was given."""

    known = True

    def __init__(self, **arguments):
        self.arguments, self.dtype = arguments, torch.get_default_dtype()

    def load_state_dict(self, state, strict, assign):
        assert (strict, assign) == (False, True)
        self.state = state
        return types.SimpleNamespace(unexpected_keys=[] if self.known else ["a.weight"])


@pytest.fixture
def fake_mace(monkeypatch):
    """Packages with the names that a file asks for."""
    names = [f"RealAgnostic{kind}InteractionBlock" for kind in ("", "Residual", "Density")]
    names.append("RealAgnosticDensityResidualInteractionBlock")
    content = {
        "mace": {},
        "mace.modules": {},
        "mace.modules.models": {
            kind: type(kind, (FakeModule,), {}) for kind in ("MACE", "ScaleShiftMACE")
        },
        "mace.modules.blocks": {name: type(name, (), {}) for name in names},
    }
    for name, members in content.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return content["mace.modules.models"]


def exported(tmp_path, **changes):
    model = small_model(**changes)
    save_model(model, tmp_path / "model", {"note": 3})
    export_model(tmp_path / "model", tmp_path / "file.model")
    return model, tmp_path / "file.model"


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loading_makes_the_module(fake_mace, tmp_path, name, dtype):
    model, path = exported(tmp_path, dtype=dtype, **ARCHITECTURES[name])
    before = torch.get_default_dtype()
    loaded = torch.load(path, weights_only=False)
    a, arguments = model.architecture, loaded.arguments
    assert type(loaded) is fake_mace[a.model]
    assert torch.get_default_dtype() == before, "as it was"
    assert loaded.dtype == dtype, "while the module is made"
    assert arguments["r_max"] == a.r_max
    assert arguments["atomic_numbers"] == model.elements
    assert arguments["interaction_cls_first"].__name__ == a.interaction_first
    assert arguments["gate"] is torch.nn.functional.silu
    assert str(arguments["MLP_irreps"]) == a.MLP_irreps
    assert arguments["hidden_irreps"].lmax == (a.max_L if a.num_interactions > 1 else 0)
    assert arguments["heads"] == model.heads
    assert arguments["avg_num_neighbors"] == model.avg_num_neighbors
    assert ("atomic_inter_scale" in arguments) == (a.model == "ScaleShiftMACE")
    weights = from_model(model).tensors
    assert weights.keys() <= loaded.state.keys()
    assert all(torch.equal(loaded.state[key], tensor) for key, tensor in weights.items())
    assert loaded.state["atomic_energies_fn.atomic_energies"].dtype == torch.float64
    assert loaded.state["r_max"].item() == a.r_max
    U = loaded.state[f"products.0.symmetric_contractions.contractions.0.U_matrix_{a.correlation}"]
    assert torch.equal(U, full_coupling(a.max_ell, 0, a.correlation).to(dtype))


def test_weights_that_the_class_does_not_know_stop_the_loading(fake_mace, tmp_path, monkeypatch):
    _, path = exported(tmp_path)
    monkeypatch.setattr(FakeModule, "known", False)
    with pytest.raises(IndexError):
        torch.load(path, weights_only=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_through_our_own_file(tmp_path, dtype):
    model, path = exported(tmp_path, dtype=dtype, num_interactions=1, max_L=1)
    import_model(path, tmp_path / "back")
    back = load_model(tmp_path / "back")
    assert back.architecture == model.architecture
    assert all(torch.equal(t, model.state_dict()[k]) for k, t in back.state_dict().items())
    metadata = read_description(tmp_path / "back")["metadata"]
    assert metadata["note"] == 3
    assert metadata["imported"]["file"] == "file.model"


def test_what_mace_torch_cannot_make_is_refused(tmp_path):
    with pytest.raises(UserError, match="max_ell"):
        exported(tmp_path, max_ell=0, max_L=0, correlation=1)


def test_a_python_without_mace_torch(tmp_path):
    save_model(small_model(), tmp_path / "model")
    with pytest.raises(UserError, match="mace-torch did not load"):
        export_model(tmp_path / "model", tmp_path / "file.model", mace_python=sys.executable)
    with pytest.raises(UserError, match="cannot be run"):
        export_model(tmp_path / "model", tmp_path / "file.model", mace_python="/no/such/python")
    assert not (tmp_path / "file.model").exists()
