"""The audit is shared out over strata and their walks; the final exam has its own draw."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walkers_on_disk import Campaign, of_role, pair

from mace_core.select.audit import draw_audit, shares
from mace_core.select.candidates import Visited
from mace_core.storage import read_json
from mace_core.tables import read_table

FRAME = pair(3.0)


def walks(frames_left, exam=False):
    """Visited frames and ends from {stratum: regular frames that each of its walks left}."""
    visited, ends = [], []
    for stratum, numbers in frames_left.items():
        for n in numbers:
            w = len(ends)
            ends.append({"walker": w, "stratum": stratum, "exam": exam})
            visited += [
                Visited(FRAME, w, "300K", 10 * k, 0.1, True, True, False, stratum, exam)
                for k in range(1, n + 1)
            ]
    return visited, ends


def counts(audit):
    return Counter(v.stratum for v in audit.frames)


def drawn(frames_left, n, generation=1, strata=(), seed=0):
    visited, ends = walks(frames_left)
    return draw_audit(visited, n, np.random.default_rng(seed), generation, strata, ends)


@given(n=st.integers(0, 40), room=st.lists(st.integers(0, 9), max_size=8))
def test_shares_are_as_even_as_the_room_allows(n, room):
    dealt = shares(n, room)
    assert sum(dealt) == min(n, sum(room))
    assert all(0 <= d <= most for d, most in zip(dealt, room, strict=True))
    if dealt:  # who has less than another is full, or comes after it in the last round
        highest = max(dealt)
        for k, (d, most) in enumerate(zip(dealt, room, strict=True)):
            assert d in (highest, highest - 1) or d == most
            if d == highest - 1 and d < most:
                assert not any(other == highest for other in dealt[k + 1 :])


LEFT = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    min_size=1,
)


@settings(max_examples=200, deadline=None)
@given(left=LEFT, n=st.integers(1, 25), generation=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_audit_is_even_over_strata_and_over_their_walks(left, n, generation, seed):
    audit = drawn(left, n, generation, seed=seed)
    assert len({id(v) for v in audit.frames}) == len(audit.frames)
    total = sum(map(sum, left.values()))
    assert len(audit.frames) == min(n, total) and audit.pool == total
    if not total:
        assert audit.source == "none"
        return
    by_stratum = counts(audit)
    asked = {name: row["asked"] for name, row in audit.strata.items()}
    assert sum(asked.values()) == n and max(asked.values()) - min(asked.values()) <= 1
    for name, numbers in left.items():
        row = audit.strata[name]
        assert row["drawn"] == by_stratum[name] >= min(asked[name], sum(numbers))
        assert (row["walkers"], row["visited"]) == (len(numbers), sum(numbers))
        # No walk of a stratum has two more than another one that has frames left.
        walkers = sorted({v["walker"] for v in walks(left)[1] if v["stratum"] == name})
        per_walk = Counter(v.walker for v in audit.frames)
        for w, most in zip(walkers, numbers, strict=True):
            if per_walk[w] < most:
                assert max(per_walk[other] for other in walkers) - per_walk[w] <= 1
    again = drawn(left, n, generation, seed=seed)
    assert [(v.walker, v.md_step) for v in again.frames] == [
        (v.walker, v.md_step) for v in audit.frames
    ]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 12), n_strata=st.integers(1, 7))
def test_strata_take_turns_with_the_generations(n, n_strata):
    left = {f"s{k}": [20, 20] for k in range(n_strata)}
    totals = Counter()
    for g in range(1, n_strata + 1):
        totals += counts(drawn(left, n, g, seed=g))
    assert {totals[name] for name in left} == {n}


def test_where_strata_are_walked_in_turn_none_is_left_out_for_good():
    names = [f"s{k}" for k in range(4)]
    totals = Counter()
    for g in range(1, 41):  # two of four are walked, and one of these audited
        walked = sorted(names[(2 * (g - 1) + k) % 4] for k in range(2))
        audit = drawn({name: [9] for name in walked}, 1, g, names, seed=g)
        assert set(audit.strata) == set(names)
        assert {row["walkers"] for row in audit.strata.values()} == {0, 1}
        totals += counts(audit)
    # Each is binomial(20, 1/2): four is 2.7 standard deviations below.
    assert min(totals[name] for name in names) >= 4


def test_every_frame_of_a_walk_and_every_walk_of_a_stratum_comes_up_equally_often():
    left = {"a": [10, 10, 10], "b": [4]}
    totals, draws = Counter(), 3000
    for seed in range(draws):
        totals += Counter((v.walker, v.md_step) for v in drawn(left, 4, seed=seed).frames)
    # 2 of 30 frames of a, 2 of 4 of b; five standard deviations.
    for (w, _), count in totals.items():
        share = 0.5 if w == 3 else 2 / 30
        assert abs(count - draws * share) < 5 * np.sqrt(draws * share * (1 - share))
    assert len(totals) == 34


def test_short_walks_leave_their_share_to_their_stratum_first_and_it_is_said():
    audit = drawn({"a": [0, 9], "b": [9, 9]}, 8)
    assert counts(audit) == {"a": 4, "b": 4}
    assert Counter(v.walker for v in audit.frames) == {1: 4, 2: 2, 3: 2}
    assert audit.message == (
        "too few frames for an even share of the audit, which other walks have taken: walker 0"
    )
    audit = drawn({"a": [1, 0], "b": [9, 9]}, 8)
    assert counts(audit) == {"a": 1, "b": 7}
    assert "a: 1 of 4 audit frames, its walks left no more" in audit.message
    assert audit.strata["a"] == {"asked": 4, "drawn": 1, "walkers": 2, "visited": 1}
    assert audit.strata["b"] == {"asked": 4, "drawn": 7, "walkers": 2, "visited": 18}


@pytest.fixture
def two_molecules(tmp_path):
    c = Campaign(tmp_path, max_frames=4, audit_frames=8).strata("acid.xyz", "amide.xyz", "x.xyz")
    for w in range(4):
        visited = [(10 * k, 4.53 + 3 * w + 0.1 * k, 0.3) for k in range(1, 16)]
        c.walker(visited, stratum=["acid.xyz", "amide.xyz"][w % 2])
    return c


@pytest.mark.parametrize("seed", range(3))
def test_two_molecules_have_four_of_eight_audit_frames_each(two_molecules, seed):
    c = two_molecules
    content, frames = c.select(c.configured(seed=seed, max_frames=4, audit_frames=8))
    audit = of_role(frames, "audit")
    assert Counter(f.info["stratum"] for f in audit) == {"acid.xyz": 4, "amide.xyz": 4}
    assert Counter(f.info["walker"] for f in audit) == dict.fromkeys(range(4), 2)
    assert content["audit"] == content["audit_asked"] == 8 and content["exam"] is None
    row = {"asked": 4, "drawn": 4, "walkers": 2, "visited": 30}
    none = dict.fromkeys(row, 0)
    assert content["audit_strata"] == {"acid.xyz": row, "amide.xyz": row, "x.xyz": none}
    for f in audit:
        assert f.info["why_picked"] == (
            f"audit of {f.info['stratum']}: drawn at random from 30 visited frames"
        )
    assert all(f.info["stratum"] for f in of_role(frames, "picked"))
    assert (
        "8 audit frames (4 of acid.xyz, 4 of amide.xyz, not walked: x.xyz);" in content["message"]
    )
    table = read_table(c.out.parent / "candidates")
    assert set(table.stratum) == {"acid.xyz", "amide.xyz"}
    assert "exam" not in {key for f in frames for key in f.info}


def test_a_stratum_whose_walks_all_ended_at_once_is_counted_and_named(tmp_path):
    c = Campaign(tmp_path, audit_frames=4).strata("a", "b")
    c.walker([(10 * k, 5 + 0.1 * k, 0.3) for k in range(1, 9)], stratum="a")
    c.walker([(3, 9.0, 1.2)], "uncertain", stratum="b").walker([], None, stratum="b")
    content, frames = c.select()
    assert {f.info["stratum"] for f in of_role(frames, "audit")} == {"a"}
    assert content["audit_source"] == "regular"
    assert content["audit_strata"]["b"] == {"asked": 2, "drawn": 0, "walkers": 2, "visited": 0}
    assert "b: 0 of 2 audit frames, its walks left no more" in content["message"]


EXAM = {"strata": ["a", "b", "c"], "steps": 400, "frames": 4}


@pytest.fixture
def examined(tmp_path):
    c = Campaign(tmp_path, max_frames=3, audit_frames=4).strata("a", "b", "c")
    for w in range(2):
        visited = [(10 * k, 5 + w + 0.01 * k, 0.3) for k in range(1, 11)]
        c.walker(visited, stratum="ab"[w])
    c.walker([(10 * k, 8 + 0.01 * k, 0.3) for k in range(1, 41)], stratum="a", exam=True)
    c.walker([(10, 9, 0.3), (20, 9.1, 0.3), (22, 9.2, 1.1)], "uncertain", stratum="b", exam=True)
    return c.walker([], None, stratum="c", exam=True)


def test_the_exam_draws_one_frame_of_each_part_of_its_walks_and_the_audit_none(examined):
    steps = Counter()
    for seed in range(60):
        config = examined.configured(seed=seed, max_frames=3, audit_frames=4)
        content, frames = examined.select(config, generation=3, exam=EXAM)
        audit = of_role(frames, "audit")
        regular = [f for f in audit if not f.info.get("exam")]
        assert {f.info["walker"] for f in regular} == {0, 1} and len(regular) == 4
        exam = [f for f in audit if f.info.get("exam")]
        assert Counter(f.info["stratum"] for f in exam) == {"a": 4, "b": 2}
        own = [f.info["md_step"] for f in exam if f.info["stratum"] == "a"]
        assert [(step - 10) // 100 for step in own] == [0, 1, 2, 3]
        steps += Counter(own)
        assert all(f.info["group"] == "300K" and f.info["walker"] in (2, 3) for f in exam)
    assert len(steps) > 30  # at random within the parts
    # Frames that exam walks visited may be picked, and are of no exam then.
    assert not any("exam" in f.info for f in of_role(frames, "picked"))
    assert exam[0].info["why_picked"].startswith("final exam of a:")
    assert content["exam"] == {
        "a": {"asked": 4, "drawn": 4},
        "b": {"asked": 4, "drawn": 2},
        "c": {"asked": 4, "drawn": 0},
    }
    assert (content["audit"], content["audit_asked"]) == (4, 4)
    assert content["audit_strata"]["a"] == {"asked": 2, "drawn": 2, "walkers": 1, "visited": 10}
    assert content["audit_strata"]["c"] == {"asked": 0, "drawn": 0, "walkers": 0, "visited": 0}
    assert "6 frames of the final exam of 3 strata" in content["message"]
    assert "c: 0 of 4 frames of the final exam" in content["message"]
    assert len({f.info["frame_id"] for f in frames}) == len(frames) == 4 + 6 + content["picked"]


def test_the_exam_does_not_change_the_audit(examined):
    with_exam = [f.info["frame_id"] for f in examined.select(exam=EXAM)[1][:4]]
    for path in examined.walkers[2:]:
        path.unlink()
    del examined.walkers[2:]
    assert [f.info["frame_id"] for f in examined.select()[1][:4]] == with_exam


def test_walks_of_an_earlier_version_are_one_stratum_a_composition(tmp_path):
    c = Campaign(tmp_path, audit_frames=4)
    c.walker([(10 * k, 5 + 0.1 * k, 0.3) for k in range(1, 9)]).walker([], None)
    content, frames = c.select()
    assert content["audit_strata"] == {"Ar2": {"asked": 4, "drawn": 4, "walkers": 1, "visited": 8}}
    assert {f.info["stratum"] for f in frames} == {"Ar2"}
    assert "stratum" not in read_json(c.walkers[0].with_suffix(".json"))
