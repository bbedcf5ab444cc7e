"""The native step of the weights is torch's: clipping, Adam and AdamW, AMSGrad, moving average."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mace_core.config.sections import Train
from mace_core.model.initial import FirstWeights
from mace_core.model.linear import ElementLinear, Linear
from mace_core.model.radial import RadialMLP
from mace_core.ops import backend
from mace_core.train.optimizer import MovingAverage, new_optimizer
from mace_core.train.step import WeightStep


class Toy(torch.nn.Module):
    """Weights of several sizes, some of which decay."""

    def __init__(self, dtype):
        super().__init__()
        first = FirstWeights(1, dtype)
        decaying = torch.nn.ParameterList([torch.randn(3, 17, dtype=dtype)])
        self.products = torch.nn.ModuleList([decaying, Linear([1, 3], 9, first)])
        self.skip = ElementLinear(1, 1, 16, 2, first)
        self.radial = RadialMLP([8, 33, 10, 2], first)
        self.rest = torch.nn.ParameterList(
            [torch.randn(n, dtype=dtype) for n in (1, 7, 64)] + [torch.randn(5, 1, 9, dtype=dtype)]
        )


def load_another(optimizer):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def begin_anew(optimizer):
    optimizer.state.clear()


def move_weights(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.data = p.data.clone()


def trained(model, on, n_steps, clip_grad=None, ema=True, resumed=False, change=None, **values):
    """Weights, averages and the optimiser's state after some steps, with a change after two."""
    train = Train(clip_grad=clip_grad, weight_decay=0.05, **values)
    optimizer = new_optimizer(model, train)
    average = MovingAverage(model, 0.9) if ema else None
    move = WeightStep(optimizer, clip_grad, average)
    gradients = torch.Generator().manual_seed(5)
    with backend.use(on):
        for k in range(n_steps):
            if resumed and k == 2:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = new_optimizer(model, train)
                optimizer.load_state_dict(state)
                move = WeightStep(optimizer, clip_grad, average)
            if change and k == 2:
                change(optimizer)
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + k)
            for p in model.parameters():
                size = torch.randn(p.shape, generator=gradients, dtype=torch.float64)
                p.grad = (size * 10 ** (-(k % 3))).to(p.dtype)
            move()
            assert all(p.grad is None for p in model.parameters())
    averaged = list(average.module.parameters()) if ema else []
    state = [x for p in model.parameters() for _, x in sorted(optimizer.state[p].items())]
    return [*model.parameters(), *averaged, *state]


@settings(deadline=None, max_examples=25)
@given(
    optimizer=st.sampled_from(["adam", "adamw", "muon"]),
    amsgrad=st.booleans(),
    clip_grad=st.sampled_from([None, 0.1, 10.0, 1e6]),
    ema=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_native_steps_are_torchs(optimizer, amsgrad, clip_grad, ema, dtype):
    torch.manual_seed(1)
    model = Toy(dtype)
    values = {"optimizer": optimizer, "amsgrad": amsgrad, "lr": 0.01}
    found = {
        on: trained(copy.deepcopy(model), on, 6, clip_grad, ema, **values)
        for on in ("native", "torch")
    }
    assert len(found["native"]) == len(found["torch"])
    # Muon makes directions up to 300 times longer, and their rounding errors with them.
    single = 1e-4 if optimizer == "muon" else 1e-5
    precision = 1e-12 if dtype == torch.float64 else single
    for native, plain in zip(found["native"], found["torch"], strict=True):
        assert native.dtype == plain.dtype
        torch.testing.assert_close(native, plain, rtol=precision, atol=precision)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("change", [load_another, begin_anew, move_weights])
def test_weights_and_state_are_found_where_they_are_now(change, optimizer):
    torch.manual_seed(1)
    model, values = Toy(torch.float64), {"change": change, "optimizer": optimizer}
    found = [trained(copy.deepcopy(model), on, 6, **values) for on in ("native", "torch")]
    for native, plain in zip(*found, strict=True):
        torch.testing.assert_close(native, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("on", ["native", "torch"])
def test_steps_from_a_state_that_was_loaded_are_bitwise_the_same(on, optimizer):
    torch.manual_seed(1)
    model = Toy(torch.float32)
    values = {"on": on, "n_steps": 5, "clip_grad": 1.0, "optimizer": optimizer}
    straight = trained(copy.deepcopy(model), **values)
    resumed = trained(copy.deepcopy(model), resumed=True, **values)
    for one, other in zip(straight, resumed, strict=True):
        assert torch.equal(one, other)


def test_a_gradient_that_is_no_number_shows_in_the_weights():
    model = Toy(torch.float64)
    optimizer = new_optimizer(model, Train())
    move = WeightStep(optimizer, 10.0, None)
    with backend.use("native"):
        for value in (1.0, float("nan")):
            for p in model.parameters():
                p.grad = torch.full_like(p, value)
            move()
    assert all(p.isnan().all() for p in model.parameters())
