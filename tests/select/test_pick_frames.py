"""What is picked, what is not, and what is said about both."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from walkers_on_disk import Campaign, distances, of_role, pair, spacing

from mace_core.conventions import DISCARDED_ENDS
from mace_core.errors import UserError
from mace_core.frames import frame_id
from mace_core.select.candidates import Visited
from mace_core.select.diversity import (
    farthest_points,
    feature_scales,
    frame_features,
    nearest,
)
from mace_core.select.pick import pick_random
from mace_core.select.run import select
from mace_core.storage import read_json
from mace_core.tables import read_table


def candidates(campaign):
    return read_table(campaign.out.parent / "candidates")


def test_only_the_window_is_picked_from(tmp_path):
    c = Campaign(tmp_path, max_frames=20, audit_frames=1, window=[100, 1000])
    c.walker(
        [(3, 7, 0.0999), (4, 8, 0.1), (5, 9, 0.3), (6, 10, 1.0), (7, 11, 1.0001), (10, 12, 0.01)]
    )
    content, frames = c.select()
    assert spacing(of_role(frames, "picked")) == [8, 9, 10]
    assert content["candidates"] == 3
    table = candidates(c).set_index("md_step")
    assert list(table.in_window) == [False, True, True, True, False, False]
    assert table.reason[3] == "uncertainty below the window"
    assert table.reason[7] == "uncertainty above the window"


def test_frames_say_why_and_carry_what_the_next_steps_need(tmp_path):
    c = Campaign(tmp_path, max_frames=1, audit_frames=1)
    c.walker([(10, 5.0, 0.05), (21, 7.0, 0.212), (32, 7.5, 0.1)])
    frames = c.select(generation=3)[1]
    (picked,) = of_role(frames, "picked")
    assert picked.info["why_picked"] == (
        "uncertainty 212 meV/Å in window 100–1500; largest uncertainty × distance of 2 candidates, "
        "0.71 from the nearest labelled or picked frame"
    )
    for f in frames:
        assert f.info["frame_id"] == frame_id(f)
        assert f.info["generation"] == 3
        assert f.info["walker"] == 0 and f.info["group"] == "300K"
        assert f.info["charge"] == 0 and f.info["spin"] == 0
        assert f.info["MACE_uncertainty"] == pytest.approx(
            2.0 * f.arrays["MACE_forces_std"].max(), rel=1e-6
        )
        assert {"MACE_energy", "md_step", "why_picked", "role"} <= set(f.info)
        assert not {"walker_end", "last_good"} & set(f.info)
    (audit,) = of_role(frames, "audit")
    assert audit.info["why_picked"] == "audit of Ar2: drawn at random from 1 visited frames"


def test_the_end_of_an_uncertain_walk_is_a_candidate_and_of_a_discarded_one_is_not(tmp_path):
    c = Campaign(tmp_path, max_frames=20, audit_frames=1)
    c.walker([(10, 5.0, 0.01), (15, 8.0, 1.2)], "uncertain")
    for end in sorted(DISCARDED_ENDS):
        c.walker([(14, 9.0, 0.05), (15, 10.0, 1.2)], end)
    content, frames = c.select()
    assert spacing(of_role(frames, "picked")) == [8.0]
    assert content["visited"] == 14 and content["sane"] == 8
    assert {"ended a walk: fragmented", "ended a walk: evaporated"} < set(candidates(c).reason)
    assert [w["end"] for w in content["walkers"]][1:] == sorted(DISCARDED_ENDS)


def test_uncertainty_is_a_weight_on_distance(tmp_path):
    c = Campaign(tmp_path, max_frames=1, audit_frames=1)
    c.walker([(10, 5.0, 0.01), (11, 7.0, 0.9), (12, 8.0, 0.3)])  # 1 × 0.9 beats 2 × 0.3
    assert spacing(of_role(c.select()[1], "picked")) == [7.0]


def test_the_table_has_a_row_for_each_visited_frame_with_its_fate(tmp_path):
    c = Campaign(tmp_path, training=(4.0, 6.0), max_frames=1, audit_frames=1, min_distance=0.1)
    c.walker([(10, 5.0, 0.01), (11, 6.02, 0.3), (12, 6.0, 0.3), (13, 9.0, 0.3), (14, 8.0, 0.3),
              (15, 9.03, 0.2)])  # fmt: skip
    content, frames = c.select()
    table = candidates(c).set_index("md_step")
    assert len(table) == 6
    known = {round(d, 3): pair(d).info["frame_id"] for d in (6.0, 9.0)}
    assert table.role[10] == "audit" and not table.picked[10]
    assert table.duplicate_of[11] == known[6.0] and "near-duplicate" in table.reason[11]
    assert table.duplicate_of[12] == known[6.0] and "training set" in table.reason[12]
    assert table.role[13] == "picked" and table.picked[13]
    assert table.reason[14] == "the budget of 1 went to others"
    assert table.duplicate_of[15] == known[9.0]
    chosen = set(table.frame_id[table.role.notna()])
    assert chosen == {f.info["frame_id"] for f in frames}
    assert content == read_json(c.out.parent / "select.json")
    assert (c.out.parent / "candidates.csv").read_text().count("\n") == 7


def test_no_candidates_is_no_error_but_is_said_loudly(tmp_path):
    c = Campaign(tmp_path, audit_frames=2)
    c.walker([(10, 5.0, 0.01), (20, 5.5, 0.02), (30, 5.8, 0.03)])
    content, frames = c.select()
    assert content["picked"] == content["candidates"] == 0
    assert content["audit"] == len(frames) == 2
    assert "NO CANDIDATES" in content["message"] and "10–30" in content["message"]


def test_walks_that_left_nothing_give_an_empty_file(tmp_path):
    c = Campaign(tmp_path)
    c.walker([], None).walker([], None)
    content, frames = c.select()
    assert frames == [] and c.out.read_bytes() == b""
    assert content["audit_source"] == "none"
    assert len(candidates(c)) == 0


def test_short_walks_give_a_biased_audit_that_says_so(tmp_path):
    c = Campaign(tmp_path, audit_frames=2)
    c.walker([(2, 5.0, 0.9), (3, 5.3, 1.2)], "uncertain").walker([(4, 7.0, 1.2)], "uncertain")
    content, frames = c.select()
    assert content["audit"] == 2 and content["audit_source"] == "ends"
    assert "biased" in content["message"]
    assert all("short walks" in f.info["why_picked"] for f in of_role(frames, "audit"))


def test_a_frame_visited_twice_is_labelled_once(tmp_path):
    c = Campaign(tmp_path, max_frames=20, audit_frames=1, min_distance=0)
    c.walker([(10, 5.0, 0.3), (20, 8.0, 0.3)]).walker([(10, 5.0, 0.3), (20, 8.0, 0.3)])
    _, frames = c.select()
    assert spacing(frames) == [5.0, 8.0]


def test_random_strategy_ignores_the_window_and_the_uncertainty(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10 * k, 6 + 0.1 * k, 0.01 * k) for k in range(1, 21)])
    c.walker([(5, 9.0, 1.4)], "energy_runaway")
    drawn = set()
    for seed in range(20):
        cfg = c.configured(seed=seed, strategy="random", max_frames=8, audit_frames=1)
        _, frames = c.select(cfg)
        picked = of_role(frames, "picked")
        assert len(picked) == 8
        assert picked[0].info["why_picked"] == "drawn at random from 19 frames"
        drawn |= {int(f.info["md_step"]) for f in picked}
    assert drawn == set(range(10, 210, 10))  # a sane frame each, above and below the window


def test_random_strategy_draws_evenly(tmp_path):
    pool = [Visited(pair(4 + k), 0, "300K", k, 0.1 * k, True, True, False) for k in range(20)]
    settings = Campaign(tmp_path, max_frames=5).config.select
    counts = np.zeros(20)
    for seed in range(2000):
        for v, _ in pick_random(pool, settings, np.random.default_rng(seed)).frames:
            counts[v.md_step] += 1
    # Each is binomial(2000, 1/4): five standard deviations are 97.
    assert counts.sum() == 10000 and np.abs(counts - 500).max() < 97


def test_the_same_plan_selects_the_same_frames(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10 * k, 5 + 0.1 * k, 0.2) for k in range(1, 41)])
    c.select()
    first = c.out.read_bytes()
    c.select()
    assert c.out.read_bytes() == first
    c.select(generation=2)
    assert c.out.read_bytes() != first


def test_a_missing_record_of_a_walk_is_a_message(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10, 5.0, 0.3)])
    c.walkers[0].with_suffix(".json").unlink()
    with pytest.raises(UserError, match="no record of how the walk ended"):
        c.select()
    with pytest.raises(UserError, match="file not found"):
        select(c.config, 1, tmp_path / "committee.json", tmp_path / "no.extxyz", [], c.out)


@given(
    spots=st.lists(st.integers(0, 400), min_size=1, max_size=40),
    min_distance=st.sampled_from([0.0, 0.02, 0.1, 0.5]),
    max_frames=st.integers(0, 12),
    audit_frames=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_budget_window_and_least_distance_hold(spots, min_distance, max_frames, audit_frames, seed):
    with tempfile.TemporaryDirectory() as folder:
        c = Campaign(Path(folder), training=(4.0, 6.0), min_distance=min_distance)
        rng = np.random.default_rng(seed)
        c.walker([(5 * k, 3 + 0.01 * s, rng.uniform(0, 2)) for k, s in enumerate(spots, 1)], None)
        config = c.configured(
            seed=seed, min_distance=min_distance, max_frames=max_frames, audit_frames=audit_frames
        )
        content, frames = c.select(config)
        picked, audit = of_role(frames, "picked"), of_role(frames, "audit")
        assert len(picked) <= max_frames and len(audit) <= audit_frames
        assert len({f.info["frame_id"] for f in frames}) == len(frames)
        assert all(0.1 <= f.info["MACE_uncertainty"] <= 1.5 for f in picked)
        scale = np.sqrt(2)  # training pairs at 4 and 6: deviations of ±1, one degree of freedom
        at = [f.get_distance(0, 1) for f in picked]
        known = [4.0, 6.0, *(f.get_distance(0, 1) for f in audit)]
        for k, d in enumerate(at):
            others = np.array(known + at[:k])
            assert np.abs(others - d).min() / scale >= min_distance - 1e-9
        # Maximal: with budget left, whatever remains in the window is a near-duplicate.
        if len(picked) < max_frames:
            table = candidates(c)
            left = table[table.in_window & table.role.isna()]
            assert left.duplicate_of.notna().all()
        assert content["candidates"] >= len(picked)


def _slow_farthest(features, reference, weights, n, min_distance):
    """Farthest-point sampling as one would say it, without bookkeeping."""
    chosen, order = [*reference], []
    while len(order) < n:
        best = None
        for k, row in enumerate(features):
            d = min((np.linalg.norm(row - c) for c in chosen), default=np.inf)
            if k in order or d < min_distance or d == 0:
                continue
            score = weights[k] * (1.0 if np.isinf(d) else d)
            if best is None or score > best[0]:
                best = score, k
        if best is None:
            break
        order.append(best[1])
        chosen.append(features[best[1]])
    return order


@given(
    seed=st.integers(0, 10**6),
    n_rows=st.integers(0, 15),
    n_reference=st.integers(0, 4),
    n=st.integers(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_farthest_points_are_those_of_the_plain_algorithm(seed, n_rows, n_reference, n):
    rng = np.random.default_rng(seed)
    rows, reference = rng.normal(size=(n_rows, 3)), rng.normal(size=(n_reference, 3))
    weights = rng.uniform(0.1, 1, n_rows)
    picks = farthest_points(rows, reference, weights, n, 0.3)
    assert [p.index for p in picks] == _slow_farthest(rows, reference, weights, n, 0.3)


def test_features_do_not_see_the_order_or_the_number_of_like_atoms():
    rng = np.random.default_rng(0)
    water = Atoms("OHH", positions=rng.normal(size=(3, 3)))
    values = rng.normal(size=(3, 4))
    one = frame_features([water], [values], [1, 8])
    order = [2, 0, 1]
    assert frame_features([water[order]], [values[order]], [1, 8]) == pytest.approx(one)
    assert frame_features([water + water], [np.vstack([values] * 2)], [1, 8]) == pytest.approx(one)
    # An element that is missing contributes zeros in its own block.
    oxygen = frame_features([water[[0]]], [values[[0]]], [1, 8])
    assert oxygen[0, :4] == pytest.approx(np.zeros(4))
    assert oxygen[0, 4:] == pytest.approx(values[0])


def test_scales_are_the_spread_of_like_frames_and_each_elements_own():
    water, ethane = Atoms("OHH"), Atoms("C2H6")
    frames = [water, water, ethane, ethane]
    # Blocks of H, C, O with one feature; water and ethane differ far more than like frames do.
    features = np.array([[100.0, 0, 1], [102.0, 0, 9], [500.0, 3, 0], [502.0, 3, 0]])
    scales = feature_scales(frames, features, 3)
    # H: deviations ±1 in two groups; C: no spread, so its norm; O: deviations ±4 in one group.
    assert scales == pytest.approx([np.sqrt(2), 3.0, np.sqrt(32)])
    assert feature_scales([water], np.zeros((1, 4)), 2) == pytest.approx(np.ones(4))


def test_nearest():
    rows = np.array([[0.0], [3.0]])
    distance, index = nearest(rows, np.array([[1.0], [2.5]]))
    assert list(distance) == [1.0, 0.5] and list(index) == [0, 1]
    distance, index = nearest(rows, np.empty((0, 1)))
    assert np.isinf(distance).all() and list(index) == [-1, -1]


def test_fake_descriptor_is_the_distance():
    assert distances([pair(4.5)])[0][0, 0] == pytest.approx(4.5)
