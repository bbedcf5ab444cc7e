"""The native engine gives what the torch model gives, and what physics asks for."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from mace_tools import (
    ARCHITECTURES,
    ELEMENTS,
    FRAMES,
    crystal,
    ethanol,
    slab,
    small_cell,
    small_model,
)

from mace_core.calculator import MACECalculator
from mace_core.committee import Committee, Follower
from mace_core.errors import UserError
from mace_core.inference.engine import Engine, supported
from mace_core.inference.pairs import Pairs
from mace_core.model.graph import batch, graph_of
from mace_core.native import loader

pytestmark = pytest.mark.skipif(loader.library() is None, reason="no native kernels")

#: Native against torch: energies in eV and forces in eV/Å of a model in float64, and the share of
#: the largest force that float32 may be off.
EXACT = {"energy": 1e-10, "forces": 1e-9, "virial": 1e-9}
SINGLE = 1e-5


def both(models, frames, dtype=torch.float64, engine=None):
    """Native results, and the same from torch; and how far virials of crystals are off."""
    engine = engine or Engine(models, dtype, models[0].default_head)
    bound = engine.bind(Pairs.build(frames, models[0].r_max, models[0].elements))
    native = bound.evaluate(np.concatenate([atoms.positions for atoms in frames]))
    graph = batch([graph_of(a, models[0].r_max, models[0].elements, dtype) for a in frames])
    outs = [model(graph, stress=True) for model in models]
    volume = np.array([atoms.get_volume() if atoms.pbc.all() else 0.0 for atoms in frames])
    virials = [volume[:, None, None] * out.stress.double().numpy() for out in outs]
    symmetric = (native.virial + native.virial.transpose(0, 1, 3, 2)) / 2
    symmetric[:, volume == 0] = 0.0
    return (
        native,
        np.array([out.node_energy.numpy() for out in outs]),
        np.array([out.forces.double().numpy() for out in outs]),
        symmetric - np.array(virials),
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_torch(name, threads):
    """Every architecture, on molecules, crystals, slabs, small cells, one atom, two atoms."""
    model = small_model(3, **ARCHITECTURES[name])
    frames = [make(5) for make in FRAMES.values()]
    frames += [
        Atoms("O"),
        Atoms("CO", [[0, 0, 0], [0, 0, 1.2]]),
        Atoms("H2", [[0, 0, 0], [9, 9, 9]]),
    ]
    engine = Engine([model], torch.float64, model.default_head, threads)
    native, node_energy, forces, virial_errors = both([model], frames, engine=engine)
    np.testing.assert_allclose(native.node_energy, node_energy, rtol=0, atol=EXACT["energy"])
    np.testing.assert_allclose(native.forces, forces, rtol=0, atol=EXACT["forces"])
    assert np.abs(virial_errors).max() < EXACT["virial"]
    assert np.abs(forces).max() > 0.01 and np.abs(native.virial[:, 1]).max() > 0.01


#: The kernels' limits, and sizes that no example above has.
EXTREMES = [
    {"max_ell": 0, "max_L": 0},
    {"max_ell": 4, "max_L": 0, "correlation": 2},
    {"max_ell": 3, "max_L": 3, "correlation": 2, "num_channels": 5},
    {"max_ell": 4, "max_L": 2, "correlation": 2, "num_interactions": 3},
    {"correlation": 1},
    {"max_ell": 1, "correlation": 4},
]


@pytest.mark.parametrize("changes", EXTREMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_any_degree_and_order(changes, dtype):
    model = small_model(3, dtype=dtype, **changes)
    native, _, forces, _ = both([model], [ethanol(5), small_cell(5)], dtype)
    share = EXACT["forces"] if dtype == torch.float64 else SINGLE
    np.testing.assert_allclose(
        native.forces[0], forces[0], rtol=0, atol=share * np.abs(forces).max()
    )


@pytest.mark.parametrize("channels", [1, 4, 7, 16, 40])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_any_number_of_channels(channels, dtype):
    """Channels that do not fill vectors; more atoms than a chunk; every degree that is there."""
    model = small_model(1, num_channels=channels, max_ell=3, dtype=dtype)
    frames = [ethanol(k) for k in range(5)] + [crystal().repeat((2, 2, 1))]
    native, node_energy, forces, _ = both([model], frames, dtype)
    interaction = node_energy - [[-13.6, -1030.0, -2040.0][z] for z in species(frames)]
    share = EXACT["forces"] if dtype == torch.float64 else SINGLE
    np.testing.assert_allclose(native.forces, forces, rtol=0, atol=share * np.abs(forces).max())
    off = np.abs(native.node_energy - node_energy).max()
    assert off < max(share * np.abs(interaction).max(), 1e-10)


def species(frames):
    return [ELEMENTS.index(z) for atoms in frames for z in atoms.numbers]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    edge=st.floats(2.5, 9.0),
)
def test_random_frames(seed, n, pbc, edge):
    """Any atoms in any cell, with or without periodicity."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * edge + rng.normal(0, 0.3, (3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
    place = rng.permutation(grid)[:n] / 4 + rng.normal(0, 0.03, (n, 3))
    atoms = Atoms(rng.choice(ELEMENTS, n), place @ cell, cell=cell, pbc=pbc)
    native, node_energy, forces, virial_errors = both([RANDOM], [atoms], engine=RANDOM_ENGINE)
    size = max(1.0, np.abs(forces).max())  # atoms can be very close
    np.testing.assert_allclose(native.node_energy, node_energy, atol=size * EXACT["energy"])
    np.testing.assert_allclose(native.forces, forces, rtol=0, atol=size * EXACT["forces"])
    assert np.abs(virial_errors).max() < 10 * size * EXACT["virial"]


RANDOM = small_model(8, max_ell=2)
RANDOM_ENGINE = None if loader.library() is None else Engine([RANDOM], torch.float64)


def test_committee_is_its_members():
    """Members share geometry only: each is what it is alone, but for its number of knots."""
    models = [small_model(seed) for seed in range(3)]
    frames = [ethanol(), crystal(), slab()]
    together, node_energy, forces, _ = both(models, frames)
    np.testing.assert_allclose(together.forces, forces, rtol=0, atol=EXACT["forces"])
    np.testing.assert_allclose(together.node_energy, node_energy, rtol=0, atol=EXACT["energy"])
    engine = Engine(models, torch.float64)
    pairs = Pairs.build(frames, 3.5, ELEMENTS)
    positions = np.concatenate([atoms.positions for atoms in frames])
    for k, model in enumerate(models):
        alone = Engine([model], torch.float64).bind(pairs).evaluate(positions)
        np.testing.assert_allclose(together.forces[k], alone.forces[0], rtol=0, atol=1e-10)
    first, second = (engine.bind(pairs).evaluate(positions) for _ in range(2))
    np.testing.assert_array_equal(first.forces, second.forces)


@pytest.mark.parametrize("make", [ethanol, crystal, slab])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bitwise_the_same_again_and_with_any_skin(make, dtype):
    """Not on the last call, nor on other frames in between, nor on how old the pairs are."""
    committee = Committee([small_model(s, dtype=dtype) for s in (0, 1)], backend="native")
    start, end = make(0), make(1)
    fresh = committee.predict([end])[0]
    for skin in (0.0, 0.3, 4.0):
        follower = Follower(committee, skin)
        follower.predict(start)
        p = follower.predict(end)
        np.testing.assert_array_equal(p.member_forces, fresh.member_forces)
        np.testing.assert_array_equal(p.member_energy, fresh.member_energy)
        np.testing.assert_array_equal(p.node_energy, fresh.node_energy)
    committee.predict([crystal(7)] * 3)
    np.testing.assert_array_equal(committee.predict([end])[0].forces, fresh.forces)


def test_forces_are_the_gradient():
    """F = −∂E/∂r and V σ = ∂E/∂ε by central differences, of the splines' energy itself."""
    committee = Committee([small_model(4, dtype=torch.float64)], backend="native")
    atoms = crystal(2)
    p = committee.predict([atoms], stress=True)[0]

    def energy(frame):
        return committee.predict([frame])[0].energy

    def derivative(change, h=1e-4):
        values = []
        for step in (-2, -1, 1, 2):
            frame = atoms.copy()
            change(frame, step * h)
            values.append(energy(frame))
        a, b, c, d = values
        return (a - 8 * b + 8 * c - d) / (12 * h)

    for i in range(len(atoms)):
        for k in range(3):

            def move(frame, h, i=i, k=k):
                frame.positions[i, k] += h

            assert p.forces[i, k] == pytest.approx(-derivative(move), abs=2e-7)
    for voigt, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):

        def strain(frame, h, a=a, b=b):
            deformation = np.eye(3)
            deformation[a, b] += h / 2
            deformation[b, a] += h / 2
            frame.set_cell(frame.cell.array @ deformation, scale_atoms=True)

        stress = derivative(strain) / atoms.get_volume()
        assert p.stress[voigt] == pytest.approx(stress, abs=2e-8)


def test_new_elements_are_packed_when_they_come():
    """Only elements that were seen are packed, and results do not show it."""
    model = small_model(0)
    engine = Engine([model], torch.float64)

    def forces(symbols):
        atoms = Atoms(symbols, [[0, 0, 0], [0, 0, 1.2]])
        bound = engine.bind(Pairs.build([atoms], 3.5, ELEMENTS))
        return bound, bound.evaluate(atoms.positions).forces[0]

    first, before = forces("CO")
    assert engine.species == [1, 2]
    _, hydrogen = forces("HO")
    assert engine.species == [0, 1, 2]
    assert np.abs(hydrogen - before).max() > 1e-3
    positions = np.array([[0, 0, 0], [0, 0, 1.2]])
    np.testing.assert_allclose(first.evaluate(positions).forces[0], before, atol=1e-12)
    np.testing.assert_allclose(forces("CO")[1], before, atol=1e-12)


def test_backends_agree_and_are_chosen():
    models = [small_model(seed) for seed in range(2)]
    native, plain = (Committee(models, backend=backend) for backend in ("native", "torch"))
    assert native.engine is not None and plain.engine is None
    assert Committee(models).engine is not None
    frames = [make(3) for make in FRAMES.values()]
    for a, b in zip(
        native.predict(frames, 3, stress=True), plain.predict(frames, stress=True), strict=True
    ):
        np.testing.assert_allclose(a.member_forces, b.member_forces, rtol=0, atol=EXACT["forces"])
        assert a.energy == pytest.approx(b.energy, abs=1e-9, rel=0)
        assert (a.stress is None) == (b.stress is None)
        if a.stress is not None:
            np.testing.assert_allclose(a.stress, b.stress, rtol=0, atol=1e-10)
    with pytest.raises(UserError, match="unknown backend 'fast'"):
        Committee(models, backend="fast")


def test_what_is_not_supported_falls_back_and_says_so():
    model = small_model(num_interactions=9, max_ell=1, correlation=1, max_L=0, num_channels=1)
    assert "8 layers" in supported(model)
    with pytest.warns(UserWarning, match="8 layers"):
        committee = Committee([model])
    assert committee.engine is None and committee.predict([ethanol()])[0].forces.shape == (9, 3)
    with pytest.raises(UserError, match="no native evaluation"):
        Committee([model], backend="native")
    with pytest.raises(UserError, match="cannot evaluate"):
        Engine([model], torch.float64)


def test_batches_equal_frames():
    """Several frames in a call, as one at a time; torch's batch says the same."""
    model = small_model(2)
    frames = [ethanol(k) for k in range(20)] + [crystal(), Atoms("H")]
    many = Committee([model]).predict(frames, batch_size=22)
    graph = batch([graph_of(atoms, 3.5, ELEMENTS) for atoms in frames])
    np.testing.assert_allclose(
        np.concatenate([p.forces for p in many]), model(graph).forces, atol=EXACT["forces"]
    )
    for atoms, p in zip(frames, many, strict=True):
        np.testing.assert_allclose(
            p.forces, Committee([model]).predict([atoms])[0].forces, atol=1e-11
        )


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_stand_on_their_own(again):
    """A calculator copied or sent to another process, before and after its first use."""
    atoms = ethanol()
    calculator = MACECalculator(committee=Committee([small_model(1)], backend="native"))
    fresh = again(calculator)
    forces = calculator.get_forces(atoms)
    used = again(calculator)
    del calculator
    moved = ethanol(1)
    for copied in (fresh, used):
        np.testing.assert_array_equal(copied.get_forces(atoms), forces)
        assert np.abs(copied.get_forces(moved) - forces).max() > 1e-3


def test_threads_of_one_process_share_an_engine():
    engine = Engine([small_model(1)], torch.float64)
    frames = [crystal(seed) for seed in range(12)]
    bound = [engine.bind(Pairs.build([atoms], 3.5, ELEMENTS)) for atoms in frames]
    expected = [b.evaluate(a.positions).forces for b, a in zip(bound, frames, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda k: bound[k].evaluate(frames[k].positions).forces, range(12))
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
