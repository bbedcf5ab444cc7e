"""Split conformal calibration: its guarantee on synthetic frames, and its corners."""

import math

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from mace_core.assess.calibration import (
    ASSUMED_FACTOR,
    LEAST_FRAMES,
    calibrate,
    conformal_factor,
    following,
    measured_coverage,
    weight_needed,
)
from mace_core.assess.scores import scores
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
    assert calibrate([(1, [unlabelled])], 0.9)["n_frames"] == 0


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


@pytest.mark.parametrize(("coverage", "n"), [(0.8, 3), (0.9, 6), (0.95, 13), (0.5, 1)])
def test_older_audits_join_where_the_newest_would_miss_half_again_as_much(coverage, n):
    assert math.ceil(weight_needed(coverage) - 1e-9) == n
    assert n / (n + 1) >= 1 - 1.5 * (1 - coverage) - 1e-9
    assert (n - 1) / n < 1 - 1.5 * (1 - coverage)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.floats(0.05, 0.95),
)
def test_equal_weights_are_the_unweighted_rule(values, coverage):
    """Weights a hair below 1 take the weighted branch, and give the same factor."""
    values = np.array(values)
    factor, level = conformal_factor(values, coverage)
    assert conformal_factor(values, coverage, np.ones(len(values))) == (factor, level)
    found = conformal_factor(values, coverage, np.full(len(values), 1 - 1e-13))
    assert found == (factor, pytest.approx(level))


def test_weights_count_as_shares_of_all_and_the_new_frame():
    values, weights = np.array([5.0, 1.0, 2.0]), np.array([0.25, 1.0, 0.75])
    # (1 + 0.75) / (2 + 1) = 0.583; with the last one 2 / 3.
    assert conformal_factor(values, 0.58, weights) == (2.0, pytest.approx(1.75 / 3))
    assert conformal_factor(values, 0.6, weights) == (5.0, pytest.approx(2 / 3))
    assert conformal_factor(values, 0.9, weights) == (5.0, pytest.approx(2 / 3))
    infinite = np.array([np.inf, 1.0, 2.0])
    assert conformal_factor(infinite, 0.9, weights) == (2.0, pytest.approx(1.75 / 3))


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


def test_frames_without_forces_by_symmetry_say_nothing():
    """A one-atom cell: error and spread are rounding, whatever their ratio."""
    symmetric = [frame(0.0, 0.0, 1), frame(3e-16, 1e-17, 1), frame(4e-4, 2e-7, 1)]
    assert len(scores(symmetric)) == 0
    assert scores([*symmetric, frame(0.4, 0.2)]) == pytest.approx([2.0])
    assert measured_coverage(symmetric, {"factor": 2.0, "level": 0.9}) is None
    found = calibrate([(1, symmetric)], 0.9)
    assert (found["calibrated"], found["n_frames"]) == (False, 0)
    assert "cannot be calibrated on 0 frames" in found["source"]


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


def as_recorded(frames):
    return [float(np.max(atoms.arrays["MACE_forces_std"])) for atoms in frames]


def test_the_newest_audit_alone_is_enough_with_six_frames():
    def older():
        yield 4, [frame(2, 1)] * 6
        raise AssertionError("older audits are not read")

    found = calibrate(older(), 0.9, spread_now=as_recorded)
    assert (found["factor"], found["n_frames"]) == (pytest.approx(2.0), 6)
    assert found["level"] == pytest.approx(6 / 7)
    assert (found["source"], found["generations"]) == ("audit of generation 4", [4])


def test_older_audits_join_the_newest_first_and_only_as_many_frames_as_needed():
    newest, older, oldest = [frame(2, 1)] * 5, [frame(3, 1)] * 5, [frame(100, 1)] * 5
    found = calibrate([(4, newest), (3, older), (2, oldest)], 0.9, spread_now=as_recorded)
    assert found["n_frames"] == 6
    assert found["factor"] == pytest.approx(3.0)
    assert found["level"] == pytest.approx(6 / 7)
    assert found["source"] == "audit of generations 3, 4"
    gap = calibrate([(4, []), (3, newest), (2, older)], 0.9, spread_now=as_recorded)
    assert gap["generations"] == [2, 3]
    alone = calibrate([(4, newest), (3, older)], 0.9)
    assert (alone["n_frames"], alone["level"]) == (5, pytest.approx(5 / 6))
    assert calibrate([(1, newest)], 0.9, "validation frames")["source"].startswith("validation")


def test_old_scores_weigh_by_how_alike_the_newest_committee_sees_the_frames():
    newest = [frame(2, 1)] * 4
    # Spread of the newest: half of what it was on all but the first, where it is four times that.
    older = [frame(9, 1), *[frame(3, 1)] * 4]
    now = [2.0, 0.5, 0.5, 0.5, 0.5]
    found = calibrate([(3, newest), (2, older)], 0.9, spread_now=lambda frames: now)
    # What is common to all cancels; the first frame would weigh 1/4, and is not needed.
    assert (found["factor"], found["n_frames"]) == (pytest.approx(3.0), 6)
    assert found["level"] == pytest.approx(6 / 7)
    few = calibrate([(3, [frame(2, 1)] * 2), (2, older[:4])], 0.9, spread_now=lambda f: now[:4])
    assert (few["factor"], few["n_frames"]) == (pytest.approx(9.0), 6)
    assert few["level"] == pytest.approx((2 + 3 + 0.25) / (2 + 3 + 0.25 + 1))


def test_the_newest_committee_is_asked_about_some_tens_of_frames_at_most():
    asked = []

    def spread_now(frames):
        asked.append(len(frames))
        return as_recorded(frames)

    calibrate([(9, []), (8, [frame(2, 1)] * 500), (7, [frame(2, 1)] * 500)], 0.99, "audit",
              spread_now)  # fmt: skip
    assert asked == [40]


@pytest.mark.parametrize("n", [0, 1, LEAST_FRAMES - 1])
def test_few_frames_calibrate_nothing(n):
    frames = [frame(1.0, 1.0)] * n
    found = calibrate([(1, frames)], 0.9, "validation frames")
    assert found["factor"] == ASSUMED_FACTOR
    assert (found["calibrated"], found["level"], found["n_frames"]) == (False, None, n)
    assert found["factor_low"] is found["factor_high"] is None
    if n:
        outlier = calibrate([(1, [*frames[1:], frame(7.0, 1.0)])], 0.9)
        assert outlier["factor"] == pytest.approx(7.0)  # not below what was seen
        assert not outlier["calibrated"]
    assert calibrate([(1, [frame(1.0, 1.0)] * LEAST_FRAMES)], 0.9)["calibrated"]


def test_audits_too_few_to_calibrate_leave_what_was_measured():
    measured = calibrate([(1, [frame(2.5, 1)] * 8)], 0.9, "validation frames")
    kept, notes = following([(1, [frame(4, 1)] * 2)], 0.9, measured, as_recorded)
    assert kept == measured
    assert "2 audit frames are too few" in notes[0]
    assert following([(1, [])], 0.9, measured, as_recorded)[0] == measured
    assumed = calibrate([(1, [frame(5, 1)])], 0.9, "validation frames")
    found, notes = following([(1, [frame(4, 1)] * 2)], 0.9, assumed, as_recorded)
    assert (found["factor"], found["calibrated"], notes) == (pytest.approx(5.0), False, [])
    assert found["n_frames"] == 2
    # Five frames of two audits are a calibration.
    sets = [(2, [frame(1, 1)] * 3), (1, [frame(2, 1)] * 2)]
    found, notes = following(sets, 0.9, found, as_recorded)
    assert (found["factor"], found["calibrated"]) == (pytest.approx(2.0), True)


def test_measured_coverage_counts_frames_below_the_bound():
    frames = [frame(1, 1), frame(2, 1), frame(3, 1), frame(0.1, 0)]
    found = measured_coverage(frames, {"factor": 2.0, "level": 0.9})
    assert found == {"covered": 2, "n_frames": 4, "share": 0.5, "expected": 0.9}
    assert measured_coverage([], {"factor": 2.0, "level": 0.9}) is None
    assert measured_coverage(frames, {"factor": 2.0})["expected"] is None
    assumed = {"factor": 2.0, "level": None, "calibrated": False}
    assert measured_coverage(frames, assumed)["expected"] is None
