"""The interval of a factor holds the true quantile as often as it says."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from mace_core.assess.calibration import calibrate
from mace_core.assess.interval import CONFIDENCE, quantile_interval
from mace_core.assess.words import factor_in_words, in_words

TRIALS = 2000


def share_held(draw, truth, n, coverage):
    held = above = 0
    for _ in range(TRIALS):
        low, high = quantile_interval(draw(n), np.ones(n), coverage)
        held += low <= truth <= high
        above += truth > high
    return held / TRIALS, above / TRIALS


@pytest.mark.parametrize(("n", "coverage"), [(3, 0.9), (5, 0.9), (8, 0.9), (8, 0.8), (20, 0.95)])
def test_few_lognormal_scores(n, coverage):
    rng = np.random.default_rng(n)
    truth = 2 * math.exp(0.45 * norm.ppf(coverage))
    held, above = share_held(lambda n: 2 * np.exp(0.45 * rng.normal(size=n)), truth, n, coverage)
    assert binomtest(round(held * TRIALS), TRIALS, CONFIDENCE).pvalue > 1e-3
    assert binomtest(round(above * TRIALS), TRIALS, 0.05).pvalue > 1e-3


@pytest.mark.parametrize(("n", "coverage"), [(30, 0.9), (12, 0.5), (100, 0.9)])
def test_enough_scores_of_any_distribution(n, coverage):
    """Order statistics hold for a law that is nothing like a lognormal."""
    rng = np.random.default_rng(n)
    truth = (1 - coverage) ** (-1 / 1.5)  # Pareto
    held, above = share_held(lambda n: 1 + rng.pareto(1.5, size=n), truth, n, coverage)
    assert held > CONFIDENCE - 0.02
    assert above < 0.05 + 0.015


@pytest.mark.parametrize("shape", ["gamma", "half-normal"])
def test_few_scores_that_are_not_lognormal(shape):
    """What the lognormal costs where it is wrong: at most a few points."""
    rng = np.random.default_rng(7)
    draw = {
        "gamma": lambda n: rng.gamma(5, size=n),
        "half-normal": lambda n: np.abs(rng.normal(size=n)) + 0.2,
    }[shape]
    truth = np.quantile(draw(1_000_000), 0.9)
    held, _ = share_held(draw, truth, 8, 0.9)
    assert held > 0.82


def test_weights_make_it_wider():
    values = np.exp(0.4 * np.random.default_rng(3).normal(size=8))
    low, high = quantile_interval(values, np.ones(8), 0.9)
    wider = quantile_interval(values, np.array([1.0] * 4 + [0.3] * 4), 0.9)
    few = quantile_interval(values, np.full(8, 0.5), 0.9)
    assert wider[1] / wider[0] > high / low * 0.8  # another mean and scatter as well
    assert few == pytest.approx((low, high))  # equal weights are equal scores


def test_where_it_cannot_be_given():
    assert quantile_interval(np.array([2.0]), np.ones(1), 0.9) is None
    assert quantile_interval(np.array([2.0, np.inf, 1.0]), np.ones(3), 0.9) is None
    assert quantile_interval(np.array([2.0, 0.0, 1.0]), np.ones(3), 0.9) is None
    beyond_all_numbers = np.array([1e-100, 1e100])
    assert quantile_interval(beyond_all_numbers, np.ones(2), 0.9) is None
    assert quantile_interval(np.array([2.0, 2.0]), np.ones(2), 0.9) == pytest.approx((2.0, 2.0))


def test_the_calibration_has_it_and_says_it():
    from test_calibration import frame

    values = [1.0, 1.2, 1.5, 1.6, 2.0, 2.1, 2.4, 3.0]
    found = calibrate([(2, [frame(v, 1) for v in values])], 0.9)
    assert found["factor"] == pytest.approx(3.0)
    assert found["factor_low"] < 2.9 and found["factor_high"] > 3.1
    assert (
        in_words(found) == f"3 (90% interval {found['factor_low']:.3g} to "
        f"{found['factor_high']:.3g}), bounds the error of 89% of frames; "
        "8 frames: audit of generation 2"
    )
    assert factor_in_words({"factor": 2.0}) == "2"  # of an earlier version
    assumed = calibrate([(1, [frame(1, 1)])], 0.9, "validation frames")
    assert in_words(assumed).startswith(
        "not calibrated yet (assumed factor 3); the committee cannot be calibrated on 1 frame, "
    )
    assert "(validation frames of generation 1)" in in_words(assumed)
