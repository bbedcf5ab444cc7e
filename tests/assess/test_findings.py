"""What two generations say together."""

import pytest

from mace_core.assess.findings import findings


def assessed(share, mae, ends=None, factor=4.0):
    return {
        "walkers": {
            "n": 4,
            "median_share": share,
            "ends": ends or {"completed": 2, "uncertain": 2},
            "factor": factor,
        },
        "audit": {"force_mae": mae},
    }


BEFORE = [{"generation": 0}, assessed(1.0, 0.1)]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (assessed(0.5, 0.05), True),
        (assessed(0.81, 0.05), False),  # a fifth less is chance
        (assessed(0.5, 0.2), False),  # the model got worse: it should be less sure
        (assessed(0.5, 0.05, {"close_contact": 4}), False),  # they did not stop for uncertainty
        (assessed(None, 0.05), False),
        (assessed(0.5, None), False),
        ({"walkers": None, "audit": None}, False),
    ],
)
def test_shorter_walks_of_a_better_model(now, said):
    assert bool(findings(BEFORE, now)) is said


def test_the_first_generation_has_none_before_it():
    assert findings([], assessed(0.1, 0.1)) == []
    assert findings([{"generation": 0, "audit": None}], assessed(0.1, 0.1)) == []


def test_factors_are_said_as_far_as_they_are_known():
    old = assessed(1.0, 0.1)
    del old["walkers"]["factor"]
    (note,) = findings([old], assessed(0.5, 0.05, factor=6.04))
    assert "The calibration factor was 6.04: it may be too large" in note
