"""One thread a process unless told otherwise, and results that do not depend on how many."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from mace_tools import ELEMENTS, FRAMES, crystal, small_model

from mace_core.committee import Committee
from mace_core.model.graph import batch, graph_of
from mace_core.native import loader

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


@pytest.mark.skipif(loader.library() is None, reason="no native kernels")
def test_energies_and_forces_are_bitwise_the_same_on_any_number_of_threads(on_threads):
    found = []
    for threads in (1, 2, 1):
        on_threads(threads)
        committee = Committee([small_model(k, dtype=torch.float32) for k in (1, 2)])
        assert committee.engine is not None
        found.append(committee.predict([crystal(1), crystal(2)], stress=True))
    for predictions in zip(*found, strict=True):
        for name in ("member_energy", "member_forces", "stress"):
            first, *others = (getattr(prediction, name) for prediction in predictions)
            for other in others:
                np.testing.assert_array_equal(first, other)


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
