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


def one_by_one(rows, reference, weights, n, min_distance):
    """Farthest-point sampling with a pass over all rows for each pick."""
    distance = np.full(len(rows), np.inf)
    for known in reference:
        distance = np.minimum(distance, np.linalg.norm(rows - known, axis=1))
    picks = []
    while len(picks) < n and (open_ := (distance >= min_distance) & (distance > 0)).any():
        reach = np.where(open_, weights * np.where(np.isinf(distance), 1.0, distance), -1.0)
        k = int(reach.argmax())
        picks.append((k, distance[k], int(open_.sum())))
        distance = np.minimum(distance, np.linalg.norm(rows - rows[k], axis=1))
    return picks


@pytest.mark.parametrize("n_reference", [0, 40])
@pytest.mark.parametrize("n_features, min_distance", [(1, 0.0), (2, 0.03), (30, 0.0), (30, 5.0)])
@pytest.mark.parametrize("block", [5, 70, 1024])
def test_many_picks_at_once_are_those_one_by_one(
    monkeypatch, block, n_features, min_distance, n_reference
):
    monkeypatch.setattr(diversity, "_BLOCK", block)
    rng = np.random.default_rng(n_features)
    rows = rng.normal(size=(400, n_features))
    reference = rng.normal(size=(n_reference, n_features))
    weights = rng.uniform(0.01, 1.0, 400)
    picks = farthest_points(rows, reference, weights, 150, min_distance)
    expected = one_by_one(rows, reference, weights, 150, min_distance)
    assert [(p.index, p.left) for p in picks] == [(k, left) for k, _, left in expected]
    np.testing.assert_allclose([p.distance for p in picks], [d for _, d, _ in expected], rtol=1e-6)
