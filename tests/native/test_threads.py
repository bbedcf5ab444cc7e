"""One thread a process unless told otherwise, and results that do not depend on how many."""

import os
import subprocess
import sys

import pytest
import torch
from mace_tools import ELEMENTS, FRAMES, small_model

from mace_core.calculator import MACECalculator
from mace_core.committee import Committee
from mace_core.errors import UserError
from mace_core.model.graph import batch, graph_of
from mace_core.native import loader
from mace_core.threads import threads_or_default

#: The command, with a subcommand that says on how many threads torch runs.
COMMAND = """
from mace_core.cli import main

def build():
    import torch
    return lambda: print(torch.get_num_threads())

main.build = build
main.run()
"""


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("2", "2")])
def test_a_command_runs_on_one_thread_or_as_many_as_its_job_has(given, threads):
    env = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    if given:
        env["OMP_NUM_THREADS"] = given
    run = subprocess.run([sys.executable, "-c", COMMAND], env=env, capture_output=True, text=True)
    assert run.stdout.strip() == threads, run.stderr


@pytest.fixture
def on_threads():
    """Sets how many threads torch uses; afterwards as before."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("given", "variable", "threads"),
    [(None, None, 1), (None, "", 1), (None, "2", 2), (None, "3,1", 3), (4, "2", 4)],
)
def test_as_many_threads_as_asked_for_or_as_the_job_has(monkeypatch, given, variable, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads_or_default(given) == threads
    if loader.library() is not None:
        calculator = MACECalculator(committee=Committee([small_model()], threads=given))
        assert calculator.committee.engine.threads == threads


@pytest.mark.parametrize(("given", "variable"), [(0, "1"), (None, "many"), (None, "-2")])
def test_no_number_of_threads_is_said(monkeypatch, given, variable):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    with pytest.raises(UserError, match="is no number of threads"):
        threads_or_default(given)


def test_gradients_of_a_training_step_do_not_depend_on_threads(on_threads):
    """Bitwise at one number of threads; to rounding between two numbers."""
    model = small_model(1, dtype=torch.float64)
    frames = [frame() for frame in FRAMES.values()]
    graph = batch([graph_of(atoms, model.r_max, ELEMENTS, torch.float64) for atoms in frames])

    def gradients(threads):
        on_threads(threads)
        out = model(graph, forces=True, training=True)
        loss = out.forces.square().sum() + 1e-9 * out.energy.square().sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    two, other_two, one = gradients(2), gradients(2), gradients(1)
    for a, b, c in zip(two, other_two, one, strict=True):
        assert torch.equal(a, b)
        assert (a - c).abs().max() <= 1e-11 * max(1.0, float(c.abs().max()))
