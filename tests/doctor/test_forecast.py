"""The forecast's arithmetic follows the stop rule, and its costs are measured."""

from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.io import write
from audit_rows import measured, strata

from mace_core.assess.decide import decide
from mace_core.config.campaign import parse_config
from mace_core.conventions import Outcome
from mace_core.doctor import examine, forecast
from mace_core.doctor.forecast import Size, Steps, best, makespan, worst
from mace_core.doctor.labels import LabelCosts
from mace_core.doctor.measure import Costs, measure
from mace_core.doctor.report import campaign_size
from mace_core.frames import canonical
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore

#: One thing at a time costs something.
NOTHING = Steps(*[0.0] * 8)
ONE_SECOND = LabelCosts({9: 1.0, 1: 1.0}, "test")


def configuration(**sections):
    values = {
        "campaign": {"name": "c", "max_generations": 5},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["x.xyz"], "n_frames": 19},
        "train": {"members": 3, "max_num_epochs": 100, "patience": 10, "eval_interval": 2},
        "explore": {"walkers": 4, "steps": 1000, "save_interval": 10},
        "select": {"max_frames": 20, "audit_frames": 5},
        "label": {"batch_size": 5},
        "stop": {"streak": 2, "min_audit_frames": 15, "max_labels": 300, "exam_length": 0},
    }
    for name, keys in sections.items():
        values[name] = values.get(name, {}) | keys
    return parse_config(values, where="test")


SIZE = Size(first=[9] * 20, later=[9])


def assessment(g, labels, high):
    errors = {"n": 5, "force_mae": high / 2, "force_mae_high": high}
    return {
        "generation": g,
        "labels": {"total_calls": labels, "converged": 20},
        "audit": {"n_frames": 5, "force_mae": high / 2, "force_mae_high": high}
        | {"by_element": {"C": errors}, "by_group": {"300K": errors}},
        "walkers": {"stable_fraction": 1.0, "groups": ["300K"]},
        "dataset": {"elements": ["C"], "strata": strata("x.xyz")},
        "selection": {"candidates": 20, "audit": 5, "exam": 0},
        "start": {"frames": 20},
        **measured({"x.xyz": 1000 * high}, generation=g, n=5),
    }


def by_the_stop_rule(config, labels, high):
    """Generation, labels and outcome at which the real rule ends such a campaign."""
    history, spent = [], 20
    while True:
        g = len(history)
        history.append(assessment(g, spent, high(g)))
        decision = decide(history, config)
        if decision.outcome is not Outcome.CONTINUE:
            return g, spent, decision.outcome
        spent += labels


@pytest.mark.parametrize("budget", [45, 69, 70, 120, 145, 146, 10_000])
def test_the_worst_case_ends_where_the_stop_rule_ends_it(budget):
    config = configuration(stop={"max_labels": budget})
    last = worst(config, SIZE, ONE_SECOND, NOTHING, 1)[-1]
    expected = by_the_stop_rule(config, 25, lambda g: 1000.0 * 0.5**g)
    assert (last.generation, last.labels, Outcome.BUDGET_SPENT) == expected


@pytest.mark.parametrize("stop", [{}, {"streak": 4}, {"streak": 1, "min_audit_frames": 5}])
def test_the_best_case_ends_where_the_stop_rule_ends_it(stop):
    config = configuration(stop=stop)
    last = best(config, SIZE, ONE_SECOND, NOTHING, 1)[-1]
    expected = by_the_stop_rule(config, 5, lambda g: 0.001)
    assert (last.generation, last.labels, Outcome.CONVERGED) == expected


def test_every_cost_counts_once():
    """Each step's cost alone, in core-seconds, against the counts of the configuration."""
    config, size = configuration(), Size(first=[9] * 20, later=[9], labelled=80, frozen=7)

    def core_seconds(cost=ONE_SECOND, **steps):
        values = {name: steps.get(name, 0.0) for name in Steps.__dataclass_fields__}
        row = worst(config, size, cost, Steps(**values), 1)[-1]
        return pytest.approx(3600 * row.core_hours), row

    free = LabelCosts({9: 0.0}, "test")
    assert core_seconds()[0] == 20 + 5 * 25
    trained = [round(0.9 * (100 + 25 * g)) for g in range(5)]
    held = [100 + 25 * g - n for g, n in enumerate(trained)]
    epochs = 3 * 100 * sum(n + v / 3 / 2 for n, v in zip(trained, held, strict=True))
    assert core_seconds(free, epoch_frame=1.0)[0] == epochs
    assert core_seconds(free, start_training=1.0)[0] == 3 * 5
    walked = 5 * 4 * 1000
    looked_at = sum(trained) + 5 * 4 * 100  # selection
    scored = held[0] + 5 * (25 + 7)  # calibration and assessment
    assert core_seconds(free, md_step=1.0)[0] == walked + looked_at + scored
    assert core_seconds(free, label_start=1.0)[0] == 4 + 5 * 5
    row = core_seconds(aside=1.0)[1]
    assert row.hours == row.core_hours  # one core does everything in turn


def test_the_final_exam_is_one_long_walk_and_its_labels_in_each_stratum():
    size = Size(first=[9] * 20, later=[9, 9, 9])
    walking = Steps(*[1.0 if name == "md_step" else 0.0 for name in Steps.__dataclass_fields__])
    free = LabelCosts({9: 0.0}, "test")

    def last(case, exam_length, cost):
        stop = {"exam_length": exam_length, "exam_frames": 4}
        return case(configuration(stop=stop), size, cost, walking, 1)[-1]

    # At best it is held once and passed; at worst in each generation from the second on.
    for case, held in ((best, 1), (worst, 4)):
        without, examined = (last(case, n, free) for n in (0, 10))
        assert examined.labels - without.labels == held * 3 * 4
        more = 3600 * (examined.parts["MD"] - without.parts["MD"])
        assert more == pytest.approx(held * 3 * 10 * 1000)
        assert last(case, 10, ONE_SECOND).parts["labels"] * 3600 == pytest.approx(examined.labels)


def test_an_exam_takes_a_generation_before_it_that_calls_for_it():
    def least(**stop):
        return forecast.least_generations(configuration(stop={"min_audit_frames": 5, **stop}))

    assert least(streak=1, exam_length=0) == 1
    assert least(streak=1, exam_length=10) == 2
    assert least(streak=2, exam_length=10) == 2
    assert least(streak=3, exam_length=10) == 3


@pytest.mark.parametrize("streak", [1, 2, 3])
@pytest.mark.parametrize("budget", [53, 54, 83, 119, 149, 150, 10_000])
def test_with_exams_that_are_not_passed_it_ends_where_the_stop_rule_ends_it(budget, streak):
    """Good audits, and exams of which no label comes: 25 labels a generation, and 4 of an exam."""
    config = configuration(stop={"streak": streak, "max_labels": budget, "exam_length": 10}
                           | {"exam_frames": 4})  # fmt: skip
    history, spent = [], 20
    while True:
        g = len(history)
        history.append(assessment(g, spent, 0.001))
        decision = decide(history, config)
        if decision.outcome is not Outcome.CONTINUE:
            break
        spent += 25 + 4 * decision.exam
    assert decision.outcome is Outcome.BUDGET_SPENT
    n = forecast.most_generations(config, SIZE, examined=True)
    first = forecast.first_exam(config)
    assert (g, spent) == (n, 20 + 25 * n + 4 * max(0, n - first + 1))


def test_a_budget_that_is_spent_sooner_by_exams_is_not_dearer_for_that():
    """No exam at all leaves labels for more generations, and for their trainings."""
    config = configuration(stop={"max_labels": 149, "exam_length": 10, "exam_frames": 4})
    epoch = Steps(*[1.0 if name == "epoch_frame" else 0.0 for name in Steps.__dataclass_fields__])
    walking = Steps(*[1.0 if name == "md_step" else 0.0 for name in Steps.__dataclass_fields__])
    free = LabelCosts({9: 0.0}, "test")
    assert worst(config, SIZE, free, epoch, 1)[-1].labels == 145
    assert worst(config, SIZE, free, walking, 1)[-1].labels == 20 + 4 * 25 + 3 * 4


def test_more_cores_never_cost_more():
    config = configuration()
    steps = Steps(0.001, 0.001, 0.003, 4.0, 2.0, 1.0, 1.0, 6.0)
    hours = [worst(config, SIZE, ONE_SECOND, steps, n)[-1].hours for n in (1, 2, 4, 64)]
    assert hours == sorted(hours, reverse=True)
    assert hours[0] > 1.5 * hours[2]
    assert makespan([3.0, 1.0, 1.0, 1.0], 2) == 3.0


def test_sizes_that_were_not_measured_have_two_bounds():
    costs = LabelCosts({8: 2.0, 64: 100.0}, "test")
    assert costs(8) == (2.0, 2.0)
    assert costs(16) == (4.0, 16.0)
    assert costs(1) == (pytest.approx(2 / 512), 2.0)
    assert costs(63) == (pytest.approx(100 * (63 / 64) ** 3), 100.0)


def test_generation_0_is_counted_as_it_is_prepared(tmp_path, monkeypatch):
    from mace_core.doctor.frames import base_frames
    from mace_core.seed.prepare import prepare_seed

    monkeypatch.chdir(tmp_path)
    write("cu.xyz", bulk("Cu", cubic=True), format="extxyz")
    config = configuration(
        seed={
            "structures": ["cu.xyz"],
            "supercell": [2, 1, 1],
            "n_frames": 5,
            "vacancies": 2,
            "substitutions": [{"element": "Cu", "by": "Ni"}],
        }
    )
    made = prepare_seed(config, [], tmp_path / "frames.extxyz")
    size = campaign_size(config, base_frames(config))
    assert sorted(size.first) == sorted(len(atoms) for atoms in made)


@pytest.fixture
def copper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("x.xyz", bulk("Cu", cubic=True), format="extxyz")
    return configuration(
        model={"num_channels": 4, "max_L": 0, "max_ell": 1, "correlation": 1, "r_max": 3.0}
        | {"radial_MLP": [8], "num_interactions": 1},
        train={"members": 2},
        tracking={"enabled": False},
    )


def test_costs_are_measured(copper):
    costs = measure(copper, [canonical(bulk("Cu", cubic=True))])
    assert 1e-5 < costs.epoch_frame < 1
    assert 1e-5 < costs.md_step < 1
    assert costs.start_training > 0.5
    assert costs.peak > 1e8


def test_labels_of_the_store_count_before_a_new_one(copper, monkeypatch):
    """The doctor reads them, and never writes there."""
    costs = Costs(0.001, 0.001, 0.003, 4.0, 2.0, 1.0, 1e8)
    monkeypatch.setattr("mace_core.doctor.report.measure", lambda *_: costs)
    config = copper
    lines = list(examine(config, cores=2, forecast=False, label=False))
    assert not any("label store" in line for line in lines)
    assert not Path("labels").exists()
    store = LabelStore("labels", config.labeller)
    label_frames([bulk("Cu", cubic=True), molecule("O")], config.labeller, store)
    lines = "\n".join(examine(config, cores=2, label=False))
    assert "median of 2 labels of this level in the label store" in lines
    assert "at best: converged after generation 3 with 36 label calls" in lines
    assert "ended by campaign.max_generations 5 after generation 5 with 146 label calls" in lines
    assert len(list(Path("labels").rglob("*.json"))) == 3


def test_without_a_label_there_is_no_forecast(copper):
    lines = list(examine(copper, label=False))
    assert lines[-1].startswith("note  no forecast")


def test_a_campaign_that_cannot_converge_is_told_so(copper):
    config = configuration(stop={"max_labels": 50})
    size = Size(first=[4] * 21, later=[4])
    assert best(config, size, ONE_SECOND, NOTHING, 1)[-1].generation == 1
    assert forecast.least_generations(config) == 3
