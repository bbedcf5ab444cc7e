"""Factors over simulated campaigns of which the truth is known: coverage, and outliers.

Frame i has hardness h_i; a committee of scale c has the spread c·h_i·exp(a·x) and the error
2·c·h_i·exp(b·z) there, so that scores are lognormal with median 2. The next committee is surer of
the frame, since it trained on it: its spread is 0.5·c·h_i·exp(a·x').
"""

import math

import numpy as np
import pytest
from ase import Atoms
from scipy.stats import norm

from mace_core.assess.calibration import calibrate

A, B, MEDIAN = 0.25, 0.35, 2.0
SCATTER = math.hypot(A, B)


class History:
    """Audits of some generations, newest first, and what the newest committee says of them."""

    def __init__(self, rng, n, generations=3):
        self.now = {}
        self.sets = []
        for g in range(generations, 0, -1):
            hardness, x = np.exp(0.6 * rng.normal(size=n)), rng.normal(size=n)
            spread = hardness * np.exp(A * x) / g
            error = MEDIAN * hardness * np.exp(B * rng.normal(size=n)) / g
            now = hardness * np.exp(A * rng.normal(size=n)) / generations / 2
            frames = [self.frame(e, s) for e, s in zip(error, spread, strict=True)]
            self.now |= {id(atoms): float(s) for atoms, s in zip(frames, now, strict=True)}
            self.sets.append((g, frames))

    @staticmethod
    def frame(error, spread):
        atoms = Atoms("H")
        atoms.arrays["REF_forces"] = np.zeros((1, 3))
        atoms.arrays["MACE_forces"] = np.array([[error, 0.0, 0.0]])
        atoms.arrays["MACE_forces_std"] = np.array([spread])
        return atoms

    def error_times(self, factor, generation, frames=slice(None)):
        for atoms in dict(self.sets)[generation][frames]:
            atoms.arrays["MACE_forces"] *= factor

    def calibration(self, coverage=0.9):
        return calibrate(
            self.sets, coverage, spread_now=lambda frames: [self.now[id(a)] for a in frames]
        )


def covered(factor):
    """P(score ≤ factor) of a new frame, exactly."""
    return norm.cdf(math.log(factor / MEDIAN) / SCATTER)


def histories(rng, n, trials, change=None):
    for _ in range(trials):
        history = History(rng, n)
        if change:
            change(history)
        yield history.calibration()


@pytest.mark.parametrize("n", [2, 4, 5, 6, 8, 12])
def test_coverage_holds_over_thousands_of_histories(n):
    found = list(histories(np.random.default_rng(n), n, 2000))
    share = np.array([covered(c["factor"]) for c in found])
    level = np.array([c["level"] for c in found])
    error = share.std() / math.sqrt(len(found))
    assert share.mean() > level.mean() - 3 * error
    assert level.mean() > 1 - 1.5 * 0.1 - 0.01
    # A factor that is far too large is no calibration either.
    assert share.mean() < level.mean() + 0.04


@pytest.mark.parametrize("n", [6, 8, 12])
def test_one_outlier_sets_the_factor_of_one_generation_only(n):
    """A frame, or a whole audit, five times as wrong as usual; the next factor is as ever."""
    for change in (
        lambda history: history.error_times(5, 2, slice(0, 1)),
        lambda history: history.error_times(5, 2),
    ):
        spoilt = [c["factor"] for c in histories(np.random.default_rng(1), n, 500, change)]
        sound = [c["factor"] for c in histories(np.random.default_rng(1), n, 500)]
        assert spoilt == sound


def test_few_new_frames_seldom_meet_the_outlier_that_the_newest_committee_sees_otherwise():
    """Four new frames take two or three of eight older ones: those seen most alike."""

    def overconfident(history):
        _, frames = history.sets[1]
        frames[0].arrays["MACE_forces_std"] /= 5  # its score is five times as large

    rng = np.random.default_rng(4)
    factors = []
    for _ in range(1000):
        history = History(rng, 8)
        history.sets[0] = (3, history.sets[0][1][:4])
        overconfident(history)
        factors.append(history.calibration()["factor"])
    # In all of them the outlier is the largest of twelve scores, and pooled without weights the
    # factor.
    assert np.mean(np.array(factors) > 5 * MEDIAN * 0.7) < 0.1
    assert np.mean([covered(f) for f in factors]) > 0.84
