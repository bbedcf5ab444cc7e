"""The audit as a sample of the potential's MD: complete, undoubted, of MD that ran and moved."""

import pytest
from assessments import campaign, good, settings, start
from audit_rows import MEV

from mace_core.assess import bounds
from mace_core.assess.decide import decide
from mace_core.assess.sample import sample_checks


@pytest.fixture(autouse=True, scope="module")
def fewer_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "DRAWS", 1000)
        yield


def failed(history, config=None):
    checks = decide(history, config or settings()).checks
    return {c.name: c for c in checks if not c.passed and c.kind == "convergence"}


def test_a_sample_that_is_sound_passes_every_check():
    names = [check.name for check in sample_checks(campaign()[1:], settings())]
    assert names == ["audit_complete", "audit_labels", "walked", "moved"]
    assert failed(campaign()) == {}


def lost(record, n, status="unconverged"):
    """``n`` of the audit labels failed: those frames are in no row."""
    audit = record["audit"] | {"n_frames": record["audit"]["n_frames"] - n}
    rows = record["audit_frames"][: len(record["audit_frames"]) - n]
    return record | {"audit": audit, "audit_frames": rows, "lost_audit": {status: n}}


def test_an_audit_that_lost_most_of_its_labels_is_no_sample():
    """loop_failed_audit: 9 of 12 fail where frames are hard, and the other 3 make the bound."""
    one = lost(good(2, {"Au4Cu4": 4.0}, names=["Au4Cu4"], n=12), 9)
    history = [start(), good(1, {"Au4Cu4": 4.0}, names=["Au4Cu4"], n=12), one]
    config = settings(select={"audit_frames": 12})
    check = failed(history, config)["audit_complete"]
    assert check.value == pytest.approx(9 / 24)
    assert "15 of 24" in check.message and "9 unconverged" in check.message
    assert failed(history, settings(stop={"max_lost_audit": 0.4})) == {}


@pytest.mark.parametrize(("n", "passes"), [(3, True), (4, False)])
def test_a_tenth_may_be_missing_over_the_streak(n, passes):
    found = failed(campaign(lost(good(1), n), good(2)))  # of 32
    assert ("audit_complete" not in found) is passes


def test_labels_that_the_exam_lost_count_too():
    record = good(2, exam={"Au4Cu4": 8.0, "Au5Cu3": 8.0})
    assert "audit_complete" not in failed(campaign(good(1), record))
    record["selection"]["exam"] += 8  # of twelve, four came
    assert failed(campaign(good(1), record))["audit_complete"].value == pytest.approx(8 / 44)


def test_nothing_drawn_is_not_complete():
    record = good(2) | {"audit": None, "audit_frames": [], "selection": {"candidates": 3}}
    history = [start(), record, record]
    check = failed(history)["audit_complete"]
    assert check.value is None and "no audit frame was drawn" in check.message


def test_an_earlier_version_does_not_say_how_many_were_drawn():
    record = good(2) | {"selection": {"candidates": 3}}
    assert "audit_complete" not in failed([start(), record, record])


@pytest.mark.parametrize("where", [1, 2])
def test_an_audit_label_in_doubt_anywhere_in_the_streak_blocks(where):
    doubt = {"quarantine": [{"frame_id": "f7", "role": "audit"}]}
    records = [good(g) | (doubt if g == where else {}) for g in (1, 2)]
    check = failed([start(), *records])["audit_labels"]
    assert check.value == 1 and "f7" in check.message
    assert failed([start(), *records, good(3), good(4)]) == {}
    picked = {"quarantine": [{"frame_id": "f7", "role": "picked"}]}
    assert failed(campaign(good(2) | picked)) == {}


def walked(record, done, **ends):
    return record | {"walkers": record["walkers"] | {"steps_done": done, "ends": ends}}


def test_walkers_that_did_a_third_of_their_steps_are_no_md():
    short = [walked(good(g), 1200, uncertain=3, completed=1) for g in (1, 2)]
    check = failed([start(), *short])["walked"]
    assert check.value == pytest.approx(0.3) and check.limit == 0.5
    assert "30%" in check.message and "6 uncertain" in check.message
    assert failed([start(), *short], settings(stop={"min_walked": 0.3})) == {}
    # It is over the streak: one good generation makes up for a short one.
    assert "walked" not in failed(campaign(walked(good(1), 1200, uncertain=3), good(2)))
    assert "walked" in failed(campaign(walked(good(1), 0, uncertain=3), walked(good(2), 3900)))


@pytest.mark.parametrize("said", [{}, {"steps_asked": None, "steps_done": None}])
def test_walks_that_do_not_say_their_steps_are_not_judged(said):
    def old(record):
        walkers = {k: v for k, v in record["walkers"].items() if not k.startswith("steps")}
        return record | {"walkers": walkers | said}

    assert failed([start(), old(good(1)), old(good(2))]) == {}
    found = failed([start(), old(good(1)), walked(good(2), 400, uncertain=4)])
    assert found["walked"].value == pytest.approx(0.1)


def test_audit_frames_that_are_the_training_frames_again_are_no_audit():
    """loop_walks_that_do_not_move: a time step of 0.002 fs, errors of 0.3 meV/Å."""
    still = [good(g, dict.fromkeys(("Au4Cu4", "Au5Cu3"), 0.3), displacement=5e-4) for g in (1, 2)]
    found = failed([start(), *still])
    assert set(found) == {"moved"}
    assert found["moved"].value == pytest.approx(5e-4)
    assert "0.0005 Å" in found["moved"].message and "explore.timestep" in found["moved"].message
    fine = [good(g, displacement=0.05) for g in (1, 2)]
    assert failed([start(), *fine]) == {}


def test_displacements_that_are_not_known_are_not_judged():
    history = [start(), good(1, displacement=None), good(2, displacement=None)]
    assert failed(history) == {}


def test_a_temperature_without_an_audit_frame_in_the_last_generation_is_left_out():
    groups = ["300K", "900K"]
    parts = {g: {"force_mae": 8 * MEV, "force_mae_high": 10 * MEV, "n": 8} for g in groups}

    def of(record, *audited):
        audit = record["audit"] | {"by_group": {g: parts[g] for g in audited}}
        return record | {"audit": audit, "walkers": record["walkers"] | {"groups": groups}}

    assert failed([start(), of(good(1), *groups), of(good(2), *groups)]) == {}
    check = failed([start(), of(good(1), *groups), of(good(2), "300K")])["walker_groups"]
    assert "900K" in check.message and "300K" not in check.message
    assert failed([start(), of(good(1), "300K"), of(good(2), *groups)]) == {}
