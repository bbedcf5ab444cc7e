"""How well a quantile is known from a few scores: a 90 % interval.

Where there are enough scores of one weight, the limits are order statistics, which hold for any
continuous distribution: the l-th smallest of n is below the quantile with P(Bin(n, coverage) ≥ l).
For a quantile of 0.9 that takes 29 scores. With fewer the scores are taken as lognormal, and the
limits are those of the normal quantile, from the noncentral t distribution (Hahn and Meeker,
"Statistical Intervals", 1991, section 4.4). Scores are a ratio of two positive quantities, and
those of the committees measured so far are skewed like a lognormal with a scatter of about 0.4.
"""

import math

import numpy as np

CONFIDENCE = 0.9  # half of what is missing on either side


def quantile_interval(
    values: np.ndarray, weights: np.ndarray, coverage: float
) -> tuple[float, float] | None:
    """Limits between which the quantile of the scores' distribution lies with 90 % confidence.

    Args:
        values: scores, [n].
        weights: of the scores, in (0, 1], [n]; they count as (Σw)² / Σw² scores.
        coverage: the quantile, in (0, 1).

    Returns:
        None where it cannot be given: one score, or a score that is 0 or infinite among few.
    """
    if np.all(weights == 1):
        found = _order_statistics(np.sort(values), coverage)
        if found is not None:
            return found
    return _lognormal(values, weights, coverage)


def _order_statistics(ordered: np.ndarray, coverage: float) -> tuple[float, float] | None:
    from scipy.stats import binom

    n, each = len(ordered), (1 + CONFIDENCE) / 2
    ranks = np.arange(1, n + 1)
    low = ranks[binom.sf(ranks - 1, n, coverage) >= each]
    high = ranks[binom.cdf(ranks - 1, n, coverage) >= each]
    if not len(low) or not len(high) or not np.isfinite(ordered[high[0] - 1]):
        return None
    return float(ordered[low[-1] - 1]), float(ordered[high[0] - 1])


def _lognormal(
    values: np.ndarray, weights: np.ndarray, coverage: float
) -> tuple[float, float] | None:
    from scipy.stats import nct, norm

    if len(values) < 2 or not np.all(np.isfinite(values) & (values > 0)):
        return None
    n = float(weights.sum() ** 2 / (weights**2).sum())
    logs = np.log(values)
    mean = np.average(logs, weights=weights)
    std = math.sqrt(np.average((logs - mean) ** 2, weights=weights) * n / (n - 1))
    shift = float(norm.ppf(coverage)) * math.sqrt(n)
    low, high = (
        mean + std * float(nct.ppf(level, n - 1, shift)) / math.sqrt(n)
        for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    )
    # Two scores leave a limit beyond all numbers now and then.
    if not math.isfinite(low + high) or high > 700:
        return None
    return math.exp(low), math.exp(high)
