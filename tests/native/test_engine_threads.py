"""MD on several threads: the atoms of a call are shared out, and what comes of it."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from mace_tools import ELEMENTS, crystal, ethanol, rattled, slab, small_cell, small_model

from mace_core.committee import Committee, Follower
from mace_core.inference import engine as engine_module
from mace_core.inference.engine import Engine
from mace_core.inference.pairs import Pairs
from mace_core.native import loader

pytestmark = pytest.mark.skipif(loader.library() is None, reason="no native kernels")

LONE = Atoms("O", [[0.0, 0.0, 0.0]])
#: Frames of one call: one and several, atoms without neighbours, nothing but those, work that is
#: far from the same for all atoms.
CALLS = {
    "a crystal": [crystal().repeat((3, 3, 2))],
    "molecules": [rattled(ethanol() + ethanol(1), 2)],
    "several": [ethanol(), crystal(), LONE, slab(), small_cell(), ethanol(1)],
    "atoms alone": [LONE] * 20,
    "a crystal among atoms": [*[LONE] * 30, crystal().repeat(2), *[LONE] * 30],
}
MODELS = {
    "two layers": {},
    "one layer": {"num_interactions": 1},
    "three layers, repulsion": {"num_interactions": 3, "max_L": 2, "pair_repulsion": True},
    "density": {"interaction": "RealAgnosticDensityResidualInteractionBlock"},
}


@pytest.fixture(autouse=True)
def shared_out(monkeypatch):
    """Few atoms of small models too."""
    monkeypatch.setattr(engine_module, "LEAST_WORK", 1)


def evaluated(models, frames, threads, dtype=torch.float64):
    """Twice with one engine, which uses its memory again."""
    engine = Engine(models, dtype, models[0].default_head, threads)
    bound = engine.bind(Pairs.build(frames, models[0].r_max, ELEMENTS))
    positions = np.concatenate([atoms.positions for atoms in frames])
    first, second = (dataclasses.asdict(bound.evaluate(positions)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    return first


def assert_alike(found, expected, share):
    for name, values in expected.items():
        size = max(1.0, np.abs(values).max())
        np.testing.assert_allclose(found[name], values, rtol=0, atol=share * size, err_msg=name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("call", CALLS)
def test_results_do_not_depend_on_threads(call, model):
    """To rounding between two numbers of them, bitwise at one number; of two members."""
    models = [small_model(seed, **MODELS[model]) for seed in (1, 2)]
    expected = evaluated(models, CALLS[call], 1)
    for threads in (2, 3, 50):
        assert_alike(evaluated(models, CALLS[call], threads), expected, 1e-13)


def test_in_float32():
    models = [small_model(seed, torch.float32) for seed in (1, 2)]
    frames = CALLS["a crystal"]
    one, two = (evaluated(models, frames, threads, torch.float32) for threads in (1, 2))
    assert_alike(two, one, 2e-6)
    # Sums in another order: the atoms were indeed shared out.
    assert not np.array_equal(one["forces"], two["forces"])


def test_little_work_is_not_shared_out(monkeypatch):
    """As many threads as there is work for; of one atom always one."""
    engine = Engine([small_model(num_channels=64)], torch.float64, threads=6)
    threads = []
    for least, frame in [(1, LONE), (30_000, ethanol()), (30_000, crystal().repeat(3))]:
        monkeypatch.setattr(engine_module, "LEAST_WORK", least)
        bound = engine.bind(Pairs.build([frame], engine.r_max, ELEMENTS))
        threads.append(bound._frames.n_threads)
    assert threads == [1, 1, 6]


def test_the_skin_changes_no_bit_on_two_threads_either():
    """Shares go by edges within the cutoff, not by the pairs of the list."""
    committee = Committee([small_model(1), small_model(2)], threads=2)
    followers = [Follower(committee, skin) for skin in (0.0, 1.5)]
    atoms = crystal().repeat((3, 2, 2))
    rng = np.random.default_rng(0)
    for _ in range(4):
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        one, other = (follower.predict(atoms, stress=True) for follower in followers)
        for name in ("member_energy", "member_forces", "stress"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


#: On so many threads, with so many bytes that may be reserved beyond what the process has, of a
#: crystal repeated so often. No thread has ended before the second one, which could take its stack.
SHORT_OF_MEMORY = """
import resource
import numpy as np
from mace_core.committee import Committee
from mace_core.inference.pairs import Pairs
from mace_tools import crystal, small_model

def bind(committee, frame):
    return committee.engine.bind(Pairs.build([frame], committee.r_max, committee.elements))

committees = {n: Committee([small_model(num_channels=64)], threads=n) for n in (1, 2)}
small = crystal().repeat(2)
expected = committees[1].predict([small])[0].forces
before = resource.getrlimit(resource.RLIMIT_AS)
for n, limit, repeats in [(1, 40_000_000, 12), (2, 4_000_000, 2), (2, 40_000_000, 12)]:
    frame = crystal().repeat(repeats)
    bound = bind(committees[n], frame)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + limit, before[1]))
    try:
        bound.evaluate(frame.positions)
    except MemoryError as err:
        print(err)
    resource.setrlimit(resource.RLIMIT_AS, before)
    again = committees[n].predict([small])[0].forces
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-12)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for its size")
def test_what_runs_out_is_an_error_and_the_process_goes_on():
    command = [sys.executable, "-c", SHORT_OF_MEMORY]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["no memory or no thread for the native engine"] * 3
