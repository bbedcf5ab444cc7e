"""What commands import before they begin: a short step must not wait for what it does not use."""

import subprocess
import sys

#: Modules that do a step's work, and need none of HEAVY.
LIGHT = (
    "mace_core.plan",
    "mace_core.summary",
    "mace_core.seed.prepare",
    "mace_core.label.command",
    "mace_core.label.merge",
    "mace_core.assess.generation",
    "mace_core.dataset",
    "mace_core.report",
    "mace_core.config.checks",
)
HEAVY = ("torch", "e3nn", "mlflow", "matplotlib", "scipy.stats", "scipy.optimize")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_light_steps_import_what_they_use():
    code = f"""
import sys
from importlib import import_module
from mace_core.deferred import defer
defer()
for module in {LIGHT}:
    import_module(module)
    print(module, *[name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code).splitlines() == list(LIGHT)


def test_training_does_without_the_compiler():
    """torch's optimisers import it to keep it out of themselves."""
    code = """
import sys
import torch
from mace_core.config.sections import Train
from mace_core.train.optimizer import new_optimizer
model = torch.nn.Linear(2, 1)
optimizer = new_optimizer(model, Train())
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules, not any(p.requires_grad for p in optimizer.state))
"""
    assert python(code).split() == ["False", "False"]


def test_what_is_put_off_is_there_when_asked_for():
    code = """
from mace_core.deferred import defer
defer()
import sys
import ase.io
assert "ase.spacegroup.spacegroup" not in sys.modules
from ase.spacegroup import Spacegroup
import ase.spacegroup, ase.optimize, vesin
assert not hasattr(ase.optimize, "__nothing__") and "ase.optimize.bfgs" not in sys.modules
print(Spacegroup(225).no, ase.optimize.BFGS.__name__, ase.spacegroup.crystal.__name__)
print(vesin.NeighborList.__name__)
try:
    ase.optimize.nothing
except AttributeError as err:
    print(err)
"""
    first, second, third = python(code).splitlines()
    assert first == "225 BFGS crystal" and second == "NeighborList" and "'nothing'" in third


def test_version():
    code = "from mace_core.cli.main import build; build()(['--version'])"
    assert python(code).split()[0] == "maceloop"
