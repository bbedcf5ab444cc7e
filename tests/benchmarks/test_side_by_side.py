"""The driver of `make bench` on children that do nothing but take known times."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "side_by_side"
SLEEPER = """
class Work:
    def __init__(self, energy, spin=0):
        self.energy, self.spin = energy, spin
    def step(self):
        print("not an answer")
        for _ in range(self.spin):
            pass
    def check(self):
        return {"energy": self.energy, "forces": [self.energy, 0.0]}
"""


@pytest.fixture
def side_by_side(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import processes
    import table

    return processes, table


@pytest.fixture
def child(side_by_side, tmp_path):
    """Opens children whose side is ``sleeper.py``; they are ended with the test."""
    processes, _ = side_by_side
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    children = []

    def open_child():
        environment = {"PYTHONPATH": str(tmp_path)}
        children.append(processes.Child(sys.executable, "sleeper", tmp_path / "log", environment))
        return children[-1]

    yield open_child
    for one in children:
        one.end()


def test_times_are_those_of_one_step_and_sides_are_told_apart(side_by_side, child):
    processes, table = side_by_side
    slow, fast = child(), child()
    slow.do("open", name="w", kind="Work", energy=1.0, spin=200_000)
    fast.do("open", name="w", kind="Work", energy=1.0, spin=20_000)
    ours, theirs = processes.alternate([fast, slow], "w", rounds=4, seconds=0.02)
    row = table.Row("w", "slow", ours.summary(), theirs.summary(), must=3.0)
    assert len(ours.cpu) == len(theirs.cpu) == 4
    assert 5 < row.ratio["min"] < 20 and row.holds
    assert 0.05 < ours.summary()["min"] < 20  # ms


def test_a_failing_command_and_a_dead_child_are_said(side_by_side, child):
    processes, _ = side_by_side
    one = child()
    with pytest.raises(processes.ChildError, match="KeyError"):
        one.do("steps", name="never opened", n=1)
    one.process.kill()
    with pytest.raises(processes.ChildError, match="ended"):
        one.do("check", name="w")


def test_numbers_that_are_not_numbers_disagree(side_by_side):
    processes, _ = side_by_side
    ours = {"energy": 1.0, "forces": [1.0, 2.0], "losses": [200.0, 100.0]}
    theirs = {"energy": 1.5, "forces": [1.0, 2.001], "losses": [200.0, 99.0]}
    found = processes.differences(ours, theirs)
    assert found == pytest.approx({"energy": 0.5, "forces": 1e-3, "losses": 0.005})
    assert processes.disagreement(found, 0.1) == "energy 5.0e-01"
    found = processes.differences(ours, {**ours, "forces": [float("nan"), 2.0]})
    assert "forces" in processes.disagreement(found, 1e9)
    with pytest.raises(processes.ChildError):
        processes.differences({"forces": [1.0]}, {"forces": [1.0, 2.0]})


def test_a_must_holds_for_both_minimum_and_median(side_by_side):
    _, table = side_by_side
    ours = {"min": 1.0, "median": 2.0}
    row = table.Row("MD", "peer", ours, {"min": 30.0, "median": 50.0}, must=30, aim=65)
    assert row.ratio == {"min": 30.0, "median": 25.0} and row.holds is False
    assert "30× ✗" in table.markdown([row])
    row = table.Row("MD", "peer", ours, {"min": 30.0, "median": 60.0}, must=30)
    assert row.holds and json.dumps(row.as_json())
    absent = table.Row("MD", "peer", None, None, must=30, note="it cannot run")
    assert absent.holds is None and "it cannot run" in table.markdown([absent])


def test_limits_are_upper_or_lower(side_by_side):
    _, table = side_by_side
    assert table.Limit("memory", "MB", 100.0, must=100.0).holds
    assert not table.Limit("throughput", "", 1.7, must=1.8, at_least=True).holds
    assert table.Limit("x", "", 1.0).holds is None
