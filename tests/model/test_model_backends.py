"""A whole model and the gradients of its loss, on native kernels and on plain torch."""

import pytest
import torch
from mace_tools import ELEMENTS, FRAMES, small_model

from mace_core.model.graph import batch, graph_of
from mace_core.ops import backend

pytestmark = pytest.mark.skipif(
    backend.library() is None, reason="needs the native kernels, that is a compiler"
)

#: Largest difference over the largest value: a model adds up what its operations round.
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-11}
VARIANTS = {
    "default": {},
    "17 channels, L = 2": {"num_channels": 17, "max_L": 2},
    "density": {"interaction": "RealAgnosticDensityResidualInteractionBlock"},
    "not residual": {"interaction_first": "RealAgnosticInteractionBlock"},
    "Agnesi": {"distance_transform": "Agnesi"},
    "Gaussian": {"radial_type": "gaussian", "num_radial_basis": 5},
    "correlation 4": {"correlation": 4, "max_ell": 1},
    "one layer": {"num_interactions": 1},
}


def loss_and_gradients(model, graph, inputs=None):
    model.zero_grad()
    out = model(graph, forces=True, stress=True, training=True)
    loss = out.forces.square().sum() + out.stress.square().sum() + (out.energy**2).sum() * 1e-9
    loss.backward(inputs=inputs)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return [out.node_energy, out.forces, out.stress, loss, *gradients]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_same_model_and_same_gradients(variant, dtype):
    model = small_model(dtype=dtype, **VARIANTS[variant])
    graph = batch([graph_of(frame(), model.r_max, ELEMENTS, dtype) for frame in FRAMES.values()])
    found = {}
    for name in ("native", "torch"):
        with backend.use(name):
            found[name] = [x.detach().clone() for x in loss_and_gradients(model, graph)]
    for ours, reference in zip(found["native"], found["torch"], strict=True):
        error = (ours - reference).abs().max() / reference.abs().max().clamp(min=1)
        assert error <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_bitwise_the_same_each_time(dtype):
    """Also where the gradients of the positions are left out, as in training."""
    model = small_model(dtype=dtype)
    graph = batch([graph_of(frame(), model.r_max, ELEMENTS, dtype) for frame in FRAMES.values()])
    runs = []
    for inputs in (None, None, list(model.parameters())):
        with backend.use("native"):
            runs.append([x.detach().clone() for x in loss_and_gradients(model, graph, inputs)])
    for first, *others in zip(*runs, strict=True):
        assert all(torch.equal(first, other) for other in others)


def test_evaluation_needs_no_graph():
    model = small_model().requires_grad_(False)
    graph = graph_of(FRAMES["molecule"](), model.r_max, ELEMENTS)
    with backend.use("native"):
        assert not model(graph).forces.requires_grad
