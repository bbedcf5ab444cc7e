"""Draws behind the bounds: closed forms, limits, and how often those of energies hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_audits import MD, least

from mace_core.assess import bounds
from mace_core.assess.bounds import (
    absolute_draws,
    folded_mean,
    from_others,
    log_scatter,
    mean_spread,
    normal,
    pooled,
    ratio_draws,
)

NOTHING = (0.0, 0.0)


@pytest.fixture(autouse=True, scope="module")
def fewer_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "DRAWS", 2000)
        yield


def rng(seed=0):
    return np.random.default_rng(seed)


def test_one_frame_of_each_walk_gives_students_t():
    """With one walk each nothing is known of ρ but its prior, and the mean is Student's."""
    from scipy.stats import t

    values = rng(1).normal(3.0, 0.5, 9)
    draws = np.concatenate(
        [normal(values, range(9), NOTHING, rng(k)).means[:, 0] for k in range(20)]
    )
    student = t(8, values.mean(), values.std(ddof=1) / 3)
    for level in (0.05, 0.5, 0.95):
        assert np.quantile(draws, level) == pytest.approx(student.ppf(level), abs=0.02)


def test_a_prior_is_worth_as_many_values_as_it_says():
    values = [1.0, 1.0]  # no scatter of their own: all of it is the prior's
    found = normal(np.array(values), "ab", (0.25, 4.0), rng())
    assert found.scatter == pytest.approx(0.25 * 4 / 5)
    assert np.mean(1 / found.variance) == pytest.approx(5 / (0.25 * 4), rel=0.05)


def test_values_of_two_cells_have_their_own_means_and_one_variance():
    r = rng(2)
    cells = np.repeat([0, 1], 60)
    values = np.where(cells == 0, -4.0, 7.0) + r.normal(0, 0.3, 120)
    found = normal(values, range(120), NOTHING, rng(), cells)
    assert found.centres == pytest.approx([-4, 7], abs=0.15)
    assert np.sqrt(found.scatter) == pytest.approx(0.3, rel=0.2)
    assert normal(np.array([1.0, 5.0]), "ab", NOTHING, rng(), [0, 1]) is None


def test_a_walks_effect_is_found():
    """Frames of one walk that are much alike tell of the mean little more than one of them."""
    r = rng(3)
    walks = np.repeat(np.arange(6), 10)
    alike = np.repeat(r.normal(size=6), 10) + 0.3 * r.normal(size=60)
    apart = r.permutation(alike)

    def width(values):
        low, high = np.quantile(normal(values, walks, NOTHING, rng()).means[:, 0], [0.05, 0.95])
        return high - low

    assert width(alike) > 1.8 * width(apart)


def test_equal_values_leave_nothing_to_chance_whatever_their_rounding():
    for value in (0.3, 0.1 + 0.2, 1e-9, 12.7, 0.0):
        values = np.array([value, np.nextafter(value, 1), value])
        found = normal(values, "aab", NOTHING, rng())
        assert np.ptp(found.means) <= 1e-14 and found.scatter == 0
        assert absolute_draws(-values, "aab", rng()) == pytest.approx(value, abs=1e-14)


@given(
    st.lists(st.tuples(st.floats(1e-4, 10), st.floats(1e-3, 1)), min_size=1, max_size=12),
    st.floats(1e-3, 1e3),
)
@settings(max_examples=40, deadline=None)
def test_draws_scale_with_the_errors_and_not_with_the_spreads(pairs, factor):
    errors, spreads = np.array(pairs).T
    walks = np.arange(len(pairs)) // 2
    draws = ratio_draws(errors, spreads, walks, rng())
    assert np.all(np.isfinite(draws))
    assert ratio_draws(factor * errors, spreads, walks, rng()) == pytest.approx(factor * draws)
    assert ratio_draws(errors, factor * spreads, walks, rng()) == pytest.approx(draws / factor)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_draws_of_energies_scale_with_their_errors(errors, factor):
    errors = np.round(errors, 6)  # no denormal numbers
    walks = np.arange(len(errors)) // 2
    draws = absolute_draws(errors, walks, rng())
    scaled = absolute_draws(factor * errors, walks, rng())
    assert scaled == pytest.approx(factor * draws, rel=1e-6)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=9), st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_order_of_frames_and_the_names_of_walks_change_nothing(errors, random):
    walks = [k // 2 for k in range(len(errors))]
    order = list(range(len(errors)))
    random.shuffle(order)
    ones = np.ones(len(errors))
    plain = ratio_draws(np.array(errors), ones, walks, rng())
    again = ratio_draws(np.array(errors)[order], ones, [f"w{walks[k]}" for k in order], rng())
    levels = [0.05, 0.5, 0.95]
    assert np.quantile(again, levels) == pytest.approx(np.quantile(plain, levels), rel=0.02)


def test_zero_errors_and_a_single_frame():
    assert not ratio_draws(np.zeros(3), np.ones(3), "abc", rng()).any()
    draws = ratio_draws(np.array([0.02]), np.array([0.01]), "a", rng())
    assert np.median(draws) == pytest.approx(2, rel=0.3) and np.isfinite(draws).all()
    assert absolute_draws(np.array([0.02]), "a", rng()) is None
    known = absolute_draws(np.array([0.02]), "a", rng(), others=(0.01**2, 4.0))
    assert 0.02 < np.quantile(known, 0.95) < 0.06
    some = ratio_draws(np.array([0.0, 0.02, 0.03]), np.ones(3), "abc", rng())
    assert np.isfinite(some).all() and np.quantile(some, 0.95) > 0.03


def test_folded_mean_is_that_of_samples():
    sample = np.abs(0.4 + 0.7 * rng().normal(size=400_000)).mean()
    mean, sigma = np.array([0.4, -0.4, 0.3, 0.0]), np.array([0.7, 0.7, 0.0, 0.0])
    assert folded_mean(mean, sigma) == pytest.approx([sample, sample, 0.3, 0], abs=3e-3)


def test_the_mean_spread_has_each_temperature_alike():
    mean, draws = mean_spread(["300K"] * 3 + ["900K"], [0.1, 0.1, 0.1, 0.5], rng())
    assert mean == pytest.approx(0.3)  # not 0.2
    assert np.median(draws) == pytest.approx(0.3, rel=0.02)
    many = mean_spread(["300K"] * 50, rng(1).lognormal(0, 0.2, 50), rng())[1]
    few = mean_spread(["300K"] * 2, rng(1).lognormal(0, 0.2, 2), rng())[1]
    assert np.std(np.log(few)) > 3 * np.std(np.log(many))


def test_what_other_strata_say_is_pooled_up_to_a_few_frames():
    assert pooled((0.25, 2.0), (1.0, 6.0)) == (pytest.approx(6.5 / 8), 8.0)
    assert pooled(NOTHING) == NOTHING
    scatter = [(9.0, 1.0), (2.0, 10.0), (4.0, 30.0)]
    assert from_others(scatter, 0) == (pytest.approx(6 / 40), bounds.OTHERS_WORTH)
    assert from_others(scatter[:1], 0) == NOTHING
    assert log_scatter(np.array([np.e, 1.0]), np.ones(2)) == (pytest.approx(0.5), 1.0)
    assert (
        log_scatter(np.array([1.0]), np.ones(1)) == log_scatter(np.zeros(3), np.ones(3)) == (0, 0)
    )


ENERGIES = {
    # name: (errors, median of bound over truth at most)
    "about zero": (MD(scatter=2.0), 2.3),
    "a constant": (MD(offset=5.0, scatter=2.0), 1.5),
    "alike within a walk": (MD(scatter=2.0, shared=0.5), 2.2),
    "heavy tails": (MD(scatter=2.0, tails=5), 2.4),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_the_bound_of_energies_holds_as_often_as_it_says(name):
    """Eight frames of four walks; 95 %."""
    md, widest = ENERGIES[name]
    many = rng(9)
    noise = many.standard_t(md.tails, 10**6) if md.tails else many.normal(size=10**6)
    true = np.abs(md.offset + md.scatter * noise).mean() * 1e-3
    n, audits, found = 500, rng(1), []
    for seed in range(n):
        rows, _ = md.audit(audits)
        errors = np.array([row["energy_error"] for row in rows])
        draws = absolute_draws(errors, [row["walker"] for row in rows], rng(seed))
        found.append(np.quantile(draws, 0.95) / true)
    assert np.mean(np.array(found) >= 1) > least(n)
    assert np.median(found) < widest
