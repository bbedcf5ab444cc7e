"""Training on several threads: the frames of a batch are shared out, and what comes of it."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase import Atoms
from mace_tools import ELEMENTS, crystal, ethanol, rattled, slab, small_cell, small_model

from mace_core.model import whole
from mace_core.model.graph import batch, graph_of
from mace_core.native import loader

pytestmark = pytest.mark.skipif(loader.library() is None, reason="no native kernels")

LONE = Atoms("O", [[0.0, 0.0, 0.0]])
#: By the number of frames: of different size, atoms without neighbours, and nothing but those.
BATCHES = {
    "one": [ethanol()],
    "two": [crystal(), slab()],
    "an atom and a crystal": [LONE, crystal().repeat(2)],
    "five": [ethanol(), crystal(), LONE, slab(), small_cell()],
    "five, one much larger": [ethanol(), ethanol(1), rattled(crystal().repeat(2), 2), LONE, slab()],
    "atoms alone": [Atoms(s, [[0.0, 0.0, 0.0]]) for s in "HCO"],
}
KEYS = ("energy", "node_energy", "forces", "stress")
COTANGENTS = [*((key,) for key in KEYS), KEYS]


@pytest.fixture(autouse=True)
def threads():
    """As many as before when a test ends."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def graph_with(frames, dtype=torch.float64):
    return batch([graph_of(atoms, 3.5, ELEMENTS, dtype) for atoms in frames])


def on_threads(n, model, graph, keys=KEYS):
    """Outputs, and the weights' gradients of a random combination of those in ``keys``."""
    assert whole.shape_of(model) is not None
    torch.set_num_threads(n)
    out = model(graph, forces=True, stress=True, training=True)
    random, loss = torch.Generator().manual_seed(3), 0.0
    for key in keys:
        value = getattr(out, key)
        u = torch.randn(value.shape, generator=random, dtype=torch.float64)
        loss = loss + (u.to(value.dtype) * value).sum()
    outputs = [getattr(out, key).detach() for key in KEYS]
    return outputs, torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("keys", COTANGENTS, ids=" ".join)
@pytest.mark.parametrize("name", BATCHES)
def test_outputs_do_not_depend_on_threads_and_gradients_to_rounding_only(name, keys):
    model, graph = small_model(1), graph_with(BATCHES[name])
    expected, reference = on_threads(1, model, graph, keys)
    for n in (2, 3, 8):
        outputs, gradients = on_threads(n, model, graph, keys)
        assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
        for found, other in zip(gradients, reference, strict=True):
            assert (found - other).abs().max() <= 1e-13 * other.abs().max().clamp(min=1)
        _, again = on_threads(n, model, graph, keys)
        assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


@pytest.mark.parametrize("changes", [{"pair_repulsion": True}, {"num_interactions": 3, "max_L": 2}])
def test_float32_and_other_models(changes):
    model = small_model(2, torch.float32, **changes)
    graph = graph_with(BATCHES["five"], torch.float32)
    expected, reference = on_threads(1, model, graph)
    outputs, gradients = on_threads(2, model, graph)
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
    for found, other in zip(gradients, reference, strict=True):
        assert (found - other).abs().max() <= 5e-6 * other.abs().max().clamp(min=1)
    # Sums in another order: the frames were indeed shared out.
    assert not all(torch.equal(a, b) for a, b in zip(gradients, reference, strict=True))


def test_gradients_of_some_weights_only():
    model, graph = small_model(1), graph_with(BATCHES["five"])
    _, every = on_threads(2, model, graph)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("products" in name)
    trains = [p.requires_grad for p in model.parameters()]
    _, some = on_threads(2, model, graph)
    for found, expected in zip(some, itertools.compress(every, trains), strict=True):
        assert torch.equal(found, expected)


def test_atoms_in_any_order_are_one_group():
    """Frames whose atoms do not follow each other cannot be shared out; they are still right."""
    model, graph = small_model(1), graph_with([crystal(), ethanol()])
    order = torch.randperm(graph.n_atoms, generator=torch.Generator().manual_seed(0))
    mixed = dataclasses.replace(
        graph,
        positions=graph.positions[order],
        species=graph.species[order],
        frame=graph.frame[order],
        edge_index=torch.argsort(order)[graph.edge_index],
    )
    one, two = on_threads(1, model, mixed), on_threads(2, model, mixed)
    for a, b in zip([*one[0], *one[1]], [*two[0], *two[1]], strict=True):
        assert torch.equal(a, b)
    energy, _, _, stress = on_threads(2, model, graph)[0]
    torch.testing.assert_close(one[0][0], energy, rtol=0, atol=1e-10)
    torch.testing.assert_close(one[0][3], stress, rtol=0, atol=1e-12)


#: Steps on so many threads, with so many bytes that may be reserved beyond what the process has,
#: of crystals repeated so often. No thread is left over whose stack the second one could take.
SHORT_OF_MEMORY = """
import resource
import torch
from mace_core.errors import UserError
from mace_core.model.graph import batch, graph_of
from mace_tools import ELEMENTS, crystal, small_model

def graph(repeats):
    frames = [crystal(seed).repeat(repeats) for seed in range(2)]
    return batch([graph_of(atoms, 3.5, ELEMENTS) for atoms in frames])

model, small = small_model(num_channels=256), graph(1)
expected = model(small).forces
before = resource.getrlimit(resource.RLIMIT_AS)
for threads, limit, repeats in [(1, 300_000_000, 5), (2, 4_000_000, 1), (2, 300_000_000, 5)]:
    frames = graph(repeats)
    torch.set_num_threads(threads)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + limit, before[1]))
    try:
        model(frames, training=True)
    except (MemoryError, UserError) as err:
        print(str(err).splitlines()[0])
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert torch.equal(model(small).forces, expected)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for its size")
def test_what_runs_out_is_an_error_and_the_process_goes_on():
    command = [sys.executable, "-c", SHORT_OF_MEMORY]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.returncode == 0, run.stderr
    memory = "memory ran out in a native kernel"
    assert run.stdout.splitlines() == [memory, "a thread could not be started", memory]
