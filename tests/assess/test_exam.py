"""The final exam: when it is due, what it costs, and what passes it; and waiting is not idling."""

import pytest
from assessments import NAMES, campaign, good, settings, start
from audit_rows import MEV

from mace_core.assess import bounds
from mace_core.assess.decide import decide
from mace_core.assess.exam import exam_calls, exam_due, exam_held
from mace_core.assess.stall import idle


@pytest.fixture(autouse=True, scope="module")
def fewer_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "DRAWS", 1000)
        yield


def examined(**stop):
    return settings(stop={"exam_length": 10, "exam_frames": 2, **stop})


def above(g):
    record = good(g)
    return record | {"audit": record["audit"] | {"force_mae_high": 31 * MEV}}


PASSED = dict.fromkeys(NAMES, 12.0)


def test_it_is_due_once_the_next_generation_can_end_the_campaign():
    config = examined()
    assert not exam_due([start(), above(1)], config)
    assert exam_due([start(), above(1), good(2)], config)
    assert exam_due([start(), good(1)], config)
    longer = examined(streak=3)
    assert not exam_due([start(), good(1)], longer)
    assert exam_due([start(), good(1), good(2)], longer)
    assert exam_due(campaign(n=5), config)  # as long as it has not been passed
    # With a streak of one there is nothing to see coming before the bound itself is below.
    assert not exam_due([start(), above(1)], examined(streak=1))
    assert exam_due([start(), good(1)], examined(streak=1))


@pytest.mark.parametrize(
    "keys",
    [
        {"errors": {"Au4Cu4": 8.0, "Au5Cu3": 33.0}},
        {"energies": {"Au5Cu3": 9.0}},
        {"stress": 3.5},
        {"names": ()},
    ],
)
def test_it_is_not_due_while_a_stratum_is_above_its_target(keys):
    assert not exam_due([start(), good(1, **keys)], examined())


def test_a_bound_that_is_wide_is_no_reason_to_put_it_off():
    history = [start(), good(1, {"Au4Cu4": 25.0, "Au5Cu3": 25.0}, n=2)]
    checks = {check.name: check for check in decide(history, examined()).checks}
    assert not checks["strata_force"].passed
    assert exam_due(history, examined())


def test_no_exam_is_asked_where_its_length_is_0():
    assert not exam_due(campaign(), settings())
    assert exam_held(good(2), settings()) == []
    decision = decide(campaign(), settings())
    assert decision.outcome == "converged" and not decision.exam


def test_the_decision_calls_for_it_and_reserves_its_labels():
    history = [start(), good(1, calls=400)]
    assert exam_calls(history[-1], examined()) == 4
    # A generation may need 10 + 16 labels, the exam 4 more.
    for budget, outcome in ((430, "continue"), (429, "budget_spent")):
        decision = decide(history, examined(max_labels=budget))
        assert decision.outcome == outcome and decision.exam
    early = decide([start(), above(1) | {"labels": {"total_calls": 400}}], examined(max_labels=426))
    assert early.outcome == "continue" and not early.exam


def held(**exam):
    return decide(campaign(good(2, exam={**PASSED, **exam})), examined())


def check_of(history, config=None):
    (check,) = exam_held(history[-1], config or examined())
    return check


def test_a_campaign_converges_when_every_stratum_has_passed():
    assert held().outcome == "converged"
    check = check_of(campaign(good(2, exam=PASSED)))
    assert check.passed and check.value == pytest.approx(12 * MEV)
    assert check.limit == pytest.approx(60 * MEV) and "10000 steps" in check.message


def test_without_it_there_is_no_converged():
    decision = decide(campaign(), examined())
    assert decision.outcome == "continue"
    assert [c.name for c in decision.checks if not c.passed] == ["exam"]
    assert "not held in this generation" in check_of(campaign()).message
    # Nor with that of an earlier generation.
    decision = decide([start(), good(1), good(2, exam=PASSED), good(3)], examined())
    assert decision.outcome == "continue"


def test_a_stratum_that_was_not_examined_is_named():
    record = good(2, exam={"Au4Cu4": 12.0})
    check = check_of(campaign(record))
    assert not check.passed
    assert "Au5Cu3: no walk" in check.message and "Au4Cu4" not in check.message


def test_where_no_stratum_is_known_none_was_examined():
    assert not check_of([start(), good(1, names=()), good(2, names=())]).passed


def test_an_error_above_the_limit_fails():
    found = held(Au5Cu3=61.0)
    (check,) = (c for c in found.checks if c.name == "exam")
    assert found.outcome == "continue" and not check.passed
    assert "Au5Cu3" in check.message and "61" in check.message
    assert check_of(campaign(good(2, exam={**PASSED, "Au5Cu3": 59.0}))).passed


@pytest.mark.parametrize("end", ["close_contact", "uncertain", "evaporated", "not_started"])
def test_a_walk_that_ended_early_fails_however_small_its_errors(end):
    record = good(2, exam=PASSED)
    last = record["walks"][-1]
    assert last["exam"] and last["stratum"] == "Au5Cu3"
    last |= {"end": end, "steps_done": 700}
    check = check_of(campaign(record))
    assert not check.passed
    assert "700 of 10000" in check.message and end in check.message


def test_a_walk_none_of_whose_frames_has_a_label_fails():
    record = good(2, exam=PASSED)
    record["audit_frames"] = [
        row for row in record["audit_frames"] if not (row["exam"] and row["stratum"] == "Au5Cu3")
    ]
    check = check_of(campaign(record))
    assert not check.passed and "Au5Cu3" in check.message and "label" in check.message


def test_ordinary_walks_and_frames_are_no_exam():
    assert not check_of(campaign(good(2, {"Au4Cu4": 8.0, "Au5Cu3": 8.0}))).passed


def test_frames_of_the_exam_count_in_the_bounds_of_their_stratum():
    """Errors below the exam's limit of twice the target, that yet spoil the stratum's mean."""
    record = good(2, exam={**PASSED, "Au5Cu3": 55.0})
    # Its frames have the spread of their errors: what tells is the ratio of error to spread.
    for row in record["audit_frames"]:
        if row["exam"]:
            row["spread"] = 4 * MEV
    decision = decide(campaign(record), examined())
    assert {c.name for c in decision.checks if not c.passed} >= {"strata_force"}


def test_generations_that_only_wait_are_not_idle():
    """For more frames of a stratum whose errors are small enough, and for the exam."""
    config = examined(stall_generations=2)
    wide = {"Au4Cu4": 25.0, "Au5Cu3": 25.0}
    waiting = [good(g, wide, n=2) for g in range(1, 6)]
    for record in waiting:
        record["selection"]["candidates"] = 0
    decision = decide([start(), *waiting], config)
    checks = {check.name: check for check in decision.checks}
    assert checks["strata_force"].waiting and not checks["strata_force"].passed
    assert decision.outcome == "continue"
    assert idle([start(), *waiting], config) == (0, 0)
    # The same without progress, and an error above the target, is a stall.
    large = [good(g, {"Au4Cu4": 40.0, "Au5Cu3": 40.0}) for g in range(1, 6)]
    assert idle([start(), *large], config)[0] == 4
    assert decide([start(), *large], config).outcome == "stalled"
    # So is energies' offset, which no audit mends.
    offset = [good(g, energies={"Au5Cu3": 64.0}) for g in range(1, 6)]
    assert decide([start(), *offset], config).outcome == "stalled"


def test_what_was_written_counts_as_it_was_written():
    """Checks in the files, of the configuration of their generation, say whether it waited."""
    records = [good(g, {"Au4Cu4": 40.0, "Au5Cu3": 40.0}) for g in range(1, 5)]
    waiting = [
        {"name": "strata_force", "kind": "convergence", "passed": False, "waiting": True},
        {"name": "exam", "kind": "convergence", "passed": False},
    ]
    history = [start(), *(record | {"checks": waiting} for record in records)]
    assert idle(history, examined())[0] == 0
    plain = [{"name": "strata_force", "kind": "convergence", "passed": False}]  # earlier version
    history = [start(), *(record | {"checks": plain} for record in records)]
    assert idle(history, examined())[0] == 3
