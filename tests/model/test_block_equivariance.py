"""Each block by itself turns as its irreps say: f(D(Q) x) = D(Q) f(x) for Q in O(3)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mace_tools import TOLERANCE, orthogonal, wigner_up_to

from mace_core.model.angular import spherical_harmonics
from mace_core.model.initial import FirstWeights
from mace_core.model.interaction import BLOCKS, Block, Interaction
from mace_core.model.layer import Layer
from mace_core.model.linear import ElementLinear, Linear
from mace_core.model.product import Product
from mace_core.model.readout import LinearReadout, MLPReadout
from mace_core.ops.a_basis import Edges

COUNTS, CHANNELS, N_BASIS = [2, 0, 1], 3, 4  # atoms of each element; the second is not there
N_ATOMS = sum(COUNTS)
turns = given(seed=st.integers(0, 2**32 - 1), improper=st.booleans())


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def first(seed=0):
    return FirstWeights(seed, torch.float64)


def turned(x, Q):
    """D(Q) on the rows (l m) of [n, (lmax + 1)², C]."""
    return torch.einsum("ab,nbk->nak", wigner_up_to(round(x.shape[1] ** 0.5) - 1, Q), x)


def close(a, b):
    torch.testing.assert_close(a, b, atol=TOLERANCE["symmetry"], rtol=TOLERANCE["symmetry"])


@turns
@settings(max_examples=10)
def test_spherical_harmonics(seed, improper):
    """Y_l(Q r̂) = D_l(Q) Y_l(r̂)."""
    Q = orthogonal(seed, improper)
    r = torch.nn.functional.normalize(random(5, 3, seed=seed % 1000), dim=1)
    Y = spherical_harmonics(4, r)
    close(spherical_harmonics(4, r @ torch.tensor(Q).T), Y @ wigner_up_to(4, Q).T)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("lmax_in, max_ell, lmax_out", [(0, 3, 2), (1, 2, 1), (2, 1, 0), (2, 3, 2)])
@turns
@settings(max_examples=3)
def test_interaction(name, lmax_in, max_ell, lmax_out, seed, improper):
    """A(D h, D Y) = D A(h, Y), and the same for the self-connection."""
    Q = orthogonal(seed, improper)
    layer = Layer(lmax_in, max_ell, lmax_out, CHANNELS, len(COUNTS))
    block = Interaction(BLOCKS[name], layer, [N_BASIS, 5], 4.2, first(seed % 1000))
    receivers, senders = torch.tensor([[0, 0, 1, 2, 2], [1, 2, 0, 0, 2]])
    edges = Edges.build(receivers, senders, N_ATOMS)
    h, Y, radial = (
        random(N_ATOMS, (lmax_in + 1) ** 2, CHANNELS, seed=1),
        random(5, (max_ell + 1) ** 2, 1, seed=2),
        random(5, N_BASIS, seed=3),
    )
    A, connection = block(h, Y[..., 0], radial, edges, COUNTS)
    A_turned, connection_turned = block(turned(h, Q), turned(Y, Q)[..., 0], radial, edges, COUNTS)
    assert A.shape == (N_ATOMS, (max_ell + 1) ** 2, CHANNELS)
    close(A_turned, turned(A, Q))
    assert (connection is not None) == BLOCKS[name].residual
    if connection is not None:
        assert connection.shape == (N_ATOMS, (lmax_out + 1) ** 2, CHANNELS)
        close(connection_turned, turned(connection, Q))


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_what_mace_torch_calls_them(name):
    assert BLOCKS[name] == Block(density="Density" in name, residual="Residual" in name)


@pytest.mark.parametrize("residual", [True, False])
def test_density_takes_the_place_of_the_mean_number_of_neighbours(residual):
    """(1 + ρ_i) A_i = ⟨n⟩ A_i of the other block, ρ_i = Σ_j tanh((w · radial_ij / √n)²)."""
    layer = Layer(1, 2, 1, CHANNELS, len(COUNTS))
    density, plain = (
        Interaction(Block(kind, residual), layer, [N_BASIS, 5], 4.2, first())
        for kind in (True, False)
    )
    receivers, senders = torch.tensor([[0, 0, 1, 1, 1], [1, 2, 0, 0, 2]])  # none to the third
    edges, radial = Edges.build(receivers, senders, N_ATOMS), random(5, N_BASIS)
    rho = torch.zeros(N_ATOMS, dtype=torch.float64)
    for i, basis in zip(receivers, radial, strict=True):
        rho[i] += torch.tanh((basis @ density.density.weight[:, 0] / N_BASIS**0.5) ** 2)
    args = (random(N_ATOMS, 4, CHANNELS), random(5, 9), radial, edges, COUNTS)
    A, expected = density(*args)[0], plain(*args)[0]
    assert rho[2] == 0 < rho[0] and A[0].abs().max() > 1e-3
    close(A * (1 + rho).view(-1, 1, 1), 4.2 * expected)


@pytest.mark.parametrize(
    "max_ell, lmax_out, correlation", [(3, 2, 2), (2, 2, 3), (1, 1, 4), (1, 2, 2), (1, 0, 5)]
)
@pytest.mark.parametrize("residual", [True, False])
@turns
@settings(max_examples=3)
def test_product(max_ell, lmax_out, correlation, residual, seed, improper):
    """h'(D A, D s) = D h'(A, s) for each body order."""
    Q = orthogonal(seed, improper)
    layer = Layer(0, max_ell, lmax_out, CHANNELS, len(COUNTS))
    product = Product(layer, correlation, first(seed % 1000))
    A = random(N_ATOMS, (max_ell + 1) ** 2, CHANNELS, seed=1)
    connection = random(N_ATOMS, (lmax_out + 1) ** 2, CHANNELS, seed=2) if residual else None
    h = product(A, connection, COUNTS)
    after = product(turned(A, Q), turned(connection, Q) if residual else None, COUNTS)
    close(after, turned(h, Q))


@turns
@settings(max_examples=10)
def test_linear_maps(seed, improper):
    """W (D x) = D (W x), for the same matrix on all atoms and for one of each element."""
    Q = orthogonal(seed, improper)
    x = random(N_ATOMS, 9, CHANNELS)
    linear = Linear([1, 1, 1], CHANNELS, first(seed % 1000))
    close(linear(turned(x, Q)), turned(linear(x), Q))
    of_element = ElementLinear(2, 3, CHANNELS, len(COUNTS), first(seed % 1000))
    close(of_element(turned(x, Q), COUNTS), turned(of_element(x, COUNTS), Q))


@turns
@settings(max_examples=10)
def test_readouts(seed, improper):
    """E(D h) = E(h)."""
    Q = orthogonal(seed, improper)
    h = random(N_ATOMS, 9, CHANNELS)
    for readout in (LinearReadout(CHANNELS, 2, first()), MLPReadout(CHANNELS, 4, 2, first())):
        close(readout(turned(h, Q)), readout(h))


@pytest.mark.parametrize("name", BLOCKS)
def test_weights_of_one_element_act_on_its_atoms_only(name):
    """The matrices and product weights of z act where z_i = z."""
    layer = Layer(1, 2, 1, CHANNELS, len(COUNTS))
    block = Interaction(BLOCKS[name], layer, [N_BASIS, 5], 4.2, first())
    product = Product(layer, 2, first(1))
    receivers, senders = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]])
    edges = Edges.build(receivers, senders, N_ATOMS)
    args = (random(N_ATOMS, 4, CHANNELS), random(4, 9), random(4, N_BASIS), edges, COUNTS)
    before = product(*block(*args), COUNTS)
    with torch.no_grad():
        block.skip.weight[:, 0] *= 2
        for weight in product.weights.values():
            weight[0] += 1
    after = product(*block(*args), COUNTS)
    assert torch.equal(after[2], before[2])  # of the third element
    assert not torch.isclose(after[:2], before[:2]).any()
