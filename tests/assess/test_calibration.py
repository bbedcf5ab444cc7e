"""Split conformal calibration: its guarantee on synthetic frames, and its corners."""

import math

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from mace_core.assess.calibration import (
    calibrate,
    conformal_factor,
    frames_needed,
    measured_coverage,
    scores,
)
from mace_core.errors import UserError


def frame(error, spread, atoms=3):
    """A frame whose largest force error and spread are given, each on another atom."""
    made = Atoms("H" * atoms, np.zeros((atoms, 3)))
    made.arrays["REF_forces"] = np.zeros((atoms, 3))
    forces = np.zeros((atoms, 3))
    forces[0] = error * np.array([2, -1, 2]) / 3
    made.arrays["MACE_forces"] = forces
    made.arrays["MACE_forces_std"] = np.array([0.5 * spread] * (atoms - 1) + [spread])
    return made


def test_score_is_largest_error_over_largest_spread():
    assert scores([frame(0.6, 0.2), frame(0.1, 0.4)]) == pytest.approx([3.0, 0.25])


def test_frames_without_labels_have_no_score():
    unlabelled = frame(1, 1)
    del unlabelled.arrays["REF_forces"]
    assert len(scores([unlabelled])) == 0
    assert calibrate([(1, [unlabelled])], 0.9) is None


@pytest.mark.parametrize(
    ("n", "coverage", "rank"),
    [(9, 0.9, 9), (19, 0.9, 18), (20, 0.9, 19), (99, 0.95, 95), (4, 0.5, 3)],
)
def test_the_rank_is_the_conformal_one(n, coverage, rank):
    factor, level = conformal_factor(np.arange(1, n + 1, dtype=float)[::-1], coverage)
    assert factor == rank
    assert level == pytest.approx(rank / (n + 1))
    assert level >= coverage


def test_too_few_frames_give_the_largest_score_and_say_so():
    assert conformal_factor(np.array([2.0, 5.0, 1.0]), 0.9) == (5.0, 0.75)


@given(st.floats(0.01, 0.99))
def test_frames_needed_is_the_least_number(coverage):
    n = frames_needed(coverage)
    assert n / (n + 1) >= coverage - 1e-8
    if n > 1:
        assert (n - 1) / n < coverage


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.floats(0.05, 0.95),
    st.randoms(use_true_random=False),
)
def test_the_factor_covers_its_own_frames_whatever_their_order(values, coverage, random):
    factor, level = conformal_factor(np.array(values), coverage)
    covered = np.mean(np.array(values) <= factor)
    assert covered >= level
    random.shuffle(values)
    assert conformal_factor(np.array(values), coverage) == (factor, level)


@pytest.mark.parametrize(("n", "coverage"), [(8, 0.8), (30, 0.9), (5, 0.9)])
def test_coverage_on_exchangeable_frames(n, coverage):
    """P(new score ≤ factor) is the level reached, for a heavy-tailed law, over 4000 trials."""
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(4000):
        values = rng.pareto(1.5, size=n + 1) * rng.gamma(2, size=n + 1)
        factor, level = conformal_factor(values[:n], coverage)
        covered.append(values[n] <= factor)
    # For continuous scores the probability is k / (n + 1) exactly; four standard errors.
    assert abs(np.mean(covered) - level) < 4 * math.sqrt(level * (1 - level) / len(covered))
    assert level >= min(coverage, n / (n + 1))


def test_spread_zero_without_error_is_covered_by_anything():
    assert scores([frame(0.0, 0.0)]) == [0.0]
    assert conformal_factor(np.array([0.0, 2.0, 3.0]), 0.7) == (3.0, 0.75)


def test_spread_zero_with_an_error_lowers_the_level():
    values = scores([frame(0.1, 0.0), frame(0.2, 0.1), frame(0.4, 0.1)])
    assert np.isinf(values[0])
    factor, level = conformal_factor(values, 0.75)
    assert factor == pytest.approx(4.0)
    assert level == 2 / 4


def test_no_spread_at_all_is_an_error_with_a_mend():
    with pytest.raises(UserError, match="no spread") as caught:
        calibrate([(2, [frame(0.1, 0.0)] * 3)], 0.9)
    assert "seeds" in caught.value.mend


def test_pooling_takes_the_newest_audits_first_and_only_as_many_as_needed():
    newest, older, oldest = [frame(2, 1)] * 5, [frame(3, 1)] * 5, [frame(100, 1)] * 5
    found = calibrate([(4, newest), (3, older), (2, oldest)], 0.9)
    assert found["n_frames"] == 10
    assert found["factor"] == pytest.approx(3.0)
    assert found["level"] == pytest.approx(10 / 11)
    assert found["source"] == "audit of generations 3, 4"
    enough = calibrate([(4, [frame(2, 1)] * 9), (3, older)], 0.9)
    assert enough["source"] == "audit of generation 4"
    gap = calibrate([(4, []), (3, older), (2, newest)], 0.9)
    assert gap["source"] == "audit of generations 2, 3"
    assert calibrate([(1, newest)], 0.9, "validation frames")["source"].startswith("validation")


def test_measured_coverage_counts_frames_below_the_bound():
    found = measured_coverage(
        [frame(1, 1), frame(2, 1), frame(3, 1), frame(0.1, 0)], {"factor": 2.0, "level": 0.9}
    )
    assert found == {"covered": 2, "n_frames": 4, "share": 0.5, "expected": 0.9}
    assert measured_coverage([], {"factor": 2.0, "level": 0.9}) is None
