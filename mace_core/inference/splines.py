"""Functions of a distance as quintic Hermite splines.

Between two of the uniform knots the spline is the polynomial of degree 5 with the function's value
and first two derivatives at both: the whole is twice continuously differentiable. Forces are its
exact derivative, so that they conserve the energy it gives. The error falls with the sixth power of
the knots' distance; it is measured, and knots are added until it is small enough.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

#: Largest error of radial functions, and of their slopes, as a share of their largest value: for
#: each precision below what rounding does to energies and forces.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
MAX_KNOTS = 4097
#: The first knot, Å; the first polynomial goes on below it.
FIRST_KNOT = 0.02
#: The tolerance holds from here on, Å: no two nuclei come closer (H₂: 0.74), and the transformed
#: distances of some models have no second derivative at 0.
CLOSEST = 0.5
#: Where between two knots errors are measured: the function's is largest in the middle, the
#: slope's beside it.
PROBES = (0.27, 0.5, 0.73)


class Taylor(NamedTuple):
    """Functions of a distance at n distances, and their first two derivatives: [n, n_functions]."""

    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray


#: [n] distances in Å → all functions there.
Functions = Callable[[np.ndarray], Taylor]


@dataclass(frozen=True)
class Knots:
    """``n`` uniform knots from ``first`` to ``last``, Å."""

    n: int
    first: float
    last: float

    @property
    def distance(self) -> float:
        return (self.last - self.first) / (self.n - 1)

    def positions(self, offset: float = 0.0) -> np.ndarray:
        """[n]; with an offset the points at that share of each interval, [n − 1]."""
        k = np.arange(self.n if offset == 0 else self.n - 1)
        return self.first + (k + offset) * self.distance


def sample(f: Functions, knots: Knots) -> np.ndarray:
    """[n_knots, 3, n_functions]: f, h f', h² f'' with h the distance of knots."""
    h = knots.distance
    value, slope, curvature = f(knots.positions())
    return np.stack([value, h * slope, h * h * curvature], axis=1)


def error(f: Functions, table: np.ndarray, knots: Knots) -> float:
    """The larger of max |error| / max |f| and the same of the slope, beyond ``CLOSEST``."""
    worst = 0.0
    for s in PROBES:
        r = knots.positions(s)
        far = r >= CLOSEST
        true = f(r[far])
        spline = [x[far] for x in _evaluate(table, s, knots)]
        size = np.abs(true.value).max(initial=1e-300)
        worst = max(worst, np.abs(spline[0] - true.value).max() / size)
        size = max(size, np.abs(true.slope).max())  # no slope to speak of: no share of it either
        worst = max(worst, np.abs(spline[1] - true.slope).max() / size)
    return worst


def knots_for(functions: list[Functions], r_max: float, tolerance: float) -> Knots:
    """As few knots as all ``functions`` need for an :func:`error` of ``tolerance``."""
    n, hardest = 65, functions
    while True:
        knots = Knots(n, FIRST_KNOT, r_max)
        errors = [error(f, sample(f, knots), knots) for f in hardest]
        worst = max(errors)
        if (worst <= tolerance and hardest is functions) or n >= MAX_KNOTS:
            return knots
        if worst <= tolerance:  # the hardest of them: now all
            hardest = functions
            continue
        if hardest is functions:
            hardest = [functions[errors.index(worst)]]
        # The slope's error falls with the fifth power, once knots are dense enough.
        factor = (worst / tolerance) ** (1 / 5)
        n = min(MAX_KNOTS, int((n - 1) * min(4.0, max(1.1, factor))) + 1)


def _evaluate(table: np.ndarray, s: float, knots: Knots) -> tuple[np.ndarray, np.ndarray]:
    """The spline and its slope at share ``s`` of each interval."""
    powers = s ** np.arange(6.0)
    slopes = np.concatenate([[0.0], np.arange(1, 6) * powers[:-1]]) / knots.distance
    ends = np.concatenate([table[:-1], table[1:]], axis=1)  # [n − 1, 6, n_functions]
    return tuple(np.einsum("k,nkf->nf", HERMITE @ p, ends) for p in (powers, slopes))


#: Rows: weight of the value, h · slope and h² · curvature at the lower knot, then at the upper
#: one; columns: powers of the share of the interval.
HERMITE = np.array(
    [
        [1, 0, 0, -10, 15, -6],
        [0, 1, 0, -6, 8, -3],
        [0, 0, 0.5, -1.5, 1.5, -0.5],
        [0, 0, 0, 10, -15, 6],
        [0, 0, 0, -4, 7, -3],
        [0, 0, 0, 0.5, -1, 0.5],
    ]
)


def by_autograd(f: Callable[[torch.Tensor], torch.Tensor]) -> Functions:
    """A plain torch function [n, 1] → [n, n_functions] as :data:`Functions`.

    There are many functions of one variable. Their derivative in one go is that of v ↦ vᵀ ∂f/∂r,
    which is linear in v: two backward passes, whatever the number of functions.
    """

    def taylor(r: np.ndarray) -> Taylor:
        with torch.enable_grad():
            x = torch.tensor(r, dtype=torch.float64).unsqueeze(1).requires_grad_()
            found = [f(x)]
            for _ in range(2):
                v = torch.zeros_like(found[-1], requires_grad=True)
                # Sums, not given gradients: with those torch imports sympy, for half a second.
                (g,) = torch.autograd.grad((found[-1] * v).sum(), x, create_graph=True)
                found += torch.autograd.grad(g.sum(), v, create_graph=True)
            return Taylor(*(y.detach().numpy() for y in found))

    return taylor


def linear(x: Taylor, matrix: np.ndarray) -> Taylor:
    """Linear combinations of functions."""
    return Taylor(*(y @ matrix for y in x))


def silu(x: Taylor) -> Taylor:
    """x / (1 + e⁻ˣ) of functions."""
    s = 1 / (1 + np.exp(-x.value))
    first = s * (1 + x.value * (1 - s))
    return _chain(x, x.value * s, first, s * (1 - s) * (2 + x.value * (1 - 2 * s)))


def tanh_of_square(x: Taylor) -> Taylor:
    """tanh x² of functions."""
    square = _chain(x, x.value**2, 2 * x.value, np.full_like(x.value, 2.0))
    t = np.tanh(square.value)
    return _chain(square, t, 1 - t * t, -2 * t * (1 - t * t))


def _chain(x: Taylor, value: np.ndarray, first: np.ndarray, second: np.ndarray) -> Taylor:
    """Of f(x) from f, f' and f″ at x."""
    return Taylor(value, first * x.slope, second * x.slope**2 + first * x.curvature)
