"""Radial bases, the cutoff, distance transforms and the repulsion of nuclei."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import covalent_radii
from mace_tools import ELEMENTS, TOLERANCE, small_model

from mace_core.model.cutoff import polynomial_cutoff
from mace_core.model.graph import graph_of
from mace_core.model.radial import BASES, RadialBasis
from mace_core.model.transform import TRANSFORMS
from mace_core.model.zbl import ZBLRepulsion


def radial_basis(kind="bessel", r_max=4.0, num_basis=6, p=5, transform=None) -> RadialBasis:
    basis = BASES[kind](r_max, num_basis, torch.float64)
    return RadialBasis(basis, p, r_max, transform and TRANSFORMS[transform]([1, 8], torch.float64))


def column(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def pair(n, i=0, j=1):
    return torch.full((n,), i), torch.full((n,), j)


def test_bessel_functions_are_orthonormal():
    """∫ j_n j_m r² dr = δ_nm over [0, r_max]."""
    r = torch.linspace(1e-6, 4.0, 40001, dtype=torch.float64).unsqueeze(1)
    j = BASES["bessel"](4.0, 6, torch.float64)(r)
    overlap = torch.trapezoid(j.T.unsqueeze(1) * j.T.unsqueeze(0) * r.T**2, r[:, 0])
    torch.testing.assert_close(overlap, torch.eye(6, dtype=torch.float64), atol=1e-3, rtol=0)


def test_chebyshev_polynomials_are_cosines():
    """T_n(cos θ) = cos n θ, n = 1 …"""
    theta = torch.linspace(0.1, 1.4, 7, dtype=torch.float64).unsqueeze(1)
    T = BASES["chebyshev"](4.0, 6, torch.float64)(theta.cos())
    expected = torch.cos(theta * torch.arange(1, 7))
    torch.testing.assert_close(T, expected, atol=TOLERANCE["exact"], rtol=0)


def test_gaussians_stand_one_width_apart():
    """exp(−(r − r_n)² / 2 d²), from 0 to r_max: e^(−1/2) at the next one's centre."""
    values = BASES["gaussian"](4.0, 5, torch.float64)(column(0.0, 1.0, 4.0))
    expected = np.exp(-0.5 * (np.array([[0.0], [1.0], [4.0]]) - np.arange(5)) ** 2)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE["exact"])


@pytest.mark.parametrize("p", [2, 5, 6])
def test_cutoff_falls_from_one_to_zero(p):
    """f(0) = 1, f(1) = f'(1) = f''(1) = 0, decreasing between, 0 beyond."""
    x = torch.linspace(0, 1.5, 301, dtype=torch.float64)
    f = polynomial_cutoff(x, p)
    assert f[0] == 1 and not f[x >= 1].any() and (f.diff()[:199] <= 0).all()


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("transform", [None, *TRANSFORMS])
@pytest.mark.parametrize("p", [2, 5, 6])
def test_radial_basis_ends_smoothly(kind, transform, p):
    """Value, first and second derivative vanish at r_max, and stay zero beyond."""
    basis = radial_basis(kind, 3.0, 4, p, transform)
    r = column(3.0 - 1e-5, 3.0, 3.1).requires_grad_()
    value = basis(r, pair(3))
    (first,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    size = basis.basis(column(3.0) if transform is None else basis.transform(column(3.0), pair(1)))
    size = max(1, size.abs().max().item())
    assert value[0].abs().max() < 1e-12 * size
    assert first[0].abs() < 1e-7 * size and second[0].abs() < 1e-1 * size
    for x in (value, first, second):
        assert not x[1:].any()


def test_agnesi_transform_falls_from_one():
    """1/(1 + a) at r₀, towards 1 for overlapping atoms, decreasing."""
    transform = TRANSFORMS["Agnesi"]([1, 8], torch.float64)
    r0 = (covalent_radii[1] + covalent_radii[8]) / 2
    x = transform(column(1e-4, 0.5 * r0, r0, 2 * r0, 9 * r0), pair(5))[:, 0]
    assert x[0] > 0.999 and (x.diff() < 0).all()
    assert x[2].item() == pytest.approx(1 / (1 + 1.0805 / 2), abs=TOLERANCE["exact"])


def test_soft_transform_is_the_distance_where_atoms_do_not_overlap():
    """3/4 of the radii's sum for small r, r itself for large r, increasing."""
    transform = TRANSFORMS["Soft"]([1, 8], torch.float64)
    size = covalent_radii[1] + covalent_radii[8]
    r = column(0.02 * size, 1.0 * size, 1.5 * size, 3 * size)
    x = transform(r, pair(4))
    assert x[0].item() == pytest.approx(0.75 * size, rel=1e-2)
    assert x[3].item() == pytest.approx(3 * size, rel=1e-3)
    assert (x.diff(dim=0) > 0).all()
    # Half way, at m = (3/4 + 4/3)/2, half of r − p₀ is left.
    half = transform(column(25 / 24 * size), pair(1)).item()
    assert half == pytest.approx(43 / 48 * size, abs=TOLERANCE["exact"])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_see_both_elements_alike(name):
    """T(r; z_i, z_j) = T(r; z_j, z_i), and it differs between pairs."""
    transform = TRANSFORMS[name]([1, 8], torch.float64)
    r = column(0.9, 1.3)
    assert torch.equal(transform(r, pair(2, 0, 1)), transform(r, pair(2, 1, 0)))
    assert not torch.isclose(transform(r, pair(2, 0, 1)), transform(r, pair(2, 1, 1))).any()


def zbl_of_pair(z_i, z_j, r) -> float:
    """½ Z_i Z_j e²/r φ(r/a) f(r), written out."""
    a = 0.4543 * 0.529 / (z_i**0.3 + z_j**0.3)
    phi = np.dot(
        [0.1818, 0.5099, 0.2802, 0.02817], np.exp(-np.array([3.2, 0.9423, 0.4028, 0.2016]) * r / a)
    )
    x = r / (covalent_radii[z_i] + covalent_radii[z_j])
    cutoff = (1 - 21 * x**5 + 35 * x**6 - 15 * x**7) * (x < 1)
    return 0.5 * 14.3996 * z_i * z_j / r * phi * cutoff


def test_repulsion_is_half_of_each_pair():
    elements = [1, 6, 8]
    zbl = ZBLRepulsion(elements, 5, torch.float64)
    species = torch.tensor([0, 2, 1])
    edge_index = torch.tensor([[0, 1, 1, 2, 0, 2], [1, 0, 2, 1, 2, 0]])
    r = torch.tensor([0.4, 0.4, 0.9, 0.9, 1.2, 1.2], dtype=torch.float64)
    found = zbl(r, species, edge_index)
    half = {k: zbl_of_pair(*k) for k in [(1, 8, 0.4), (8, 6, 0.9), (1, 6, 1.2)]}
    a, b, c = half.values()
    assert c == 0 < b < a  # C and H touch at 1.07 Å
    np.testing.assert_allclose(found, [a + c, a + b, b + c], rtol=1e-12)


def test_repulsion_joins_the_scaled_energy():
    """E = E0 + scale · (Σ readouts + ZBL) + shift, as in mace-torch."""
    atoms = Atoms("CO", [[0, 0, 0], [0.3, 0.4, 0.5]])
    graph = graph_of(atoms, 3.5, ELEMENTS)
    with_it, without = small_model(1, pair_repulsion=True), small_model(1)
    r = np.linalg.norm(atoms.positions[1])
    more = (with_it(graph).node_energy - without(graph).node_energy).numpy()
    np.testing.assert_allclose(more, 1.3 * zbl_of_pair(6, 8, r), rtol=1e-10)


def test_repulsion_ends_smoothly():
    """Energy and force are continuous where the two atoms begin to touch."""
    model, touch = small_model(1, pair_repulsion=True), covalent_radii[6] + covalent_radii[8]

    def at(distance):
        return model(graph_of(Atoms("CO", [[0, 0, 0], [0, 0, distance]]), 3.5, ELEMENTS))

    inside, outside = at(touch - 1e-6), at(touch + 1e-6)
    smooth = {"atol": TOLERANCE["smooth"], "rtol": 0}
    torch.testing.assert_close(inside.energy, outside.energy, **smooth)
    torch.testing.assert_close(inside.forces, outside.forces, **smooth)
