"""Muon's step is the orthogonal factor of the momentum, matrix by matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mace_core.config.sections import Model, Train
from mace_core.model.model import MACE
from mace_core.ops import backend
from mace_core.train.muon import LEAST_SIDE, MOMENTUM, Muon, matrices_of, orthogonal
from mace_core.train.optimizer import new_optimizer
from mace_core.train.step import WeightStep

BACKENDS = ("native", "torch")


def model(**architecture) -> MACE:
    settings = Model(**{"num_channels": 8, "max_L": 1, **architecture})
    return MACE(settings, [1, 8], {1: 0.0, 8: 0.0}, avg_num_neighbors=10.0)


def rotation(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(-6, 6), st.integers(0, 1000))
def test_singular_vectors_stay_and_singular_values_are_near_1(m, n, size, seed):
    """X = U S Vᵀ → U S′ Vᵀ, for all singular values above 2 % of the largest."""
    k = min(m, n)
    values = torch.linspace(1, 0.02, k, dtype=torch.float64)
    U, V = rotation(m, seed)[:, :k], rotation(n, seed + 1)[:, :k]
    found = U.T @ orthogonal(10**size * (U * values) @ V.T) @ V
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-10)
    assert (found.diagonal() - 1).abs().max() < 0.21


def parted(stack: torch.Tensor, rows: list[int]) -> list[torch.Tensor]:
    """The matrices of [..., Σ rows, n], one by one."""
    return [X for part in stack.split(rows, -2) for X in part.reshape(-1, *part.shape[-2:])]


def step_of(of: MACE, on: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Name → gradient and change of each weight at a first step with lr 1."""
    optimizer = new_optimizer(of, Train(optimizer="muon", lr=1.0, weight_decay=0.0))
    move = WeightStep(optimizer, None, None)
    generator = torch.Generator().manual_seed(3)
    with backend.use(on):
        if on == "native":  # whose first step is torch's
            for weight in of.parameters():
                weight.grad = torch.zeros_like(weight)
            move()
        before = {name: weight.detach().clone() for name, weight in of.named_parameters()}
        for weight in of.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        gradients = {name: weight.grad.clone() for name, weight in of.named_parameters()}
        move()
    return {
        name: (gradients[name], weight.detach() - before[name])
        for name, weight in of.named_parameters()
    }


@pytest.mark.parametrize("on", BACKENDS)
def test_each_matrix_of_each_l_and_element_moves_along_its_own_orthogonal_factor(on):
    """ΔW = −lr 0.2 √max(m, n) U Vᵀ (arXiv 2502.16982, eq. 4), to what the polynomials leave."""
    of = model()
    names = {weight: name for name, weight in of.named_parameters()}
    found, seen = step_of(of, on), 0
    for weight, rows in matrices_of(of).items():
        gradient, change = found[names[weight]]
        assert sum(rows) == weight.shape[-2]
        for X, Y in zip(parted(gradient, rows), parted(change, rows), strict=True):
            U, _, Vh = torch.linalg.svd(X, full_matrices=False)
            f = -(U.T @ Y @ Vh.T) / (0.2 * max(X.shape) ** 0.5)
            assert torch.allclose(f, torch.diag(f.diagonal()), atol=1e-9)
            # The least singular values of a square matrix may be far from 1 still.
            assert f.diagonal().max() < 1.25 and f.diagonal().median() > 0.6
            seen += 1
    assert seen > 20


def test_matrices_are_the_maps_between_hidden_channels():
    of = model(num_channels=16)
    names = {weight: name for name, weight in of.named_parameters()}
    rows = {names[weight]: rows for weight, rows in matrices_of(of).items()}
    kinds = {name.split(".")[0] + "." + name.split(".")[2] for name in rows}
    assert kinds == {
        "interactions.linear_up",
        "interactions.linear",
        "interactions.skip",
        "interactions.radial_MLP",
        "products.linear",
    }
    assert rows["products.0.linear.weight"] == [16, 16]
    # Into l = 0 … 3 from 0 and 1: 2, 3, 3, 2 paths of 16 channels.
    assert rows["interactions.1.linear.weight"] == [32, 48, 48, 32]


def test_small_matrices_are_adams():
    of = model(num_channels=LEAST_SIDE - 1)
    names = {weight: name for name, weight in of.named_parameters()}
    assert {names[weight].split(".")[2] for weight in matrices_of(of)} == {"radial_MLP"}


@pytest.mark.parametrize("on", BACKENDS)
def test_other_weights_take_adams_steps(on):
    found = {}
    for name in ("muon", "adam"):
        of = model()
        optimizer = new_optimizer(of, Train(optimizer=name, lr=0.01))
        move = WeightStep(optimizer, None, None)
        generator = torch.Generator().manual_seed(3)
        with backend.use(on):
            for _ in range(4):
                for weight in of.parameters():
                    weight.grad = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                move()
        found[name] = dict(of.named_parameters())
    matrices = {name for name, weight in of.named_parameters() if weight in matrices_of(of)}
    assert len(matrices) == 12
    for name, weight in found["muon"].items():
        same = torch.allclose(weight, found["adam"][name], rtol=1e-12, atol=1e-14)
        assert same == (name not in matrices)


def test_momentum_and_decay():
    """Nesterov's: m ← μ m + (1 − μ) g and a step along μ m + (1 − μ) g, of g = ∂L/∂W + λ W."""
    g1, g2 = (torch.randn(9, 8, dtype=torch.float64) for _ in range(2))
    weight = torch.nn.Parameter(torch.zeros(9, 8, dtype=torch.float64))
    group = {"params": [weight], "matrices": [[9]], "weight_decay": 0.5}
    optimizer = Muon([group], lr=0.1)
    weight.grad = g1
    optimizer.step()
    first = weight.detach().clone()
    assert torch.allclose(first, -0.1 * 0.2 * 3 * orthogonal(g1))
    weight.grad = g2
    optimizer.step()
    g2 = g2 + 0.5 * first
    mean = MOMENTUM * (1 - MOMENTUM) * g1 + (1 - MOMENTUM) * g2
    along = orthogonal(MOMENTUM * mean + (1 - MOMENTUM) * g2)
    assert torch.allclose(weight, first - 0.1 * 0.2 * 3 * along)
