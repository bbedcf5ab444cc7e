"""Pieces of the model that are not covered by the symmetries of the whole."""

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st
from mace_tools import ARCHITECTURES, ELEMENTS, TOLERANCE, crystal, ethanol, small_model
from pydantic import ValidationError

from mace_core.config.sections import Model
from mace_core.errors import UserError
from mace_core.model import unsupported
from mace_core.model.angular import spherical_harmonics
from mace_core.model.graph import graph_of
from mace_core.model.model import MACE
from mace_core.model.radial import SILU_FACTOR


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_spherical_harmonics_are_those_of_e3nn(max_ell, seed):
    """Their order, axes and normalisation: Σ_m Y_lm² = 2 l + 1."""
    vectors = torch.tensor(np.random.default_rng(seed).normal(0, 3, (7, 3)))
    expected = o3.spherical_harmonics(
        list(range(max_ell + 1)), vectors, normalize=True, normalization="component"
    )
    ours = spherical_harmonics(max_ell, vectors / vectors.norm(dim=1, keepdim=True))
    torch.testing.assert_close(ours, expected, atol=TOLERANCE["exact"], rtol=TOLERANCE["exact"])
    torch.testing.assert_close(
        ours.square().sum(dim=1), torch.full((7,), float((max_ell + 1) ** 2), dtype=torch.float64)
    )


def test_silu_factor():
    """1/√⟨silu²⟩ over a unit normal; mace-torch's value is a mean over a million draws."""
    x = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    weight = torch.exp(-x * x / 2) / (2 * np.pi) ** 0.5
    second_moment = torch.trapezoid(torch.nn.functional.silu(x) ** 2 * weight, x)
    assert second_moment.rsqrt().item() == pytest.approx(SILU_FACTOR, rel=2e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_follows_float64(architecture):
    changes = ARCHITECTURES[architecture]
    for atoms in (ethanol(), crystal()):
        double, single = (
            small_model(5, dtype, **changes)(graph_of(atoms, 3.5, ELEMENTS, dtype), stress=True)
            for dtype in (torch.float64, torch.float32)
        )
        assert single.forces.dtype == torch.float32
        # E0s of thousands of eV do not spoil the energy: it is summed in float64.
        assert single.energy.dtype == torch.float64
        for name in ("energy", "forces", "stress"):
            torch.testing.assert_close(
                getattr(single, name).double(),
                getattr(double, name),
                atol=TOLERANCE["float32"],
                rtol=0,
            )


def test_seed_makes_the_weights():
    a, again, other = (dict(small_model(seed).named_parameters()) for seed in (6, 6, 7))
    assert all(torch.equal(a[name], again[name]) for name in a)
    assert not any(torch.equal(a[name], other[name]) for name in a)
    single = dict(small_model(6, torch.float32).named_parameters())
    assert all(torch.equal(a[name].float(), single[name]) for name in a)


def test_first_weights_have_the_spread_of_mace_torch():
    """Unit normal, product weights divided by their number of paths."""
    model = small_model(1, num_channels=32, max_ell=3)
    for name, p in model.named_parameters():
        n_paths = p.shape[1] if ".weights.L" in name else 1
        spread = (p * n_paths).std().item()
        assert spread == pytest.approx(1, abs=6 / p.numel() ** 0.5), name


def test_making_a_model_leaves_the_global_random_state():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    small_model(6)
    assert torch.equal(before, torch.random.get_rng_state())


def test_outputs_are_of_order_one():
    """Unit-normal weights and their normalisations keep features of a random model O(1)."""
    model = small_model(8, num_channels=32, radial_MLP=[64, 64, 64])
    features = model.descriptors(graph_of(ethanol(), 3.5, ELEMENTS))
    assert features.shape == (9, 2 * 32)
    assert 0.05 < features.std().item() < 20


def test_descriptors_are_invariant_features_of_all_layers():
    model = small_model(9)
    graph = graph_of(ethanol(), 3.5, ELEMENTS)
    layers = model.features(graph, graph.vectors())
    expected = torch.cat([h[:, 0] for h in layers], dim=1).detach()
    torch.testing.assert_close(model.descriptors(graph), expected)


def test_all_descriptors_are_ordered_by_layer_l_channel_m():
    """As mace-torch's node_feats: its edges point the other way, so odd l change sign."""
    model = small_model(9, max_L=2)
    graph = graph_of(ethanol(), 3.5, ELEMENTS)
    h, last = model.features(graph, graph.vectors())
    found = model.descriptors(graph, invariants_only=False)
    assert found.shape == (9, 4 * (1 + 3 + 5) + 4)
    assert found[3, 4 + 3 * 2 + 1] == -h[3, 1 + 1, 2]  # l = 1, second m, third channel
    assert found[3, 4 * 4 + 5 * 1 + 4] == h[3, 4 + 4, 1]  # l = 2, fifth m, second channel
    assert torch.equal(found[:, -4:], last[:, 0])


def test_elements_are_sorted():
    E0s = {8: -3.0, 1: -1.0, 6: -2.0}
    a, b = (MACE(Model(num_channels=2), order, E0s, 5.0) for order in ([8, 1, 6], [1, 6, 8]))
    assert a.elements == [1, 6, 8] and a.E0.tolist() == [[-1.0, -2.0, -3.0]]
    graph = graph_of(ethanol(), 5.0, a.elements)
    assert a(graph).energy.item() == b(graph).energy.item()


def test_scale_and_shift():
    """E_i = E0 + scale · Σ_t readout_t + shift."""
    graph = graph_of(ethanol(), 3.5, ELEMENTS)
    one, two = small_model(1, scale=1.0, shift=0.0), small_model(1, scale=2.0, shift=0.5)
    a, b = one(graph), two(graph)
    E0 = one.E0[0, graph.species]
    torch.testing.assert_close(b.node_energy - E0, 2 * (a.node_energy - E0) + 0.5)
    torch.testing.assert_close(b.forces, 2 * a.forces)


def test_a_MACE_has_neither_scale_nor_shift():
    graph = graph_of(ethanol(), 3.5, ELEMENTS)
    plain, one = (
        small_model(1, scale=3.0, shift=2.0, model="MACE"),
        small_model(1, scale=1, shift=0),
    )
    assert torch.equal(plain(graph).energy, one(graph).energy)


def test_missing_E0():
    with pytest.raises(UserError, match="no E0 for C, O"):
        MACE(Model(), [1, 6, 8], {1: 0.0}, 5.0)


@pytest.mark.parametrize("irreps", ["16x0e+4x1o", "sixteen", ""])
def test_readouts_of_other_than_scalars(irreps):
    with pytest.raises(UserError, match="must be scalars"):
        small_model(MLP_irreps=irreps)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_ell": 0, "max_L": 1}, "max_L 1 cannot be reached"),
        ({"radial_type": "gaussian", "num_radial_basis": 1}, "num_radial_basis of at least 2"),
        ({"heads": ["a", "a"]}, "two heads of one name: a, a"),
        ({"interaction": "RealAgnosticAttResidualInteractionBlock"}, "interaction"),
    ],
)
def test_impossible_architectures(changes, message):
    with pytest.raises(ValidationError, match=message):
        Model(**changes)


def test_what_is_not_supported_is_not_accepted():
    for key, names in (("interaction", unsupported.INTERACTIONS), ("model", unsupported.MODELS)):
        for name in names:
            with pytest.raises(ValidationError, match=key):
                Model(**{key: name})
