"""Files are data: nothing they name is run, and what no model needs is refused."""

import os
import pickle
import sys
import types
import zipfile

import pytest
import torch

from mace_core.convert.files import import_model
from mace_core.convert.reading import read_file
from mace_core.convert.stored import Stored
from mace_core.convert.unpickle import Recorded, read_pickle
from mace_core.errors import UserError


class Runs:
    """Unpickled by the standard unpickler, makes a file."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, name",
    [(os.system, "posix.system"), (eval, "builtins.eval"), (exec, "builtins.exec")],
)
def test_a_file_that_would_run_code_is_refused_by_name(tmp_path, function, name):
    trace, path = tmp_path / "trace", tmp_path / "evil.model"
    order = f"touch {trace}" if function is os.system else f"__import__('os').mkdir({str(trace)!r})"
    torch.save({"weights": torch.ones(2), "more": Runs(function, order)}, path)
    torch.load(path, weights_only=False)
    assert trace.exists(), "the test's file is harmless"
    trace.rmdir() if trace.is_dir() else trace.unlink()
    with pytest.raises(UserError, match=name):
        read_pickle(path)
    with pytest.raises(UserError, match=name):
        import_model(path, tmp_path / "out")
    assert not trace.exists()
    assert not (tmp_path / "out").exists()


def test_what_it_names_of_torch_is_not_called_either(tmp_path):
    path = tmp_path / "file.model"
    torch.save(Runs(torch.set_default_dtype, torch.float64), path)
    before = torch.get_default_dtype()
    found = read_pickle(path)
    assert torch.get_default_dtype() == before
    assert isinstance(found, Recorded)
    assert found.name == "torch.set_default_dtype"
    assert found.args == (torch.float64,)


def test_modules_become_names_and_numbers(tmp_path):
    path = tmp_path / "file.model"
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.SiLU())
    torch.save(module, path)
    stored = Stored.of(read_pickle(path))
    assert stored.kind == "Sequential"
    assert [m.kind for m in stored.modules.values()] == ["Linear", "SiLU"]
    tensors = dict(stored.named_tensors())
    assert tensors.keys() == module.state_dict().keys()
    assert all(torch.equal(t, module.state_dict()[k]) for k, t in tensors.items())
    assert stored["0"].attributes["in_features"] == 2
    with pytest.raises(UserError, match="not supported: a Sequential"):
        read_file(path)


def test_other_files_are_refused(tmp_path):
    def refusal(content=None):
        path = tmp_path / "file.model"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_file(path)
        return str(caught.value)

    assert "no such file" in refusal()
    assert "not a file that torch.save wrote" in refusal(b"nonsense")
    assert "not a file that torch.save wrote" in refusal(pickle.dumps({"a": 1}))
    with zipfile.ZipFile(tmp_path / "file.model", "w") as archive:
        archive.writestr("archive/other", b"")
    assert "no model" in refusal()
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "file.model")
    assert "checkpoint" in refusal()
    whole = (tmp_path / "file.model").read_bytes()
    assert refusal(whole[:-30])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_files_are_refused_with_what_to_give_instead(tmp_path):
    path = tmp_path / "model-lammps.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UserError, match="TorchScript") as caught:
        read_file(path)
    assert ".model" in caught.value.mend


def test_reading_ends(tmp_path):
    path = tmp_path / "file.model"
    torch.save({}, path)
    with pytest.raises(UserError, match="took longer"):
        read_file(path, time_limit=0.01)


def test_models_of_other_packages_are_named(tmp_path, monkeypatch):
    module = types.ModuleType("cuequivariance_torch")
    module.Linear = type("Linear", (), {"__module__": "cuequivariance_torch"})
    monkeypatch.setitem(sys.modules, "cuequivariance_torch", module)
    torch.save(module.Linear(), tmp_path / "file.model")
    with pytest.raises(UserError, match="cuequivariance_torch") as caught:
        read_pickle(tmp_path / "file.model")
    assert "mace_cueq_to_e3nn" in caught.value.mend
