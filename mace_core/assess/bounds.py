"""Bounds of a potential's mean error on its own MD, from few, skewed and correlated frames.

What the audit labels is a handful of frames from a few walks. Two things are known about them
besides: the committee's spread on every frame that was visited, and that the error is, but for a
factor that scatters little, proportional to it. So labels measure the ratio r = error / spread, and
the visited frames say how large the spread is:

    mean error of a stratum = E[spread] · E[r]

which is the ratio estimator of survey sampling (Cochran, "Sampling Techniques", 3rd ed., 1977,
chapter 6). It does not take the committee's word for its error: a committee that is too sure of
itself has large ratios. log r is taken as normal, with an effect of its own for each walk,

    log r = α + b_walk + ε,   b ~ N(0, ρσ²),   ε ~ N(0, (1 − ρ)σ²)

so that frames of one walk count as little more than one where they are alike (ρ near 1), and as
many where they are not. Bounds are quantiles of draws of (ρ, σ², α) given the frames; for a known
ρ these are the generalised pivotal quantities of a lognormal mean (Krishnamoorthy and Mathew, J.
Stat. Plan. Inference 115, 103 (2003)). The shape of the distribution enters in the width alone:
draws are centred on the ratio of the sums, which is right for many frames whatever the
distribution.

Energies have a sign, and what matters is a constant offset: their errors are taken as normal with a
standard deviation that grows with the square root of the spread, and the bound is that of the mean
absolute value (of a folded normal).

How often these bounds hold, and how wide they are: ``benchmarks/audit_coverage.py``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Draws behind each quantile.
DRAWS = 10_000
#: Values of ρ that are weighed against each other.
RHO = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
#: What is expected of σ of log r before any frame is seen, and how many frames that is worth: about
#: what potentials of molecules and alloys have (0.25 to 0.35), and somewhat more.
LOG_SIGMA, LOG_WORTH = 0.5, 2.0
#: The same for how walks differ in log of their mean spread: 0.1 to 0.25 in 14 strata of molecules
#: and alloys (``benchmarks/audit_walks.py``).
WALK_SIGMA, WALK_WORTH = 0.25, 8.0
#: Other strata say something about the scatter in this one: as much as so many frames at most.
OTHERS_WORTH = 4.0
#: Errors and spreads below this share of their mean count as that much: a logarithm knows no 0.
FLOOR = 1e-2
#: Draws of a logarithm are cut off here, where they say nothing but that nothing is known.
_MOST = 50.0


@dataclass(frozen=True)
class Normal:
    """Draws of the means and the common variance of normal values that are alike within a walk.

    Attributes:
        means: [DRAWS, n_cells].
        variance: [DRAWS], of a single value, σ².
        centres: [n_cells], the estimates of the means.
        scatter: the estimate of the variance.
    """

    means: np.ndarray
    variance: np.ndarray
    centres: np.ndarray
    scatter: float


def normal(
    values: np.ndarray,
    walks: Sequence,
    prior: tuple[float, float],
    rng: np.random.Generator,
    cells: Sequence[int] | None = None,
) -> Normal | None:
    """Draws for values = mean of the cell + walk effect + noise.

    Args:
        values: [n].
        walks: [n], which walk each value is of.
        prior: variance that is expected, and how many values that is worth.
        rng: of the draws.
        cells: [n], 0, 1, …: which mean each value has; one mean by default.

    Returns:
        None where nothing is known of the variance: a single value in each cell and no prior.
    """
    values = np.asarray(values, dtype=float)
    numbers = {walk: k for k, walk in enumerate(dict.fromkeys(walks))}
    walks = np.array([numbers[walk] for walk in walks], dtype=int)
    cells = np.zeros(len(values), dtype=int) if cells is None else np.asarray(cells)
    sides = [cells == c for c in range(cells.max() + 1)]
    variance, worth = prior
    freedom = worth + len(values) - len(sides)
    if freedom <= 0:
        return None
    fits = [[_given(rho, values[s], walks[s]) for s in sides] for rho in RHO]
    means = np.array([[fit.mean for fit in row] for row in fits])
    sums = worth * variance + np.array([sum(fit.squares for fit in row) for row in fits])
    if not sums.min() > 1e-20 * float((values**2).sum()):  # all the same, but for rounding
        return Normal(np.tile(means[0], (DRAWS, 1)), np.zeros(DRAWS), means[0], 0.0)
    logs = np.array([sum(fit.log_weight for fit in row) for row in fits])
    logs = logs - 0.5 * freedom * np.log(sums) + np.log1p(-RHO)  # small ρ: frames are far apart
    weight = np.exp(logs - logs.max())
    share = weight / weight.sum()
    which = rng.choice(len(RHO), size=DRAWS, p=share)
    drawn = sums[which] / rng.chisquare(freedom, size=DRAWS)
    precision = np.array([[fit.precision for fit in row] for row in fits])
    noise = rng.standard_normal((DRAWS, len(sides)))
    draws = means[which] + np.sqrt(drawn[:, None] / precision[which]) * noise
    return Normal(draws, drawn, share @ means, float(share @ sums) / freedom)


@dataclass(frozen=True)
class _Fit:
    """Generalised least squares of a constant, for one ρ; in units of σ²."""

    mean: float
    precision: float  # of the mean
    squares: float  # weighted sum of squares about it
    log_weight: float  # what the frames say of this ρ, but for the sum of squares


def _given(rho: float, values: np.ndarray, walks: np.ndarray) -> _Fit:
    which = np.unique(walks, return_inverse=True)[1]
    m = np.bincount(which).astype(float)
    sums = np.bincount(which, values)
    design = 1 + (m - 1) * rho
    precision = float((m / design).sum())
    mean = float((sums / design).sum()) / precision
    squares = (values - mean) ** 2
    common = np.bincount(which, values - mean)
    squares = (float(squares.sum()) - float((rho / design * common**2).sum())) / (1 - rho)
    log_weight = -0.5 * float(((m - 1) * np.log(1 - rho) + np.log(design)).sum())
    return _Fit(mean, precision, max(squares, 0.0), log_weight - 0.5 * math.log(precision))


def ratio_draws(
    errors: np.ndarray,
    spreads: np.ndarray,
    walks: Sequence,
    rng: np.random.Generator,
    others: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Draws [DRAWS] of the mean of error over spread, weighted by the spread.

    Args:
        errors: [n] mean absolute force errors of frames, eV/Å.
        spreads: [n] mean spreads of the committee on them, eV/Å; ones where none are known.
        walks: [n], which walk each frame is of.
        rng: of the draws.
        others: variance of log ratios in other strata, and how many frames that is worth.
    """
    errors, spreads = floored(errors), floored(spreads)
    if not errors.any():
        return np.zeros(DRAWS)
    prior = pooled((LOG_SIGMA**2, LOG_WORTH), others)
    found = normal(np.log(errors / spreads), walks, prior, rng)
    factor = found.means[:, 0] - found.centres[0] + (found.variance - found.scatter) / 2
    return errors.sum() / spreads.sum() * np.exp(np.minimum(factor, _MOST))


def log_scatter(errors: np.ndarray, spreads: np.ndarray) -> tuple[float, float]:
    """Sum of squares of log ratios about their mean, and its degrees of freedom."""
    errors, spreads = floored(errors), floored(spreads)
    if len(errors) < 2 or not errors.any():
        return 0.0, 0.0
    logs = np.log(errors / spreads)
    return float(((logs - logs.mean()) ** 2).sum()), len(logs) - 1.0


def floored(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return np.maximum(values, FLOOR * values.mean()) if len(values) else values


def pooled(*priors: tuple[float, float]) -> tuple[float, float]:
    """Several (variance, worth) as one."""
    worth = sum(w for _, w in priors)
    return (sum(v * w for v, w in priors) / worth if worth else 0.0, worth)


def from_others(scatter: Sequence[tuple[float, float]], but: int) -> tuple[float, float]:
    """What the strata other than ``but`` say of the variance: (variance, worth).

    Args:
        scatter: sum of squares and degrees of freedom of each stratum.
        but: the stratum that is left out.
    """
    rest = [pair for k, pair in enumerate(scatter) if k != but]
    squares, freedom = sum(s for s, _ in rest), sum(f for _, f in rest)
    return (squares / freedom, min(freedom, OTHERS_WORTH)) if freedom else (0.0, 0.0)


def mean_spread(
    groups: Sequence[str], spreads: Sequence[float], rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """The mean spread on the MD of a stratum, each temperature with the same share.

    Args:
        groups: [n_walks], each walk's temperature.
        spreads: [n_walks], each walk's mean over the frames it visited, eV/Å.
        rng: of the draws.

    Returns:
        The estimate, and draws of it [DRAWS].
    """
    spreads = np.maximum(np.asarray(spreads, dtype=float), 1e-12)
    which = np.unique(np.asarray(groups), return_inverse=True)[1]
    n = np.bincount(which)
    means = np.bincount(which, spreads) / n
    logs = np.log(spreads)
    squares = float(((logs - (np.bincount(which, logs) / n)[which]) ** 2).sum())
    freedom = WALK_WORTH + len(spreads) - len(n)
    variance = (WALK_WORTH * WALK_SIGMA**2 + squares) / rng.chisquare(freedom, size=DRAWS)
    share = means / means.sum()
    factor = np.sqrt(variance * float((share**2 / n).sum())) * rng.standard_normal(DRAWS)
    return float(means.mean()), means.mean() * np.exp(factor)


def folded_mean(mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """E|x| of x ~ N(mean, sigma²)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sigma > 0, mean / sigma, np.inf)
    erf = np.frompyfunc(math.erf, 1, 1)(z / math.sqrt(2)).astype(float)
    tail = sigma * math.sqrt(2 / math.pi) * np.exp(-np.minimum(z**2, 1e3) / 2)
    return np.where(sigma > 0, tail + mean * erf, np.abs(mean))


def absolute_draws(
    errors: np.ndarray,
    walks: Sequence,
    rng: np.random.Generator,
    spreads: np.ndarray | None = None,
    spread: float = 1.0,
    others: tuple[float, float] = (0.0, 0.0),
    cells: Sequence[int] | None = None,
) -> np.ndarray | None:
    """Draws [DRAWS] of the mean absolute value of signed errors, e.g. of energies.

    Args:
        errors: [n] eV/atom.
        walks: [n], which walk each frame is of.
        rng: of the draws.
        spreads: [n] mean force spreads of the committee on them.
        spread: their mean on the MD.
        others: variance in other strata, and how many frames that is worth.
        cells: [n], 0, 1, …: committees, each with an offset of its own; their means count by
            frames.

    Returns:
        None for a single frame of which nothing else is known.
    """
    errors = np.asarray(errors, dtype=float)
    if spreads is not None:
        errors = errors * np.sqrt(spread / floored(spreads))
    found = normal(errors, walks, others, rng, cells)
    if found is None:
        return None
    n = np.bincount(np.zeros(len(errors), dtype=int) if cells is None else cells)
    return folded_mean(found.means, np.sqrt(found.variance)[:, None]) @ (n / n.sum())
