"""The frozen plan, and what a campaign does next under the present configuration."""

import subprocess
import sys

import pytest
from ase.build import bulk
from audit_rows import measured, strata

from mace_core.assess.decide import Decision
from mace_core.config.campaign import load_config, parse_config
from mace_core.conventions import MEV, Outcome
from mace_core.errors import UserError
from mace_core.frames import write_frames
from mace_core.layout import Layout
from mace_core.plan import next_action, read_plan, sizes, write_plan
from mace_core.storage import read_json, write_json


def settings(**sections):
    values = {
        "campaign": {"name": "cu", "max_generations": 4},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["cu.xyz"]},
        "train": {"members": 3},
        "explore": {"walkers": 5},
        "select": {"max_frames": 10, "audit_frames": 6},
        "label": {"batch_size": 5},
        "stop": {"target_force_mae": 30, "max_labels": 200, "min_audit_frames": 6}
        | {"exam_length": 0},
    }
    for section, keys in sections.items():
        values[section] = values.get(section, {}) | keys
    return parse_config(values, where="test")


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Layout("results", "cu")


def assessed(layout, g, mae=20.0, calls=None):
    """Write an assessment; errors in meV/Å, bounds 10 % above, those of the stratum lower."""
    calls = 25 * (g + 1) if calls is None else calls
    part = {"force_mae": mae * MEV, "force_mae_high": 1.1 * mae * MEV, "n": 6}
    record = {
        "generation": g,
        "outcome": "continue",
        "labels": {"total_calls": calls, "converged": 20},
        "calibration": {"factor": 1.0 + g, "level": 0.9} if g else None,
    }
    if g:
        record |= {
            "audit": part | {"n_frames": 6, "by_element": {"Cu": part}, "by_group": {"300K": part}},
            "dataset": {"elements": ["Cu"], "strata": strata("cu.xyz")},
            "walkers": {"stable_fraction": 1.0, "groups": ["300K"]},
            "selection": {"candidates": 9, "audit": 6, "exam": 0},
            **measured({"cu.xyz": 0.3 * mae}, generation=g, n=6),
        }
    else:
        record["start"] = {"frames": 20, "labelled_frames": 0, "without_E0": {}}
    write_json(layout.assess(g), record)


def campaign(layout, config, *maes):
    """Generation 0, and one more for each MAE, planned and assessed."""
    for g, mae in enumerate([None, *maes]):
        write_plan(config, g, layout.plan(g))
        assessed(layout, g, mae or 0.0)


def test_plan_has_what_the_contract_says(layout):
    config = settings()
    plan, made = write_plan(config, 0, layout.plan(0))
    assert made
    assert plan == read_json(layout.plan(0))
    assert plan["format"] == 1
    assert plan["campaign"] == "cu"
    assert plan["generation"] == 0
    assert parse_config(plan["config"], where="plan") == config
    assert len(plan["theory"]) == 16
    assert plan["labelled"] == []
    assert plan["calibration"] is None
    assert plan["warm_start"] is None
    assert plan["labels_spent"] == 0
    assert plan["exam"] is None


def test_a_plan_is_made_once(layout):
    write_plan(settings(), 0, layout.plan(0))
    before = layout.plan(0).read_bytes()
    plan, made = write_plan(settings(train={"members": 7}), 0, layout.plan(0))
    assert not made
    assert layout.plan(0).read_bytes() == before
    assert plan["config"]["train"]["members"] == 3


def test_a_plan_of_another_generation_is_not_taken(layout):
    write_plan(settings(), 0, layout.plan(0))
    with pytest.raises(UserError, match="plan of generation 0"):
        write_plan(settings(), 1, layout.plan(0))


def test_a_damaged_plan_is_said(layout):
    layout.plan(0).parent.mkdir(parents=True)
    layout.plan(0).write_text('{"format": 1, "gener')
    with pytest.raises(UserError, match="not a plan"):
        write_plan(settings(), 0, layout.plan(0))
    with pytest.raises(UserError, match="format 99"):
        write_json(layout.plan(0), {"format": 99})
        read_plan(layout.plan(0))


def test_sizes_come_from_the_plan_once_there_is_one(layout):
    config = settings()
    campaign(layout, config)
    assert sizes(config, layout, 1) == {"members": 3, "walkers": 5, "label_batches": 4}
    write_plan(config, 1, layout.plan(1))
    changed = settings(train={"members": 2}, explore={"walkers": 9}, label={"batch_size": 1})
    assert sizes(changed, layout, 1) == {"members": 3, "walkers": 5, "label_batches": 4}
    assert sizes(changed, layout, 2) == {"members": 2, "walkers": 9, "label_batches": 16}


def examined(layout, monkeypatch, g, strata=("a.xyz", "b.xyz"), exam=True):
    """The decision after generation ``g`` calls for an exam, whatever else it says."""

    def decision(history, config, new_data=()):
        return Decision(Outcome.CONTINUE, "told to", exam=exam and len(history) == g + 1)

    monkeypatch.setattr("mace_core.plan.decide", decision)
    rows = {name: {"labels": 9, "n_train": 8, "n_valid": 1} for name in strata}
    write_json(layout.dataset(g) / "dataset.json", {"strata": rows} if rows else {})


def test_the_final_exam_is_in_the_plan_where_the_decision_calls_for_it(layout, monkeypatch):
    config = settings(
        stop={"exam_length": 7, "exam_frames": 3, "target_force_mae": 30, "max_labels": 200},
        explore={"steps": 50},
    )
    campaign(layout, config, 20)
    examined(layout, monkeypatch, 1, strata=["b.xyz", "a.xyz"])
    # Asked by the workflow before the plan exists, and the same in the plan.
    asked = sizes(config, layout, 2)
    plan, _ = write_plan(config, 2, layout.plan(2))
    assert plan["exam"] == {"strata": ["a.xyz", "b.xyz"], "steps": 350, "frames": 3}
    assert asked == plan["sizes"] == sizes(config, layout, 2)
    assert asked == {"members": 3, "walkers": 5 + 2, "label_batches": 5}  # 16 + 6 frames, by 5
    without = settings(stop={"exam_length": 0}, explore={"steps": 50})
    assert write_plan(without, 2, "without.json")[0]["exam"] is None


@pytest.mark.parametrize("told", [{"exam": False}, {"strata": []}])
def test_no_exam_unless_it_is_called_for_and_strata_are_known(layout, monkeypatch, told):
    campaign(layout, settings(), 20)
    examined(layout, monkeypatch, 1, **told)
    assert sizes(settings(), layout, 2)["walkers"] == 5
    plan, _ = write_plan(settings(), 2, layout.plan(2))
    assert plan["exam"] is None and plan["sizes"]["walkers"] == 5


def test_no_exam_before_there_is_a_training_set(layout, monkeypatch):
    campaign(layout, settings())
    examined(layout, monkeypatch, 0)
    assert write_plan(settings(), 1, layout.plan(1))[0]["exam"] is None
    assert sizes(settings(), layout, 1)["walkers"] == 5


def test_generation_0_trains_nothing_and_batches_its_seeds(layout):
    config = settings(seed={"structures": ["cu.xyz"], "n_frames": 20})
    assert sizes(config, layout, 0) == {"members": 0, "walkers": 0, "label_batches": 5}
    assert write_plan(config, 0, layout.plan(0))[0]["sizes"] == sizes(config, layout, 0)


def test_a_changed_setting_applies_from_the_next_generation_on(layout):
    campaign(layout, settings(), 90)
    write_plan(settings(train={"max_num_epochs": 7}), 2, layout.plan(2))
    epochs = [read_plan(layout.plan(g))["config"]["train"]["max_num_epochs"] for g in range(3)]
    assert epochs == [200, 200, 7]


def test_calibration_and_labels_spent_come_from_the_generation_before(layout):
    config = settings()
    campaign(layout, config, 90, 80)
    assert read_plan(layout.plan(1))["calibration"] is None
    plan = read_plan(layout.plan(2))
    assert plan["calibration"] == {"factor": 2.0, "level": 0.9}
    assert plan["labels_spent"] == 50


def test_warm_start_names_the_members_before(layout):
    config = settings()
    campaign(layout, config, 90)
    assert read_plan(layout.plan(1))["warm_start"] is None
    plan, _ = write_plan(settings(train={"members": 4}), 2, layout.plan(2))
    folders = [f"results/cu/gen_01/train/member_{m}" for m in range(3)]
    assert plan["warm_start"] == folders  # the fourth has no forerunner
    fewer, _ = write_plan(settings(train={"members": 2}), 2, "fewer.json")
    assert fewer["warm_start"] == folders[:2]


@pytest.mark.parametrize(
    "change", [{"model": {"num_channels": 8}}, {"train": {"warm_start": False}}]
)
def test_no_warm_start(layout, change):
    campaign(layout, settings(), 90)
    plan, _ = write_plan(settings(**change), 2, layout.plan(2))
    assert plan["warm_start"] is None


def test_generations_follow_one_another(layout):
    config = settings()
    with pytest.raises(UserError, match="generation 0 is not assessed"):
        write_plan(config, 1, layout.plan(1))
    campaign(layout, config)
    write_plan(config, 1, layout.plan(1))
    with pytest.raises(UserError, match="generation 1 is not assessed"):
        write_plan(config, 2, layout.plan(2))


def test_a_finished_campaign_is_not_planned_further_unless_its_limits_change(layout):
    config = settings(campaign={"name": "cu", "max_generations": 1})
    campaign(layout, config, 90)
    with pytest.raises(UserError, match="generation 1 of 1") as caught:
        write_plan(config, 2, layout.plan(2))
    assert "max_generations" in caught.value.mend
    assert not layout.plan(2).exists()
    assert write_plan(settings(), 2, layout.plan(2))[1]


def test_next_action_through_a_campaign(layout):
    config = settings()
    assert next_action(config, layout) == ("run", 0)
    write_plan(config, 0, layout.plan(0))
    assert next_action(config, layout) == ("run", 0)
    assessed(layout, 0)
    assert next_action(config, layout) == ("run", 1)
    write_plan(config, 1, layout.plan(1))
    assessed(layout, 1, 20)
    assert next_action(config, layout) == ("run", 2)
    write_plan(config, 2, layout.plan(2))
    assessed(layout, 2, 20)
    assert next_action(config, layout) == ("stop", 2, "converged")


EXTENSIONS = {
    "max_generations": ({"campaign": {"max_generations": 2}}, {"campaign": {"max_generations": 3}}),
    "max_labels": ({"stop": {"max_labels": 80}}, {"stop": {"max_labels": 100}}),
    "target": ({"stop": {"target_force_mae": 110}}, {"stop": {"target_force_mae": 50}}),
    "stall": ({"stop": {"stall_generations": 1}}, {"stop": {"stall_generations": 2}}),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_changed_limit_lets_a_finished_campaign_go_on(layout, name):
    finished, extended = EXTENSIONS[name]
    campaign(layout, settings(), 90, 90)
    assert next_action(settings(**finished), layout)[:2] == ("stop", 2)
    assert next_action(settings(**extended), layout) == ("run", 3)
    assert write_plan(settings(**extended), 3, layout.plan(3))[1]


def test_new_labelled_data_let_a_finished_campaign_go_on(layout):
    campaign(layout, settings(), 20, 20)
    assert next_action(settings(), layout) == ("stop", 2, "converged")
    write_frames("more.xyz", [bulk("Cu")])
    more = settings(data={"labelled": ["more.xyz"]})
    assert next_action(more, layout) == ("run", 3)
    plan, _ = write_plan(more, 3, layout.plan(3))
    assert [row["path"] for row in plan["labelled"]] == ["more.xyz"]
    assessed(layout, 3, 20)
    assert next_action(more, layout) == ("stop", 3, "converged")
    write_frames("more.xyz", [bulk("Cu", a=3.7)])  # changed content is new data
    assert next_action(more, layout) == ("run", 4)


def test_missing_labelled_data_are_said(layout):
    campaign(layout, settings(), 20, 20)
    with pytest.raises(UserError, match=r"data.labelled: 'gone.xyz'"):
        next_action(settings(data={"labelled": ["gone.xyz"]}), layout)


def test_lowering_max_generations_removes_nothing(layout):
    campaign(layout, settings(), 90, 80, 70)
    fewer = settings(campaign={"max_generations": 1})
    assert next_action(fewer, layout) == ("stop", 3, "budget_spent")
    assert layout.assessed_generations() == [0, 1, 2, 3]


def test_a_generation_that_has_started_is_finished(layout):
    campaign(layout, settings(), 90)
    write_plan(settings(), 2, layout.plan(2))
    assert next_action(settings(campaign={"max_generations": 1}), layout) == ("run", 2)


def test_another_level_of_theory_is_another_campaign(layout):
    campaign(layout, settings(), 90)
    other = settings(labeller={"engine": "tblite"})
    with pytest.raises(UserError, match="level of theory") as caught:
        next_action(other, layout)
    assert "campaign.name" in caught.value.mend
    with pytest.raises(UserError, match="level of theory"):
        write_plan(other, 2, layout.plan(2))
    # What is not theory may change.
    assert next_action(settings(labeller={"engine": "emt", "time_limit": 9}), layout) == ("run", 2)


def test_the_workflow_imports_it_fast():
    heavy = ("torch", "ase", "scipy", "pandas")
    code = f"import mace_core.plan, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_command_line(layout, capsys):
    from typer.testing import CliRunner

    from mace_core.cli.main import build

    write_frames("cu.xyz", [bulk("Cu")])
    with open("c.yaml", "w") as handle:
        handle.write(
            "campaign: {name: cu}\nlabeller: {engine: emt}\nseed: {structures: [cu.xyz]}\n"
        )
    arguments = ["plan", "--config", "c.yaml", "--generation", "00", "--out", str(layout.plan(0))]
    first, second = (CliRunner().invoke(build(), arguments) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert "4 label batches" in first.output
    assert "stays as it is" in second.output
    assert parse_config(read_plan(layout.plan(0))["config"], where="") == load_config("c.yaml")
    shown = CliRunner().invoke(build(), ["summary", "--config", "c.yaml"])
    assert "generation 0 is not assessed yet" in shown.output
    assert not layout.summary.exists()
