"""What a user asked for is measured, and good, stratum by stratum; and old campaigns open."""

import pytest
from assessments import NAMES, campaign, good, settings, start

from mace_core.assess import bounds
from mace_core.assess.decide import decide
from mace_core.assess.strata import (
    assessed_without_strata,
    expected_strata,
    strata_checks,
    stratum_errors,
    targets,
)


@pytest.fixture(autouse=True, scope="module")
def fewer_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "DRAWS", 1000)
        yield


def failed(history, config=None):
    decision = decide(history, config or settings())
    assert (decision.outcome == "converged") == all(
        check.passed for check in decision.checks if check.kind == "convergence"
    )
    return {c.name: c for c in decision.checks if not c.passed and c.kind == "convergence"}


def test_a_campaign_whose_strata_are_all_measured_and_good_converges():
    assert failed(campaign()) == {}
    checks = {check.name: check for check in strata_checks(campaign(), settings())}
    assert set(checks) == {"strata_measured", "strata_force", "strata_energy"}
    assert all(check.passed and not check.waiting for check in checks.values())
    assert set(stratum_errors(campaign(), settings())) == set(NAMES)


def test_a_stratum_without_frames_in_the_streak_is_named_and_blocks():
    """The audit of an alloy on one composition alone, as it was seen."""
    only = {"Au4Cu4": 3.0}
    found = failed(campaign(good(1, only, n=8), good(2, only, n=8)))
    assert set(found) == {"strata_measured"}
    assert "Au5Cu3" in found["strata_measured"].message
    assert "Au4Cu4" not in found["strata_measured"].message
    assert found["strata_measured"].value == 1


def test_one_generation_of_the_streak_is_enough_and_none_before_it():
    only, both = {"Au4Cu4": 8.0}, dict.fromkeys(NAMES, 8.0)
    assert failed(campaign(good(1, both), good(2, only))) == {}
    assert failed(campaign(good(1, only), good(2, both))) == {}
    before = [good(1, both), good(2, only), good(3, only)]
    assert set(failed([start(), *before])) == {"strata_measured", "strata_energy"}
    assert failed([start(), *before], settings(stop={"streak": 3})) == {}


def test_strata_that_cannot_all_be_measured_have_their_price():
    names = [f"s{k}" for k in range(9)]
    some = dict.fromkeys(names[:4], 8.0)
    history = [start(), good(1, some, names=names), good(2, some, names=names)]
    few = settings(select={"audit_frames": 3}, explore={"walkers": 3})
    said = failed(history, few)["strata_measured"].message
    assert "5 or more" in said and "audit_frames" in said and "walkers" in said
    enough = settings(select={"audit_frames": 5}, explore={"walkers": 5})
    assert "or more" not in failed(history, enough)["strata_measured"].message
    # Walkers, too, are one for each stratum.
    walkers = settings(select={"audit_frames": 16}, explore={"walkers": 4})
    assert "5 or more" in failed(history, walkers)["strata_measured"].message


def test_a_stratum_whose_force_error_is_large_blocks_whatever_the_whole_says():
    errors = {"Au4Cu4": 3.0, "Au5Cu3": 45.0}
    check = failed(campaign(good(1, errors), good(2, errors)))["strata_force"]
    assert "Au5Cu3 46" in check.message and check.value > check.limit
    assert not check.waiting  # more frames do not make it good


def test_a_bound_that_is_wide_waits_for_frames():
    errors = {"Au4Cu4": 8.0, "Au5Cu3": 17.0}
    found = failed([start(), good(1, errors, n=2), good(2, errors, n=2)])
    assert found["strata_force"].waiting
    longer = [good(g, errors, n=8) for g in range(1, 9)]
    assert failed([start(), *longer], settings(campaign={"max_generations": 20})) == {}


def test_energies_off_by_a_constant_in_one_stratum_block():
    """64 meV/atom, which a constant per element would hide: forces are perfect."""
    energies = {"Au5Cu3": 64.0}
    found = failed(campaign(good(1, energies=energies), good(2, energies=energies)))
    assert set(found) == {"strata_energy"}
    assert "Au5Cu3 64" in found["strata_energy"].message
    assert found["strata_energy"].limit == pytest.approx(7.5e-3)
    loose = settings(stop={"target_energy_mae": 200})
    assert failed(campaign(good(1, energies=energies), good(2, energies=energies)), loose) == {}


def test_the_sign_of_the_constant_may_change_with_the_committee():
    history = campaign(good(1, energies={"Au5Cu3": 20.0}), good(2, energies={"Au5Cu3": -20.0}))
    assert set(failed(history)) == {"strata_energy"}


def test_energies_without_a_label_are_not_measured():
    energies = {"Au5Cu3": None}
    found = failed(campaign(good(1, energies=energies), good(2, energies=energies)))
    assert "Au5Cu3" in found["strata_energy"].message


def test_stress_is_asked_only_where_it_is_labelled():
    names = {check.name for check in strata_checks(campaign(), settings())}
    assert "strata_stress" not in names
    fine = [good(g, stress=0.5) for g in (1, 2)]
    checks = {c.name: c for c in strata_checks([start(), *fine], settings())}
    assert checks["strata_stress"].passed
    assert checks["strata_stress"].limit == pytest.approx(3e-3)
    bad = [good(g, stress=9.0) for g in (1, 2)]
    assert set(failed([start(), *bad])) == {"strata_stress"}
    assert failed([start(), *bad], settings(stop={"target_stress_mae": 30})) == {}


def test_targets_that_are_not_given_follow_the_force_target():
    assert targets(settings(stop={"target_force_mae": 40})) == pytest.approx(
        {"force": 0.04, "energy": 0.01, "stress": 0.004}
    )
    given = {"target_energy_mae": 3, "target_stress_mae": 1}
    assert targets(settings(stop=given)) == pytest.approx(
        {"force": 0.03, "energy": 0.003, "stress": 0.001}
    )


def test_a_longer_streak_brings_more_frames_and_not_those_before_it():
    config = settings(stop={"streak": 2})
    bad = good(1) | {"audit": good(1)["audit"] | {"force_mae_high": 0.05}}
    history = [start(), bad, *(good(g) for g in (2, 3, 4))]
    assert stratum_errors(history, config)["Au4Cu4"]["generations"] == [2, 3, 4]
    # Even without any streak, the newest two are looked at.
    assert (
        stratum_errors([start(), bad, bad | {"generation": 2}], config)["Au4Cu4"]["n_frames"] == 16
    )


def test_a_campaign_that_knows_no_stratum_never_passes():
    unknown = {"elements": ["Cu"]}
    history = [start(), good(1) | {"dataset": unknown}, good(2) | {"dataset": unknown}]
    assert expected_strata(history[-1]) == []
    assert set(failed(history)) == {"strata_measured"}


def earlier(record, outcome):
    """As a version that knew no strata wrote it."""
    keys = ("audit_frames", "walks", "lost_audit", "selection", "walkers", "dataset", "strata")
    old = {key: value for key, value in record.items() if key not in keys}
    return old | {
        "outcome": outcome,
        "dataset": {"elements": ["Cu"]},
        "walkers": {"stable_fraction": 1.0, "groups": ["300K"]},
        "selection": {"candidates": 9},
    }


@pytest.mark.parametrize("exam_length", [0, 10])
def test_a_verdict_of_an_earlier_version_stands(exam_length):
    config = settings(stop={"exam_length": exam_length})
    history = [start(), earlier(good(1), "continue"), earlier(good(2), "converged")]
    assert assessed_without_strata(history[-1])
    decision = decide(history, config)
    assert decision.outcome == "converged"
    assert not {"strata_measured", "exam"} & {check.name for check in decision.checks}
    # Unless it is asked for more: a target that it never reached.
    assert decide(history, settings(stop={"target_force_mae": 9})).outcome == "continue"


def test_an_earlier_version_that_had_not_converged_goes_on_and_is_measured():
    history = [start(), earlier(good(1), "continue"), earlier(good(2), "continue")]
    assert not assessed_without_strata(history[-1])
    assert set(failed(history)) == {"strata_measured", "strata_force", "strata_energy"}
    # The generations that follow measure strata; two of them are a whole streak.
    history += [good(3), good(4)]
    assert failed(history) == {}
    # One that follows a verdict of an earlier version does not inherit it.
    history = [start(), earlier(good(1), "converged"), good(2, {"Au4Cu4": 8.0})]
    assert set(failed(history)) == {"strata_measured"}
