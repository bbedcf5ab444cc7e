"""A model as one native operation: derivatives by hand, and the operations one by one beside it."""

import dataclasses

import pytest
import torch
from mace_tools import ELEMENTS, FRAMES, small_model

from mace_core.model import whole
from mace_core.model.graph import batch, graph_of
from mace_core.ops import backend
from mace_core.ops.whole_model import WholeModel

pytestmark = pytest.mark.skipif(
    backend.library() is None, reason="needs the native kernels, that is a compiler"
)

#: Largest difference over the largest value.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
VARIANTS = {
    "two layers, L = 1": {"max_L": 1},
    "32 channels, L = 0": {"num_channels": 32, "max_L": 0},
    "17 channels, L = 2, three layers": {"num_channels": 17, "max_L": 2, "num_interactions": 3},
    "W_z acts on the messages": {
        "interaction_first": "RealAgnosticInteractionBlock",
        "interaction": "RealAgnosticInteractionBlock",
        "max_L": 1,
    },
    "correlation 4, one layer": {"correlation": 4, "max_ell": 1, "num_interactions": 1},
    "repulsion": {"pair_repulsion": True},
}
KEYS = ("energy", "node_energy", "forces", "stress")


@pytest.fixture(autouse=True)
def native():
    with backend.use("native"):
        yield


def frames(model, dtype=torch.float64):
    graph = batch([graph_of(frame(), model.r_max, ELEMENTS, dtype) for frame in FRAMES.values()])
    assert whole.shape_of(model) is not None
    return graph


def outputs_and_gradients(model, graph, keys=KEYS, **backward):
    """Outputs, and the gradients of a random combination of them."""
    asked = {key: key in keys for key in ("forces", "stress")}
    out = model(graph, **asked, training=True)
    random = torch.Generator().manual_seed(1)
    loss = 0.0
    for key in keys:
        value = getattr(out, key)
        u = torch.randn(value.shape, generator=random, dtype=torch.float64).to(value.dtype)
        loss = loss + (u * value).sum()
    model.zero_grad()
    loss.backward(**backward)
    return [getattr(out, key).detach() for key in keys], [p.grad for p in model.parameters()]


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max().clamp(min=1)


@pytest.mark.parametrize("keys", [KEYS, ("energy",), ("forces",), ("node_energy", "stress")])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_same_as_the_operations_one_by_one(variant, dtype, keys, monkeypatch):
    model = small_model(dtype=dtype, **VARIANTS[variant])
    graph = frames(model, dtype)
    found = outputs_and_gradients(model, graph, keys)
    monkeypatch.setattr(whole, "shape_of", lambda _: None)
    expected = outputs_and_gradients(model, graph, keys)
    for ours, reference in zip(found, expected, strict=True):
        reference = [
            torch.zeros_like(x) if y is None else y for x, y in zip(ours, reference, strict=True)
        ]
        assert_close(ours, reference, TOLERANCE[dtype])


def test_edges_that_share_nothing():
    model = small_model(max_L=1)
    graph = frames(model)
    shared = outputs_and_gradients(model, graph)
    apart = outputs_and_gradients(model, dataclasses.replace(graph, reverse=None))
    for one, other in zip(shared, apart, strict=True):
        assert_close(one, other, 1e-12)


def test_atoms_without_neighbours():
    model = small_model()
    graph = graph_of(FRAMES["molecule"](), model.r_max, ELEMENTS)
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    alone = dataclasses.replace(
        graph, edge_index=nothing, unit_shifts=graph.unit_shifts[:0], reverse=None
    )
    (energy, _, forces, stress), gradients = outputs_and_gradients(model, alone)
    assert torch.isfinite(energy).all()
    assert not forces.any() and not stress.any()
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("variant", ["two layers, L = 1", "W_z acts on the messages"])
def test_gradients_against_finite_differences(variant):
    """Of energies, forces and virials with respect to every weight."""
    changes = {"num_channels": 2, "radial_MLP": [3, 4], "correlation": 2, "max_ell": 2}
    model = small_model(**(VARIANTS[variant] | changes))
    graph = graph_of(FRAMES["crystal"](), 2.6, ELEMENTS)
    native, shape = backend.kernels(graph.positions), whole.shape_of(model)

    def outputs(*weights):
        inputs = whole.inputs(model, graph)
        return WholeModel.apply(native, shape, *inputs, (True, True), *weights)

    weights = [w.detach().clone().requires_grad_() for w in whole.weights(model)]
    assert torch.autograd.gradcheck(outputs, weights, fast_mode=False, atol=1e-6, rtol=1e-5)


def test_only_the_gradients_that_are_wanted():
    model = small_model(max_L=1)
    graph = frames(model)
    _, expected = outputs_and_gradients(model, graph)
    for kept in ("products", "radial_MLP", "readouts", "linear", "node_embedding"):
        trains = []
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(kept in name)
            trains.append(kept in name)
        _, found = outputs_and_gradients(model, graph)
        assert any(trains)
        for trained, gradient, reference in zip(trains, found, expected, strict=True):
            assert torch.equal(gradient, reference) if trained else gradient is None


def test_two_backward_passes_are_the_same():
    model = small_model(max_L=1)
    out = model(frames(model), training=True)
    loss = out.forces.square().sum() + out.energy.sum()
    weights = list(model.parameters())
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    again = torch.autograd.grad(loss, weights)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_refuses_what_it_has_no_derivatives_for():
    model = small_model()
    out = model(frames(model), training=True)
    with pytest.raises(RuntimeError, match="first and second derivatives only"):
        torch.autograd.grad(out.energy.sum(), list(model.parameters()), create_graph=True)


def test_weights_changed_before_the_backward_pass():
    model = small_model()
    loss = model(frames(model), training=True).forces.square().sum()
    with torch.no_grad():
        model.products[0].linear.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    "changes",
    [
        {"interaction": "RealAgnosticDensityResidualInteractionBlock"},
        {"distance_transform": "Agnesi"},
        {"radial_type": "gaussian"},
        {"heads": ["one", "default"]},
    ],
    ids=str,
)
def test_other_models_run_operation_by_operation(changes):
    model = small_model(**changes)
    graph = graph_of(FRAMES["molecule"](), model.r_max, ELEMENTS)
    assert whole.shape_of(model) is None
    assert torch.isfinite(model(graph).forces).all()
