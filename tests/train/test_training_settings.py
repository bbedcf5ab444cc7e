"""Settings of training that are refused, and what is said about them."""

import pytest
from training_toy import write_settings

from mace_core.config import load_config
from mace_core.config.sections import Train
from mace_core.errors import UserError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "ef"}, "'ef' is not supported: weighted, with energy_weight: 1"),
        ({"loss": "virials"}, "give stress labels"),
        ({"loss": "dipole"}, "dipoles are not predicted"),
        ({"loss": "dipole_polar"}, "not predicted"),
        ({"loss": "energy_forces_dipole"}, "not predicted"),
        ({"loss": "mse"}, "'weighted'"),
        ({"optimizer": "schedulefree"}, "use adamw"),
        ({"scheduler": "StepLR"}, "'ExponentialLR'"),
        ({"max_num_epochs": 10, "start_stage_two": 10}, "after 10 epochs, and there are 10"),
        ({"max_num_epochs": 1, "stage_two": True}, "after 1 epochs, and there are 1"),
        ({"loss": "forces_only", "stage_two": True}, "leaves out"),
    ],
)
def test_what_is_refused(tmp_path, settings, said):
    with pytest.raises(UserError) as error:
        load_config(write_settings(tmp_path / "c.yaml", **settings))
    assert said in str(error.value) and "train" in str(error.value)


def test_when_stage_two_starts():
    assert Train().stage_two_epoch is None
    assert Train(start_stage_two=7).stage_two_epoch == 7
    assert Train(stage_two=True, max_num_epochs=41).stage_two_epoch == 30
    assert Train(stage_two=True, max_num_epochs=3).stage_two_epoch == 1


@pytest.mark.parametrize(
    ("settings", "lr", "warm"),
    [
        ({}, 0.06, 1),
        ({"optimizer": "adamw"}, 0.03, 0.3),
        ({"foundation_model": "base"}, 0.02, 1),
        ({"foundation_model": "base", "optimizer": "adam", "lr": None}, 0.03, 0.3),
        ({"foundation_model": "base", "lr": 0.5, "warm_start_lr_factor": 0.2}, 0.5, 0.2),
    ],
)
def test_learning_rates_follow_optimiser_and_start_unless_they_are_given(settings, lr, warm):
    train = Train(**settings)
    assert (train.lr, train.warm_start_lr_factor) == pytest.approx((lr, warm))
