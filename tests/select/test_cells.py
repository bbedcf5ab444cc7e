"""Sampling in cells: what holds as in farthest-point sampling, how near it comes, how it grows."""

from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mace_core.select import cells, diversity
from mace_core.select.cells import divide, sample
from mace_core.select.diversity import farthest_points, nearest


@contextmanager
def small_cells(size=16, overlap=2):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "BUDGET", -1)
        patch.setattr(cells, "CELL", size)
        patch.setattr(cells, "OVERLAP", overlap)
        yield


def cloud(seed, n, n_features=5):
    return np.random.default_rng(seed).normal(size=(n, n_features))


def indices(found):
    return [pick.index for pick in found.picks]


def left(rows, known, picked):
    """Distance of each row to the nearest known or picked one."""
    return nearest(rows, np.concatenate([known, rows[picked]]))[0]


sizes = {
    "seed": st.integers(0, 10**6),
    "n_rows": st.integers(0, 150),
    "n_known": st.integers(0, 100),
    "n": st.integers(0, 80),
}


@given(**sizes)
def test_within_the_budget_it_is_farthest_point_sampling(seed, n_rows, n_known, n):
    rows, known = cloud(seed, n_rows), cloud(seed + 1, n_known)
    weights = np.random.default_rng(seed).uniform(0.1, 1, n_rows)
    assert sample(rows, known, weights, n, 0.3).picks == farthest_points(
        rows, known, weights, n, 0.3
    )


@given(**sizes)
def test_every_row_is_in_one_bounded_cell(seed, n_rows, n_known, n):
    rows, known = cloud(seed, n_rows), cloud(seed + 1, n_known)
    with small_cells():
        found = divide(rows, known, n)
    assert sorted(k for cell in found for k in cell.rows) == list(range(n_rows))
    owned = [k for cell in found for k in cell.reference]
    assert len(owned) == len(set(owned))
    for cell in found:
        assert len(cell.rows) + len(cell.reference) <= 16
        assert len(cell.known) or not n_known
        assert len(cell.lent) <= 2 * 20  # two for each cut; a cut leaves at most three quarters


@given(**sizes, min_distance=st.sampled_from([0.0, 0.5]), copies=st.booleans())
def test_no_row_is_picked_twice_nor_a_copy(seed, n_rows, n_known, n, min_distance, copies):
    rows, known = cloud(seed, n_rows), cloud(seed + 1, n_known)
    if copies:
        rng = np.random.default_rng(seed)
        source = np.concatenate([rows, known])
        rows = source[rng.integers(0, max(1, len(source) // 4), n_rows)] if n_rows else rows
    weights = np.random.default_rng(seed).uniform(0.1, 1, n_rows)
    with small_cells():
        found = sample(rows, known, weights, n, min_distance)
        again = sample(rows, known, weights, n, min_distance)
        parts = divide(rows, known, n)
    assert found == again
    picked = indices(found)
    assert len(picked) <= n
    assert len({row.tobytes() for row in rows[picked]}) == len(picked)
    assert not {row.tobytes() for row in rows[picked]} & {row.tobytes() for row in known}
    reach = [weights[p.index] * p.distance for p in found.picks]
    assert all(a >= b - 1e-12 for a, b in pairwise(reach))
    for cell in parts:
        ours = [k for k in picked if k in set(cell.rows)]
        for j, k in enumerate(ours):
            others = np.concatenate([known[cell.known], rows[ours[:j]]])
            assert nearest(rows[[k]], others)[0] >= min_distance - 1e-9
    # With budget left, what is not picked is said to be a near-duplicate, and is one.
    if len(picked) < n:
        assert set(range(n_rows)) == set(picked) | set(found.near_reference) | set(found.near_pick)
    for near, others in ((found.near_reference, known), (found.near_pick, rows)):
        for k, other in near.items():
            distance = np.linalg.norm(rows[k] - others[other])
            assert distance == 0 or distance < min_distance + 1e-9


@given(seed=st.integers(0, 10**6), n_rows=st.integers(20, 200), share=st.floats(0.3, 0.9))
def test_cover_is_within_twice_that_of_fewer_picks(seed, n_rows, share):
    """n + 1 rows, those of a cell r apart: of any n / n_cells balls one holds two of one cell."""
    rows, nothing, n = cloud(seed, n_rows, 3), np.empty((0, 3)), int(share * n_rows)
    with small_cells():
        n_cells = len(divide(rows, nothing, n))
        picked = indices(sample(rows, nothing, np.ones(n_rows), n, 0.0))
    fewer = [p.index for p in farthest_points(rows, nothing, np.ones(n_rows), n // n_cells, 0.0)]
    if fewer:
        radius = left(rows, nothing, fewer).max()
        assert left(rows, nothing, picked).max() <= 2 * radius + 1e-9


@pytest.mark.parametrize("shape", ["cloud", "sheet"])
def test_cover_is_nearly_that_of_all_compared_with_all(shape):
    rows = cloud(0, 1500, 60 if shape == "cloud" else 4)
    if shape == "sheet":
        rows = np.sin(rows @ cloud(1, 4, 60) / 3)
    rows, known, weights = rows[500:], rows[:500], np.random.default_rng(2).uniform(0.3, 1, 1000)
    exact = left(rows, known, indices(sample(rows, known, weights, 500, 0.0)))
    with small_cells(128, 16):
        assert len(divide(rows, known, 500)) > 10
        mine = left(rows, known, indices(sample(rows, known, weights, 500, 0.0)))
    drawn = left(rows, known, np.arange(500))
    assert mine.mean() < 1.02 * exact.mean()
    assert (weights * mine).max() < 1.12 * (weights * exact).max()
    assert (weights * drawn).max() > 1.5 * (weights * exact).max()


def test_clusters_are_sampled_as_by_all_compared_with_all():
    """Cuts fall between them, so that no border is near any row."""
    centres = 1e3 * cloud(0, 12)
    rows = np.concatenate([c + cloud(k, 12) for k, c in enumerate(centres)])
    known = centres + 0.1
    exact = sample(rows, known, np.ones(144), 70, 0.5)
    with small_cells(30, 0):
        assert len(divide(rows, known, 70)) > 4
        mine = sample(rows, known, np.ones(144), 70, 0.5)
    assert indices(mine) == indices(exact)
    assert mine.near_reference == exact.near_reference


def test_the_order_of_rows_does_not_matter():
    rows, known, weights = cloud(0, 300), cloud(1, 100), np.linspace(0.3, 1, 300)
    order = np.random.default_rng(3).permutation(300)
    with small_cells():
        one = indices(sample(rows, known, weights, 120, 0.1))
        other = indices(sample(rows[order], known[::-1], weights[order], 120, 0.1))
    assert one == order[other].tolist()


@pytest.mark.parametrize("known", [0, 400])
def test_rows_that_are_the_same_end(known):
    rows = np.concatenate([np.ones((500, 3)), cloud(0, 100, 3)])
    with small_cells():
        found = sample(rows, rows[:known], np.ones(600), 600, 0.0)
        parts = divide(rows, rows[:known], 600)
    assert len(found.picks) == 100 + (not known)
    same = [cell for cell in parts if set(range(500)) <= set(cell.rows)]
    assert len(same) == 1 and len(same[0].reference) <= 1


def distances_computed(monkeypatch, n):
    """Distances for n picks of 2 n rows with n known."""
    computed, real = [], diversity._distances

    def counting(rows, others):
        computed.append(len(rows) * len(others))
        return real(rows, others)

    rows = cloud(0, 3 * n, 10)
    with monkeypatch.context() as patch:
        patch.setattr(diversity, "_distances", counting)
        patch.setattr(diversity, "_BLOCK", 32)
        sample(rows[n:], rows[:n], np.ones(2 * n), n, 0.0)
    return sum(computed)


def test_distances_grow_as_the_rows(monkeypatch):
    few, many = (distances_computed(monkeypatch, n) for n in (200, 1600))
    assert many > 40 * few  # all with all: 64 times
    with small_cells(128, 8):
        few, many = (distances_computed(monkeypatch, n) for n in (200, 1600))
    assert many < 10 * few


def test_ordinary_campaigns_are_sampled_as_a_whole():
    """20 generations of 500 labels, and 8000 new frames."""
    assert len(divide(np.zeros((8000, 1)), np.zeros((10_000, 1)), 500)) == 1
