"""Native kernels against plain torch: results, first and second derivatives."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mace_tools import small_model  # noqa: F401  (also loads hypothesis' profile)

from mace_core.errors import UserError
from mace_core.model.radial import BesselBasis, RadialBasis
from mace_core.ops import backend
from mace_core.ops.a_basis import Edges, Paths, a_basis
from mace_core.ops.b_basis import BBasis, Terms
from mace_core.ops.coupling import dim
from mace_core.ops.harmonics import spherical_harmonics
from mace_core.ops.linear import LinearMap
from mace_core.ops.radial_mlp import radial_mlp

pytestmark = pytest.mark.skipif(
    backend.library() is None, reason="needs the native kernels, that is a compiler"
)

CHANNELS = st.sampled_from([1, 3, 8, 16, 21, 32, 70])
DTYPES = st.sampled_from([torch.float32, torch.float64])


class Operands:
    """Random tensors of one dtype."""

    def __init__(self, seed, dtype):
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype

    def normal(self, *shape):
        x = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return x.to(self.dtype).requires_grad_()


def edges_between(n_atoms, n_edges, seed, paired):
    """Random edges; some atoms may have none. ``paired``: two edges may share radial functions."""
    random = np.random.default_rng(seed)
    n_edges = n_edges if n_atoms else 0
    receivers = torch.tensor(np.sort(random.integers(0, max(n_atoms, 1), n_edges)))
    senders = torch.tensor(random.integers(0, max(n_atoms, 1), n_edges))
    pair = torch.tensor(random.permutation(n_edges) // 2) if paired else None
    n_rows = -(-n_edges // 2) if paired else n_edges
    return Edges.build(receivers, senders, n_atoms, pair), n_rows


def a_function(lmax_in, max_ell, edges):
    paths = Paths.build(lmax_in, max_ell)

    def function(h, Y, R):
        couplings = [torch.tensor(c, dtype=h.dtype) for c in paths.couplings]
        return a_basis(h, Y, R, edges, couplings, torch.tensor(paths.rows))

    return function, len(paths.paths)


def derivatives(function, operands, seed):
    """Result, gradients, and the gradients of a random combination of the gradients."""
    random = Operands(seed, operands[0].dtype)
    result = function(*operands)
    cotangent = random.normal(*result.shape)
    first = torch.autograd.grad(result, operands, cotangent, create_graph=True)
    combination = sum((g * random.normal(*g.shape).detach()).sum() for g in first)
    second = torch.autograd.grad(combination, [*operands, cotangent], materialize_grads=True)
    return [result, *first, *second]


def assert_same_in_both(function, operands, seed=0):
    found = {}
    for name in ("native", "torch"):
        with backend.use(name):
            found[name] = derivatives(function, operands, seed)
    for ours, reference in zip(found["native"], found["torch"], strict=True):
        assert ours.shape == reference.shape
        if reference.numel():
            error = (ours - reference).abs().max() / reference.abs().max().clamp(min=1)
            assert error <= backend.TOLERANCE[ours.dtype]


@given(
    st.integers(0, 3),
    st.integers(0, 4),
    CHANNELS,
    st.integers(0, 6),
    st.integers(0, 60),
    st.booleans(),
    DTYPES,
    st.integers(0, 1000),
)
@settings(max_examples=60)
def test_a_basis(lmax_in, max_ell, channels, n_atoms, n_edges, paired, dtype, seed):
    edges, n_rows = edges_between(n_atoms, n_edges, seed, paired)
    function, n_paths = a_function(lmax_in, max_ell, edges)
    random = Operands(seed, dtype)
    operands = [
        random.normal(n_atoms, dim(lmax_in), channels),
        random.normal(len(edges.senders), dim(max_ell)),
        random.normal(n_rows, n_paths, channels),
    ]
    assert_same_in_both(function, operands)


TERMS = {case: Terms.build(*case) for case in [(3, 1, 3), (2, 2, 2), (1, 0, 1), (1, 1, 4)]}


@given(
    st.sampled_from(sorted(TERMS)),
    CHANNELS,
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    DTYPES,
    st.integers(0, 1000),
)
@settings(max_examples=40)
def test_b_basis(case, channels, counts, dtype, seed):
    assume(sum(counts))
    terms, (max_ell, max_L, _) = TERMS[case], case
    basis = BBasis(terms, dim(max_ell), dim(max_L), dtype)
    random = Operands(seed, dtype)
    operands = [
        random.normal(sum(counts), dim(max_ell), channels),
        random.normal(len(counts), len(terms.outputs), channels),
    ]
    assert_same_in_both(lambda A, W: basis(A, W, counts), operands)


@given(
    st.integers(0, 250),
    st.lists(st.integers(1, 70), min_size=2, max_size=5),
    DTYPES,
    st.integers(0, 1000),
)
@settings(max_examples=40)
def test_radial_mlp(n, widths, dtype, seed):
    random = Operands(seed, dtype)
    operands = [random.normal(n, widths[0])]
    operands += [random.normal(a, b) for a, b in pairwise(widths)]
    factors = [width**-0.5 for width in widths[:-1]]
    assert_same_in_both(lambda x, *weights: radial_mlp(x, weights, factors), operands)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    CHANNELS,
    CHANNELS,
    st.integers(0, 20),
    DTYPES,
    st.integers(0, 1000),
)
@settings(max_examples=40)
def test_linear(paths_of_l, channels_in, channels_out, n, dtype, seed):
    linear = LinearMap(paths_of_l, channels_in, channels_out)
    random = Operands(seed, dtype)
    operands = [
        random.normal(n, sum(linear.rows_of_l), channels_in),
        random.normal(sum(linear.fan_in), channels_out),
    ]
    assert_same_in_both(linear, operands)


@given(
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    CHANNELS,
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    DTYPES,
    st.integers(0, 1000),
)
@settings(max_examples=40)
def test_linear_of_elements(lmax, unread, missing, channels, counts, dtype, seed):
    assume(sum(counts))
    linear = LinearMap([1] * (lmax + 1), channels, channels, dim(lmax + missing), len(counts))
    random = Operands(seed, dtype)
    operands = [
        random.normal(sum(counts), dim(lmax + unread), channels),
        random.normal(lmax + 1, len(counts), channels, channels),
    ]
    assert_same_in_both(lambda x, W: linear(x, W, counts), operands)


@given(st.integers(1, 4), st.integers(0, 40), DTYPES, st.integers(0, 1000))
@settings(max_examples=30)
def test_spherical_harmonics(max_ell, n, dtype, seed):
    vectors = Operands(seed, dtype).normal(n, 3)
    with torch.no_grad():  # away from 0, where there is no direction
        vectors *= 1 + 1 / vectors.norm(dim=1, keepdim=True).clamp(min=1e-3)
    assert_same_in_both(lambda v: spherical_harmonics(max_ell, v), [vectors])


def radial_basis(r_max):
    basis = RadialBasis(BesselBasis(r_max, 5, torch.float64), 5, r_max)
    return lambda v: basis.to(v.dtype).of_vectors(v, None)


@given(st.floats(1, 6), st.integers(0, 40), DTYPES, st.integers(0, 1000))
@settings(max_examples=30)
def test_radial_basis(r_max, n, dtype, seed):
    """Also beyond the cutoff."""
    vectors = Operands(seed, dtype).normal(n, 3)
    with torch.no_grad():
        vectors *= 1 + 1 / vectors.norm(dim=1, keepdim=True).clamp(min=1e-3)
    assert_same_in_both(radial_basis(r_max), [vectors])


def small_cases():
    """name → function, operands; few numbers, so that finite differences are quick."""
    edges, n_rows = edges_between(3, 5, 0, paired=True)
    a, n_paths = a_function(1, 2, edges)
    terms = Terms.build(1, 1, 3)
    basis = BBasis(terms, dim(1), dim(1), torch.float64)
    linear, of_elements = LinearMap([2, 0, 1], 2, 3), LinearMap([1, 1], 2, 2, 9, 3)
    random = Operands(0, torch.float64)
    normal = random.normal
    return {
        "harmonics": (lambda v: spherical_harmonics(3, v), [normal(4, 3)]),
        "radial basis": (radial_basis(3.0), [normal(4, 3)]),
        "A-basis": (a, [normal(3, 4, 1), normal(5, 9), normal(n_rows, n_paths, 1)]),
        "B-basis": (
            lambda A, W: basis(A, W, [1, 0, 2]),
            [normal(3, 4, 1), normal(3, len(terms.outputs), 1)],
        ),
        "radial MLP": (
            lambda x, *W: radial_mlp(x, W, (0.7, 1.2, 0.4)),
            [normal(4, 2), normal(2, 3), normal(3, 3), normal(3, 2)],
        ),
        "linear": (linear, [normal(2, 7, 2), normal(6, 3)]),
        "linear of elements": (
            lambda x, W: of_elements(x, W, [1, 0, 2]),
            [normal(3, 9, 2), normal(2, 3, 2, 2)],
        ),
    }


CASES = small_cases()


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_derivatives(name):
    """Against finite differences."""
    function, operands = CASES[name]
    with backend.use("native"):
        assert torch.autograd.gradcheck(function, operands)
        assert torch.autograd.gradgradcheck(function, operands)


@pytest.mark.parametrize("name", CASES)
def test_third_derivatives_are_refused(name):
    function, operands = CASES[name]
    with backend.use("native"):
        (first,) = torch.autograd.grad(
            function(*operands).square().sum(), operands[:1], create_graph=True
        )
        with pytest.raises(RuntimeError, match="first and second derivatives only"):
            torch.autograd.grad(first.square().sum(), operands[:1], create_graph=True)


@pytest.mark.parametrize("name", CASES)
def test_bitwise_the_same_each_time(name):
    function, operands = CASES[name]
    with backend.use("native"):
        for x, y in zip(
            derivatives(function, operands, 1), derivatives(function, operands, 1), strict=True
        ):
            assert torch.equal(x, y)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("which", ["one by one", "none but the last"])
def test_only_gradients_that_are_asked_for(name, which):
    """A pass that wants some gradients computes those, and they are the same."""
    function, operands = CASES[name]
    with backend.use("native"):
        result = function(*operands)
        every = torch.autograd.grad(result.sum(), operands, retain_graph=True)
        for x, expected in list(zip(operands, every, strict=True))[-1 if which[0] == "n" else 0 :]:
            (found,) = torch.autograd.grad(result.sum(), [x], retain_graph=True)
            assert torch.equal(found, expected)


def test_unwanted_gradients_are_not_computed(monkeypatch):
    """Forces do not pay for the gradients of the weights."""
    function, (x, *weights) = CASES["radial MLP"]
    with backend.use("native"):
        result = function(x, *weights)
        seen = []
        kernels = backend.kernels(x)
        kernel = kernels.mlp_backward
        monkeypatch.setattr(kernels, "mlp_backward", lambda *a: (seen.append(a[-1]), kernel(*a))[1])
        torch.autograd.grad(result.sum(), x, retain_graph=True)
        torch.autograd.grad(result.sum(), weights)
    assert seen[0] is None and seen[1] is not None


def test_back_end_is_chosen():
    x = torch.ones(1)
    with backend.use("torch"):
        assert backend.kernels(x) is None
    with backend.use("native"):
        assert backend.kernels(x) is not None
        with pytest.raises(UserError, match="native kernels cannot be used"):
            backend.kernels(x.half())
    assert backend.kernels(x.half()) is None
    with pytest.raises(UserError, match="no back end"), backend.use("cuda"):
        pass
