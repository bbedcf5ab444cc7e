"""Splines keep the bound they state."""

import numpy as np
import pytest
import torch
from mace_tools import ARCHITECTURES, small_model

from mace_core.inference.pack import Radial
from mace_core.inference.splines import (
    HERMITE,
    TOLERANCE,
    Knots,
    by_autograd,
    error,
    knots_for,
    sample,
)


@pytest.mark.parametrize(
    "name", ["two layers", "foundation", "soft distances, Gaussians, two heads"]
)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_error_is_within_the_tolerance_everywhere(name, dtype):
    """Measured anew, at random distances, of all radial functions of all pairs."""
    model = small_model(2, **(ARCHITECTURES[name] | {"radial_MLP": [64, 64, 64], "r_max": 5.0}))
    radial = Radial(model, [0, 2])
    functions = radial.all_functions()
    knots = knots_for(functions, 5.0, TOLERANCE[dtype])
    r = np.random.default_rng(0).uniform(0.5, 5.0, 4000)
    place = (r - knots.first) / knots.distance
    k = place.astype(int)
    powers = (place - k)[:, None] ** np.arange(6)
    for f in functions:
        table = sample(f, knots)
        ends = np.concatenate([table[k], table[k + 1]], axis=1)
        spline = np.einsum("np,kp,nkf->nf", powers, HERMITE, ends)
        exact = f(r).value
        assert np.abs(spline - exact).max() <= 1.5 * TOLERANCE[dtype] * np.abs(exact).max()


def test_error_is_measured_and_falls_with_the_sixth_power():
    f = by_autograd(lambda r: torch.cat([torch.sin(4 * r), torch.exp(-r)], dim=1))

    coarse, fine = (Knots(n, 0.02, 5.0) for n in (33, 65))
    errors = [error(f, sample(f, knots), knots) for knots in (coarse, fine)]
    assert 2**4.5 < errors[0] / errors[1] < 2**6.5
    h = coarse.distance
    bound = 4**6 * h**6 / 46080  # of the value, for max |f⁗″| = 4⁶
    assert errors[0] < 40 * bound  # the slope's error is larger, by a constant
    assert knots_for([f], 5.0, 1e-11).n > knots_for([f], 5.0, 1e-9).n > 65


@pytest.mark.parametrize("name", ["two layers", "foundation"])
def test_sampled_functions_are_the_models(name):
    """Values are the torch network's, slopes and curvatures its derivatives."""
    model = small_model(2, **ARCHITECTURES[name])
    radial = Radial(model, [0, 2])
    r = np.linspace(0.5, 3.6, 50)
    pair = tuple(torch.tensor([z] * 50) for z in ((0, 0) if name == "two layers" else (0, 2)))
    basis = model.radial_basis(torch.tensor(r).unsqueeze(1), pair)
    table = int(radial.table_of_pair[0, 1])
    for t, interaction in enumerate(model.interactions):
        found = [radial.functions(t)[table]]
        expected = [interaction.radial_MLP(basis).detach().numpy()]
        if interaction.density is not None:
            weight = interaction.density.weight * len(interaction.density.weight) ** -0.5
            found.append(radial.densities_of(t)[table])
            expected.append(torch.tanh((basis @ weight) ** 2).detach().numpy())
        for f, values in zip(found, expected, strict=True):
            taylor, h = f(r), 1e-4
            np.testing.assert_allclose(taylor.value, values, atol=1e-12)
            before, after = f(r - h), f(r + h)
            slope = (after.value - before.value) / (2 * h)
            curvature = (after.slope - before.slope) / (2 * h)
            np.testing.assert_allclose(taylor.slope, slope, atol=1e-4 * np.abs(slope).max())
            np.testing.assert_allclose(
                taylor.curvature, curvature, atol=1e-4 * np.abs(curvature).max()
            )


def test_value_and_two_derivatives_at_knots():
    """The interpolation conditions, from the table of weights itself."""
    at = {0: 0.0, 1: 1.0}
    for k, s in at.items():
        powers = np.array([s**p for p in range(6)])
        slopes = np.array([p * s ** max(p - 1, 0) for p in range(6)])
        curvatures = np.array([p * (p - 1) * s ** max(p - 2, 0) for p in range(6)])
        for n, monomials in enumerate((powers, slopes, curvatures)):
            expected = np.zeros(6)
            expected[3 * k + n] = 1
            np.testing.assert_allclose(HERMITE @ monomials, expected, atol=1e-12)
