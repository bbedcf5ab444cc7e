"""Errors of the whole, of strata, elements and temperatures, from rows of known errors."""

import numpy as np
import pytest
from audit_rows import frame, measured, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from mace_core.assess import bounds
from mace_core.assess.parts import by_part, by_stratum, elements_of, force_bounds, group_of, newest

MEV = 1e-3


@pytest.fixture(autouse=True, scope="module")
def fewer_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "DRAWS", 2000)
        yield


def of(found):
    return found["audit_frames"], found["walks"]


def test_the_whole_is_weighed_by_what_was_visited_whatever_the_audit_drew():
    """Three quarters of the MD are of ``a``; of ``b`` there are more audit frames."""
    rows = [frame(10, stratum="a", walker=0, number=k) for k in range(2)]
    rows += [frame(50, stratum="b", walker=1, number=k) for k in range(6)]
    walks = [walk(5, stratum="a", walker=0, n_frames=300), walk(25, stratum="b", walker=1)]
    mean, low, high = force_bounds(rows, walks, 0.95, 0)
    assert mean == pytest.approx(20 * MEV)
    assert low < mean < high
    # A long walk of the exam does not make its stratum a larger share of the MD.
    exam = walk(25, stratum="b", walker=2, exam=True, n_frames=10_000)
    assert force_bounds(rows, [*walks, exam], 0.95, 0)[0] == pytest.approx(20 * MEV)
    # Without walks (a frozen test set) frames count alike.
    assert force_bounds(rows, [], 0.95, 0)[0] == pytest.approx(40 * MEV)


def test_bounds_of_the_whole_are_about_the_weighed_mean():
    rows = [frame(10 + k % 3, spread=5, stratum="a", walker=k) for k in range(15)]
    rows += [frame(50 + k % 3, spread=25, stratum="b", walker=20 + k) for k in range(15)]
    walks = [walk(5, stratum="a", walker=k, n_frames=300) for k in range(15)]
    walks += [walk(25, stratum="b", walker=20 + k) for k in range(15)]
    mean, low, high = force_bounds(rows, walks, 0.95, 0)
    assert mean == pytest.approx((0.75 * 11 + 0.25 * 51) * MEV)
    assert 0.85 * mean < low < mean < high < 1.2 * mean


def test_the_error_is_that_of_the_md_and_not_of_the_frames_that_happened_to_be_drawn():
    """The audit met frames of half the mean spread; their ratio of error to spread is 2."""
    rows = [frame(20, spread=10, walker=w) for w in range(4)]
    walks = [walk(20, walker=w) for w in range(4)]
    assert force_bounds(rows, walks, 0.95, 0)[0] == pytest.approx(40 * MEV)
    assert by_stratum(rows, walks, 0.95, 0, 1)["cell"]["force_mae"] == pytest.approx(40 * MEV)
    parts = by_part(rows, walks, 0.95, 0, elements_of)
    assert parts["Cu"]["force_mae"] == pytest.approx(40 * MEV)
    # Where a spread is not known, frames speak for themselves.
    unknown = [row | {"spread": None} for row in rows[:1]] + rows[1:]
    assert force_bounds(unknown, walks, 0.95, 0)[0] == pytest.approx(20 * MEV)
    silent = [walk(None, walker=w) for w in range(4)]
    assert force_bounds(rows, silent, 0.95, 0)[0] == pytest.approx(20 * MEV)


def test_temperatures_count_alike_however_many_walks_each_has():
    rows = [frame(10, group="300K", walker=0), frame(50, group="900K", walker=1)]
    walks = [walk(5, group="300K", walker=w) for w in (0, 2, 3)] + [
        walk(25, group="900K", walker=1)
    ]
    assert force_bounds(rows, walks, 0.95, 0)[0] == pytest.approx(30 * MEV)


def test_no_rows_and_a_single_one():
    assert force_bounds([], [], 0.95, 0) == (None, None, None)
    mean, low, high = force_bounds([frame(20)], [walk(10)], 0.95, 0)
    assert mean == pytest.approx(20 * MEV) and low is None and high is None
    alone = by_stratum([frame(20, energy=3)], [walk(10)], 0.95, 0, 2)["cell"]
    assert alone["energy_mae"] == pytest.approx(3 * MEV)
    assert alone["energy_mae_high"] is None


def test_parts_count_atoms_and_frames_and_are_bounded():
    rows = [
        frame(20 + k, elements=("Cu", "Au"), walker=k, group=("300K", "900K")[k % 2])
        for k in range(5)
    ]
    rows.append(frame(90, elements=("Ni",), walker=9, group="1200K"))
    elements = by_part(rows, [], 0.95, 0, elements_of)
    assert {name: found["n"] for name, found in elements.items()} == {"Au": 20, "Cu": 20, "Ni": 4}
    assert elements["Cu"]["force_mae"] == pytest.approx(22 * MEV)
    assert 22 * MEV < elements["Cu"]["force_mae_high"] < 60 * MEV
    assert elements["Ni"] == {"force_mae": 90 * MEV, "force_mae_high": None, "n": 4}
    groups = by_part(rows, [], 0.95, 0, group_of)
    assert {name: found["n"] for name, found in groups.items()} == {
        "1200K": 1,
        "300K": 3,
        "900K": 2,
    }
    assert by_part([frame(5, group=None)], [], 0.95, 0, group_of) == {}


def test_a_stratum_of_one_frame_is_bounded_by_what_others_say_of_the_scatter():
    few = [frame(20, stratum="few", energy=3, walker=50)]
    walks = [walk(10, stratum="few", walker=50)]
    many = measured({"a": 20, "b": 20}, n=12, energies={"a": 3, "b": 3})
    alone = by_stratum(few, walks, 0.95, 0, 2)["few"]
    rows, others = of(many)
    found = by_stratum([*rows, *few], [*others, *walks], 0.95, 0, 2)
    assert found["few"]["energy_mae_high"] is not None and alone["energy_mae_high"] is None
    assert 3 * MEV < found["few"]["energy_mae_high"] < 30 * MEV
    # Its force bound is of use only with them, and wider than that of a stratum with many.
    assert alone["force_mae_high"] is None or (
        alone["force_mae_high"] > 3 * found["few"]["force_mae_high"]
    )
    assert found["few"]["force_mae_high"] > 1.3 * found["a"]["force_mae_high"]


def test_a_bound_is_wider_the_more_strata_have_to_hold_at_once():
    one = by_stratum(*of(measured({"a": 20}, n=8)), 0.95, 0, 2)["a"]
    names = "abcdefgh"
    all_of_them = by_stratum(*of(measured(dict.fromkeys(names, 20), n=8)), 0.95, 0, 2)["a"]
    # Others pool their scatter with it; that cannot make up for an eighth of the tail.
    assert all_of_them["force_mae_high"] > 0.95 * one["force_mae_high"]
    loose = by_stratum(*of(measured(dict.fromkeys(names, 20), n=8)), 0.6, 0, 2)["a"]
    assert loose["force_mae_high"] < all_of_them["force_mae_high"]


def test_energies_are_uncentred_and_those_of_the_newest_generations():
    """An offset of 64 meV/atom in one stratum, of the newest committees."""
    rows, walks = [], []
    for g, energies in enumerate(({"a": 1, "b": 1}, {"a": 1, "b": -64}, {"a": 1, "b": 64}), 1):
        found = measured(
            {"a": 20, "b": 20}, generation=g, n=4, energies=energies, stress=2 if g > 1 else 90
        )
        rows, walks = rows + found["audit_frames"], walks + found["walks"]
    found = by_stratum(rows, walks, 0.95, 0, recent=2)
    assert found["b"]["energy_mae"] == pytest.approx(64 * MEV)  # opposite signs do not cancel
    assert found["b"]["energy_error"] == pytest.approx(64 * MEV)
    assert found["a"]["energy_mae"] == pytest.approx(1 * MEV)
    assert found["a"]["stress_mae"] == pytest.approx(2 * MEV)
    assert found["a"]["n_frames"] == 12 and found["a"]["n_walks"] == 6
    assert found["a"]["generations"] == [1, 2, 3]
    # The bound holds what each committee's offset is, not an average of them.
    assert 64 * MEV < found["b"]["energy_mae_high"] < 100 * MEV


def test_stress_has_a_bound_where_it_is_labelled_and_none_where_not():
    rows = measured({"crystal": 20}, stress=2)["audit_frames"]
    rows += measured({"molecule": 20})["audit_frames"]
    found = by_stratum(rows, [], 0.95, 0, 2)
    assert found["crystal"]["stress_mae"] == pytest.approx(2 * MEV)
    assert found["crystal"]["stress_mae_high"] > 2 * MEV
    assert found["molecule"]["stress_mae"] is None and found["molecule"]["stress_mae_high"] is None


def test_missing_energies_leave_the_others():
    rows = measured({"a": 20})["audit_frames"]
    some = [row | {"energy_error": None} for row in rows[:3]] + rows[3:]
    found = by_stratum(some, [], 0.95, 0, 2)["a"]
    expected = np.mean([abs(row["energy_error"]) for row in rows[3:]])
    assert found["energy_mae"] == pytest.approx(expected)
    none = by_stratum([row | {"energy_error": None} for row in rows], [], 0.95, 0, 2)["a"]
    assert none["energy_mae"] is None and none["energy_mae_high"] is None


def test_zero_errors_and_zero_spreads_give_a_bound_of_zero_or_none():
    rows = [frame(0, energy=0, stress=0, walker=w) for w in range(4)]
    found = by_stratum(rows, [walk(0, walker=w) for w in range(4)], 0.95, 0, 2)["cell"]
    for kind in ("force", "energy", "stress"):
        assert found[f"{kind}_mae"] == 0 and found[f"{kind}_mae_high"] == 0
    flat = [frame(20, spread=0, walker=w) for w in range(4)]
    found = by_stratum(flat, [walk(0, walker=w) for w in range(4)], 0.95, 0, 2)["cell"]
    assert found["force_mae"] == pytest.approx(20 * MEV)
    assert found["force_mae_high"] > 20 * MEV


def test_the_spread_of_a_stratum_is_that_of_its_newest_walks_at_each_temperature():
    walks = [
        walk(90, generation=1, group="300K"),
        walk(50, generation=1, group="900K", walker=1),
        walk(10, generation=2, group="300K"),
    ]
    assert newest(walks) == walks[1:]
    rows = [frame(20, spread=10, generation=2, walker=w) for w in range(4)]
    found = by_stratum(rows, walks, 0.95, 0, 2)["cell"]
    assert found["force_mae"] == pytest.approx(2 * (50 + 10) / 2 * MEV)


def test_pieces_of_a_long_walk_are_walks_of_their_own():
    rows = [frame(e, spread=5, segment=k, number=k) for k, e in enumerate((10, 20, 40, 25, 15))]
    one = [row | {"segment": 0} for row in rows]
    assert by_stratum(rows, [], 0.95, 0, 2)["cell"]["n_walks"] == 5
    assert by_stratum(one, [], 0.95, 0, 2)["cell"]["n_walks"] == 1


ROWS = st.lists(
    st.builds(
        frame,
        st.floats(1, 100),
        stratum=st.sampled_from("ab"),
        group=st.sampled_from(["300K", "900K"]),
        walker=st.integers(0, 3),
        spread=st.none() | st.floats(1, 50),
        energy=st.none() | st.floats(-10, 10),
        stress=st.none() | st.floats(0.1, 5),
        generation=st.integers(1, 3),
    ),
    min_size=1,
    max_size=10,
)
WALKS = [
    walk(8 + w, stratum="ab"[w % 2], walker=w, group=("300K", "900K")[w // 2], generation=3)
    for w in range(4)
]


def numbers(found):
    return [
        (name, key, value)
        for name, entry in sorted(found.items())
        for key, value in sorted(entry.items())
        if not isinstance(value, list)
    ]


@given(ROWS, st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_order_of_rows_and_walks_changes_nothing_but_rounding(rows, random):
    mixed, walks = list(rows), list(WALKS)
    random.shuffle(mixed)
    random.shuffle(walks)
    plain = numbers(by_stratum(rows, WALKS, 0.95, 0, 2))
    for (*key, value), (*other, again) in zip(
        plain, numbers(by_stratum(mixed, walks, 0.95, 0, 2)), strict=True
    ):
        assert key == other
        assert (value is None) == (again is None)
        if value is not None:
            assert again == pytest.approx(value, rel=0.05)


@given(ROWS, st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_bounds_scale_with_the_errors(rows, factor):
    def scaled(row):
        keys = ("force_mae", "energy_error", "stress_mae")
        return row | {key: None if row[key] is None else factor * row[key] for key in keys}

    plain = numbers(by_stratum(rows, WALKS, 0.95, 0, 2))
    larger = numbers(by_stratum([scaled(row) for row in rows], WALKS, 0.95, 0, 2))
    for (name, key, value), (*_, again) in zip(plain, larger, strict=True):
        assert (value is None) == (again is None), (name, key)
        if value is not None and ("mae" in key or "error" in key):
            assert again == pytest.approx(factor * value, rel=1e-6)
            if key.endswith("_high"):
                mean = dict((k, v) for n, k, v in plain if n == name)[key.removesuffix("_high")]
                assert value >= mean


@given(ROWS)
@settings(max_examples=25, deadline=None)
def test_every_bound_is_finite_and_not_below_its_estimate(rows):
    mean, low, high = force_bounds(rows, WALKS, 0.95, 0)
    if len(rows) > 1:
        assert 0 <= low <= mean <= high < np.inf


def test_a_walk_that_ended_before_a_frame_was_due_says_nothing():
    rows = [frame(20, spread=10, walker=w) for w in range(4)]
    walks = [walk(20, walker=w) for w in range(4)]
    ended = walk(20, walker=4, n_frames=0) | {"spread": None}
    for kind in (walks, [*walks, ended]):
        assert force_bounds(rows, kind, 0.95, 0)[0] == pytest.approx(40 * MEV)
        assert by_stratum(rows, kind, 0.95, 0, 1)["cell"]["force_mae"] == pytest.approx(40 * MEV)
    assert newest([*walks, ended]) == walks
