"""The stop rule, as a table of cases and as properties."""

import pytest
from audit_rows import measured, strata
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mace_core.assess.decide import decide
from mace_core.config.campaign import parse_config
from mace_core.conventions import MEV, Outcome


def settings(**sections):
    values = {
        "campaign": {"name": "c", "max_generations": 8},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["x.xyz"]},
        "select": {"max_frames": 10, "audit_frames": 6},
        "stop": {"target_force_mae": 30, "streak": 2, "min_audit_frames": 10, "max_labels": 500}
        | {"exam_length": 0},  # tests of the exam: test_exam.py
    }
    for section, keys in sections.items():
        values[section] = values.get(section, {}) | keys
    return parse_config(values, where="test")


def start(frames=20, calls=23, without_E0=None, labelled=0):
    return {
        "generation": 0,
        "labels": {"total_calls": calls, "converged": frames, "failed": calls - frames},
        "start": {
            "frames": frames,
            "labelled_frames": labelled,
            "without_E0": without_E0 or {},
        },
    }


def trained(
    mae=20.0,
    high=None,
    n=8,
    calls=50,
    stable=1.0,
    candidates=30,
    elements=None,
    groups=None,
    asked_elements=("H", "O"),
    asked_groups=("300K",),
):
    """An assessment of a generation with models; errors in meV/Å, bounds 20 % above.

    The strata's errors are well below: tests of those are in test_strata_checks.py.
    """
    part = lambda value: {"force_mae": value * MEV, "force_mae_high": 1.2 * value * MEV, "n": n}  # noqa: E731
    audit = None
    if mae is not None:
        audit = {
            "n_frames": n,
            "force_mae": mae * MEV,
            "force_mae_high": (1.2 * mae if high is None else high) * MEV,
            "by_element": {e: part(v) for e, v in (elements or {"H": mae, "O": mae}).items()},
            "by_group": {e: part(v) for e, v in (groups or {"300K": mae}).items()},
        }
    return {
        "generation": 1,
        "labels": {"total_calls": calls},
        "dataset": {"elements": list(asked_elements), "strata": strata("cell")},
        "audit": audit,
        **measured({"cell": 0.2 * mae} if mae else {}, n=n, elements=asked_elements),
        "walkers": {
            "stable_fraction": stable,
            "groups": list(asked_groups),
            "steps_asked": 2000,
            "steps_done": 2000,
        },
        "selection": {"candidates": candidates, "audit": n if mae else 0, "exam": 0},
    }


@pytest.fixture(autouse=True, scope="module")
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mace_core.assess.bounds.DRAWS", 400)
        yield


GOOD = [start(), trained(60), trained(22), trained(20)]

#: Checks that fail where nothing was audited in the whole streak.
NO_AUDIT = {"audit_frames", "audit_complete", "audit_labels", "elements", "walker_groups"} | {
    "strata_measured",
    "strata_force",
    "strata_energy",
}

CASES = {
    # name: (history, sections, outcome, names of checks that fail, words of the reason)
    "converged": (GOOD, {}, "converged", set(), "at most 24 (95%)"),
    "bound above, estimate below": (
        [start(), trained(22), trained(20, high=31)],
        {},
        "continue",
        {"target_bound", "streak"},
        "at most 31",
    ),
    "streak of one": (
        [start(), trained(60), trained(20, n=20)],
        {},
        "continue",
        {"streak"},
        "1 generations in a row, 2 asked",
    ),
    "streak broken": (
        [start(), trained(20), trained(40), trained(20)],
        {},
        "continue",
        {"streak"},
        "streak",
    ),
    "too few audit frames": (
        [start(), trained(22, n=4), trained(20, n=4)],
        {},
        "continue",
        {"audit_frames"},
        "8 audit frames in the last 2 generations, 10 asked",
    ),
    "an audit label in doubt": (
        [start(), trained(22), trained(20) | {"quarantine": [{"frame_id": "f1", "role": "audit"}]}],
        {},
        "continue",
        {"audit_labels"},
        "left out of the bound: f1",
    ),
    "an audit label in doubt in the first of the streak": (
        [start(), trained(22) | {"quarantine": [{"frame_id": "f1", "role": "audit"}]}, trained(20)],
        {},
        "continue",
        {"audit_labels"},
        "left out of the bound: f1",
    ),
    "one that was picked, and one of an audit before the streak": (
        [
            start(),
            trained(22) | {"quarantine": [{"frame_id": "f1", "role": "audit"}]},
            trained(21),
            trained(20) | {"quarantine": [{"frame_id": "f2", "role": "picked"}]},
        ],
        {},
        "converged",
        set(),
        "converged",
    ),
    "a longer streak brings the frames": (
        [start(), trained(22, n=4), trained(20, n=4), trained(20, n=4)],
        {},
        "converged",
        set(),
        "converged",
    ),
    "unstable in the first of the streak": (
        [start(), trained(22, stable=0.5), trained(20)],
        {},
        "continue",
        {"stable_md"},
        "50% of walkers stable",
    ),
    "unstable before the streak that is asked": (
        [start(), trained(22, stable=0.5), trained(20), trained(20)],
        {},
        "converged",
        set(),
        "",
    ),
    "unstable within what is allowed": (
        [start(), trained(22, stable=0.5), trained(20)],
        {"stop": {"min_stable_fraction": 0.5}},
        "converged",
        set(),
        "",
    ),
    "one element above twice the target": (
        [start(), *2 * [trained(20, elements={"H": 15, "O": 51})]],
        {},
        "continue",
        {"elements"},
        "O 51 [≤ 61.2]",
    ),
    "an element that no audit frame has": (
        [start(), *2 * [trained(20, asked_elements=("H", "O", "Zn"))]],
        {},
        "continue",
        {"elements"},
        "too few audit frames in generation 1 for a bound: Zn",
    ),
    "a walker group above": (
        [start(), *2 * [trained(20, groups={"300K": 10, "900K": 70})]],
        {},
        "continue",
        {"walker_groups"},
        "900K 70 [≤ 84]",
    ),
    "a walker group that was never audited": (
        [start(), *2 * [trained(20, asked_groups=("300K", "900K"))]],
        {},
        "continue",
        {"walker_groups"},
        "900K",
    ),
    "a group audited in one generation of the streak": (
        [
            start(),
            trained(20, asked_groups=("3K", "9K"), groups={"3K": 9, "9K": 9}),
            trained(20, asked_groups=("3K", "9K"), groups={"3K": 9}),
        ],
        {},
        "continue",
        {"walker_groups"},
        "too few audit frames in generation 1 for a bound: 9K",
    ),
    "no audit frame converged": (
        [start(), trained(None)],
        {},
        "continue",
        {"target_bound", "streak", *NO_AUDIT},
        "no bound",
    ),
    "labels spent": (
        [start(), trained(45, calls=490)],
        {},
        "budget_spent",
        {"target_bound", "streak", "audit_frames", "max_labels"},
        "490 of 500 label calls spent, 10 left, a generation may need 16",
    ),
    "the budget may be used to its end": (
        [start(), trained(45, calls=484)],
        {},
        "continue",
        {"target_bound", "streak", "audit_frames"},
        "16 left",
    ),
    "labels spent, budget raised": (
        [start(), trained(45, calls=490)],
        {"stop": {"max_labels": 506}},
        "continue",
        {"target_bound", "streak", "audit_frames"},
        "16 left",
    ),
    "last generation": (
        [start(), trained(48), trained(45)],
        {"campaign": {"max_generations": 2}},
        "budget_spent",
        {"target_bound", "streak", "max_generations"},
        "generation 2 of 2",
    ),
    "max_generations lowered below what is done": (
        [start(), trained(48), trained(45)],
        {"campaign": {"max_generations": 1}},
        "budget_spent",
        {"target_bound", "streak", "max_generations"},
        "generation 2 of 1",
    ),
    "converged in the last generation": (
        GOOD,
        {"campaign": {"max_generations": 3}},
        "converged",
        {"max_generations"},
        "converged",
    ),
    "target lowered": (
        GOOD,
        {"stop": {"target_force_mae": 10}},
        "continue",
        {"target_bound", "streak", "elements", "walker_groups"},
        "target 10",
    ),
    "stalled": (
        [start(), trained(60), trained(61), trained(59), trained(60)],
        {},
        "stalled",
        {"target_bound", "streak", "progress", "elements", "walker_groups"},
        "3 generations in a row",
    ),
    "slow, but it adds up": (
        [start(), trained(60), trained(59), trained(58), trained(56.9)],
        {},
        "continue",
        {"target_bound", "streak", "elements", "walker_groups"},
        "",
    ),
    "a bound that falls is progress": (
        [start(), trained(60, high=200), *(trained(62, high=h) for h in (150, 100, 90))],
        {},
        "continue",
        {"target_bound", "streak", "elements", "walker_groups"},
        "",
    ),
    "no audit at all is a stall": (
        [start(), trained(60), *3 * [trained(None)]],
        {},
        "stalled",
        {
            "target_bound",
            "streak",
            "progress",
            *NO_AUDIT,
        },
        "did not fall",
    ),
    "waiting for a streak is no stall": (
        [start(), *5 * [trained(20, candidates=0)]],
        {"stop": {"streak": 6}},
        "continue",
        {"streak"},
        "5 generations in a row, 6 asked",
    ),
    "flat below the target with unstable MD is a stall": (
        [start(), *5 * [trained(20, stable=0.5)]],
        {},
        "stalled",
        {"stable_md", "progress"},
        "stalled",
    ),
    "no candidates and not converged": (
        [start(), *(trained(mae, candidates=0) for mae in (90, 80, 70))],
        {},
        "stalled",
        {"target_bound", "streak", "elements", "walker_groups", "candidates"},
        "NO CANDIDATES in 3 generations",
    ),
    "no candidates once": (
        [start(), *(trained(mae, candidates=n) for mae, n in ((90, 0), (80, 5), (70, 0)))],
        {},
        "continue",
        {"target_bound", "streak", "elements", "walker_groups"},
        "",
    ),
    "generation 0": ([start()], {}, "continue", set(), "20 labelled frames"),
    "generation 0, all failed": (
        [start(frames=0, calls=23)],
        {},
        "stalled",
        {"enough_frames"},
        "23 failed",
    ),
    "generation 0, all failed, but data are given": (
        [start(frames=0, calls=23, labelled=100)],
        {},
        "continue",
        set(),
        "",
    ),
    "generation 0, no E0": (
        [start(without_E0={"O": "unconverged"})],
        {},
        "stalled",
        {"isolated_atoms"},
        "O (unconverged)",
    ),
    "generation 0, no E0, given since": (
        [start(without_E0={"O": "unconverged"})],
        {"data": {"E0s": {"O": -432.0}}},
        "continue",
        set(),
        "",
    ),
    "generation 0, no E0, another one given since": (
        [start(without_E0={"O": "unconverged"})],
        {"data": {"E0s": {"H": -13.0}}},
        "stalled",
        {"isolated_atoms"},
        "O (unconverged)",
    ),
    "generation 0 spent it all": (
        [start(calls=490)],
        {},
        "budget_spent",
        {"max_labels"},
        "10 left",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    history, sections, outcome, failed, words = CASES[name]
    decision = decide(history, settings(**sections))
    assert decision.outcome == outcome, decision.reason
    assert {check.name for check in decision.checks if not check.passed} == failed
    assert words in decision.reason
    for check in decision.checks:
        if not check.passed and check.kind == "convergence":
            assert check.name in decision.reason


def test_new_data_let_a_finished_campaign_go_on_within_its_limits():
    assert decide(GOOD, settings()).outcome == "converged"
    decision = decide(GOOD, settings(), ["more.xyz"])
    assert decision.outcome == "continue"
    assert "more.xyz" in decision.reason
    spent = decide(GOOD[:3], settings(campaign={"max_generations": 2}), ["more.xyz"])
    assert spent.outcome == "budget_spent"
    assert "more.xyz" in spent.reason
    assert decide([start(frames=0)], settings(), ["more.xyz"]).outcome == "continue"


def test_a_sparse_record_is_no_convergence():
    """A record in which nothing was measured passes nothing."""
    decision = decide([{}, {}, {}], settings())
    assert decision.outcome == "continue"
    assert not any(c.passed for c in decision.checks if c.kind == "convergence")


values = st.floats(1, 200)
records = st.builds(
    trained,
    mae=st.none() | values,
    high=st.none() | st.floats(1, 300),
    n=st.integers(1, 20),
    calls=st.integers(0, 600),
    stable=st.sampled_from([0.0, 0.5, 1.0]),
    candidates=st.integers(0, 3),
    elements=st.fixed_dictionaries({"H": values, "O": values}),
    groups=st.dictionaries(st.sampled_from(["300K", "900K"]), values, min_size=1),
)
histories = st.lists(records, min_size=1, max_size=7).map(lambda rows: [start(), *rows])
targets = st.floats(5, 100)


@examples(deadline=None)  # bounds are drawn for each
@given(histories, targets, st.integers(1, 3), st.integers(2, 30))
def test_never_converged_with_a_failed_check(history, target, streak, frames):
    config = settings(
        stop={"target_force_mae": target, "streak": streak, "min_audit_frames": frames}
    )
    decision = decide(history, config)
    passed = [check.passed for check in decision.checks if check.kind == "convergence"]
    assert (decision.outcome == Outcome.CONVERGED) == all(passed)
    if decision.outcome == Outcome.CONTINUE:
        assert all(c.passed for c in decision.checks if c.kind != "convergence")
    # What convergence means, said again without the code's helpers.
    if decision.outcome == Outcome.CONVERGED:
        for record in history[-streak:]:
            assert record["audit"]["force_mae_high"] < target * MEV
            assert record["walkers"]["stable_fraction"] == 1.0


@examples(deadline=None)  # bounds are drawn for each
@given(histories, targets, st.floats(1, 3))
def test_an_easier_target_never_unmakes_convergence(history, target, factor):
    hard = decide(history, settings(stop={"target_force_mae": target}))
    easy = decide(history, settings(stop={"target_force_mae": target * factor}))
    if hard.outcome == Outcome.CONVERGED:
        assert easy.outcome == Outcome.CONVERGED


@examples(deadline=None)  # bounds are drawn for each
@given(histories, st.integers(1, 10), st.integers(0, 5), st.integers(1, 700), st.integers(0, 300))
def test_raised_limits_never_stop_a_campaign(history, most, more, budget, extra):
    def outcome(generations, labels):
        config = settings(campaign={"max_generations": generations}, stop={"max_labels": labels})
        return decide(history, config).outcome

    before, after = outcome(most, budget), outcome(most + more, budget + extra)
    if before != Outcome.BUDGET_SPENT:
        assert after == before


@examples(deadline=None)  # bounds are drawn for each
@given(histories, st.floats(0.2, 1))
def test_smaller_errors_never_unmake_convergence(history, factor):
    def scaled(errors):
        return {k: v * factor if k.startswith("force_mae") else v for k, v in errors.items()}

    def better(record):
        if not record.get("audit"):
            return record
        audit = scaled(record["audit"])
        for key in ("by_element", "by_group"):
            audit[key] = {part: scaled(errors) for part, errors in audit[key].items()}
        return record | {"audit": audit}

    config = settings()
    if decide(history, config).outcome == Outcome.CONVERGED:
        assert decide([better(r) for r in history], config).outcome == Outcome.CONVERGED
