"""Distances by matrix products are those by differences, far from the origin and at zero too."""

import numpy as np
import pytest

from mace_core.select import diversity
from mace_core.select.diversity import farthest_points, nearest


@pytest.fixture(params=[3, 1024])
def points(request, monkeypatch):
    monkeypatch.setattr(diversity, "_BLOCK", request.param)
    rng = np.random.default_rng(0)
    rows, reference = (rng.normal(size=(n, 301)) + 1e3 for n in (50, 30))
    rows[:8] = reference[20:28]
    rows[9] = rows[8]
    return rows, reference


def test_nearest(points):
    rows, reference = points
    all_of_them = np.linalg.norm(rows[:, None] - reference[None], axis=2)
    distance, index = nearest(rows, reference)
    np.testing.assert_allclose(distance, all_of_them.min(axis=1), rtol=1e-6)
    assert (index == all_of_them.argmin(axis=1)).all()
    assert (distance[:8] == 0.0).all()


def test_the_same_point_is_never_picked_twice(points):
    rows, reference = points
    picks = [p.index for p in farthest_points(rows, reference, np.ones(50), 50, 0.0)]
    assert len(picks) == len(set(picks)) == 41
    assert min(picks) >= 8 and not {8, 9} <= set(picks)


def test_each_pick_is_the_farthest_of_the_rest(points):
    rows, reference = points
    known = list(reference)
    for pick in farthest_points(rows, reference, np.ones(50), 10, 0.0):
        distance = np.linalg.norm(rows[:, None] - np.array(known)[None], axis=2).min(axis=1)
        assert pick.index == distance.argmax()
        assert pick.distance == pytest.approx(distance.max(), rel=1e-6)
        known.append(rows[pick.index])
