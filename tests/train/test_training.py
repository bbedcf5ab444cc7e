"""Training as a whole: it learns, is reproducible, and survives being killed."""

import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from training_toy import E0S, MODEL, cluster, crystal, write_settings, write_toy

from mace_core.cli.main import build
from mace_core.config.sections import Model, Train
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.model.files import load_model
from mace_core.model.model import MACE
from mace_core.progress import Progress
from mace_core.storage import derived_seed, read_json, write_json
from mace_core.tables import read_table
from mace_core.train.checkpoint import Checkpoint
from mace_core.train.data import Dataset
from mace_core.train.loop import fit
from mace_core.train.member import train_member
from mace_core.train.optimizer import parameter_groups


def weights(folder) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def toy(tmp_path):
    """train(out, **settings) on a small data set."""
    train, valid = write_toy(tmp_path)

    def run(out, call=None, **settings):
        settings_file = write_settings(tmp_path / f"{out}.yaml", **settings)
        return train_member(
            train, settings_file, tmp_path / out, **{"valid_file": valid, **(call or {})}
        )

    return SimpleNamespace(train=run, folder=tmp_path, train_file=train, valid_file=valid)


@pytest.mark.parametrize("make", [crystal, cluster])
def test_four_frames_are_learnt_by_heart(tmp_path, make):
    train, _ = write_toy(tmp_path, 4, 1, make)
    settings = write_settings(
        tmp_path / "c.yaml",
        model={"num_channels": 8, "radial_MLP": [16]},
        max_num_epochs=100,
        batch_size=4,
        lr=0.02,
        energy_weight=100.0,
        stress_weight=100.0,
        eval_interval=10,
    )
    metrics = train_member(train, settings, tmp_path / "m", valid_file=train)
    history = read_table(tmp_path / "m" / "history")
    first = history.valid_forces_mae_meV_A.iloc[0] / 1000
    assert metrics["train"]["forces_mae"] < 0.1 * first
    assert metrics["train"]["energy_mae"] < 0.01
    if make is crystal:
        labels = [abs(frame.info["REF_stress"]).mean() for frame in read_frames(train)]
        assert metrics["train"]["stress_mae"] < 0.2 * max(labels)


def test_what_a_training_leaves(toy):
    metrics = toy.train("m", max_num_epochs=5, eval_interval=2, refit="shift")
    files = {path.name for path in (toy.folder / "m").iterdir()}
    assert files == {
        *("model.safetensors", "model.json", "metrics.json", "history.parquet", "history.csv")
    }
    assert read_json(toy.folder / "m" / "metrics.json") == metrics
    assert (metrics["stop"], metrics["epochs"], metrics["steps"]) == ("max_num_epochs", 5, 15)
    history = read_table(toy.folder / "m" / "history")
    assert history.epoch.tolist() == [0, 2, 4, 5]
    assert history.loss.iloc[1:].gt(0).all() and history.seconds.is_monotonic_increasing
    best = history.set_index("epoch").loc[metrics["best_epoch"]]
    assert best.valid_loss == history.valid_loss.min()
    # Forces do not depend on the shift, which alone changes after the last epoch.
    assert metrics["valid"]["forces_mae"] == pytest.approx(best.valid_forces_mae_meV_A / 1000)
    model = load_model(toy.folder / "m")
    assert model.elements == [13, 29]
    assert [float(e) for e in model.E0[0]] == [E0S["Al"], E0S["Cu"]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_seed_one_model(toy, dtype):
    settings = {"max_num_epochs": 3, "default_dtype": dtype}
    runs = [
        toy.train(out, call={"seed": seed, "member": member}, **settings)
        for out, seed, member in [("a", 1, 0), ("b", 1, 0), ("c", 2, 0), ("d", 1, 1)]
    ]
    a, b, c, d = (weights(toy.folder / out) for out in "abcd")
    assert a == b
    assert len({a, c, d}) == 3
    assert runs[0]["valid"] == runs[1]["valid"]
    assert load_model(toy.folder / "a").dtype == getattr(torch, dtype)


@pytest.fixture
def on_threads(monkeypatch):
    """Sets how many threads trainings use from then on; afterwards as before."""
    before = torch.get_num_threads()
    yield lambda n: monkeypatch.setenv("OMP_NUM_THREADS", str(n))
    torch.set_num_threads(before)


def test_on_two_threads_one_seed_is_one_model_too(toy, on_threads):
    settings = {"max_num_epochs": 4, "eval_interval": 1, "batch_size": 3}
    on_threads(2)
    toy.train("a", **settings)
    assert torch.get_num_threads() == 2
    toy.train("b", **settings)
    assert weights(toy.folder / "a") == weights(toy.folder / "b")
    on_threads(1)
    toy.train("one", **settings)
    two, one = (load_model(toy.folder / out).state_dict() for out in ("a", "one"))
    differ = [key for key in one if not torch.equal(one[key], two[key])]
    assert differ, "the frames of a batch were not shared out"
    for key in differ:
        torch.testing.assert_close(two[key], one[key], rtol=1e-8, atol=1e-10)


#: The kernel ends the process at any instruction, soon after its first checkpoint. From outside, a
#: busy machine may notice that checkpoint only when the training is over.
ENDED_BY_AN_ALARM = """
import signal, sys
from mace_core.cli.main import run
from mace_core.train.checkpoint import Checkpoint

after, save = float(sys.argv.pop(1)), Checkpoint.save

def save_and_wind_up(self, state):
    save(self, state)
    if not any(signal.getitimer(signal.ITIMER_REAL)):
        signal.setitimer(signal.ITIMER_REAL, after)

Checkpoint.save = save_and_wind_up
run()
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_training_killed_and_gone_on_with_gives_bitwise_the_same_model(
    toy, capfd, on_threads, threads
):
    on_threads(threads)
    settings = {"max_num_epochs": 50, "eval_interval": 3, "scheduler_patience": 2}
    toy.train("whole", **settings)
    out = toy.folder / "killed"
    settings_file = write_settings(toy.folder / "killed.yaml", **settings)
    command = [sys.executable, "-c", ENDED_BY_AN_ALARM, random.uniform(0.001, 0.1), "train"]
    command += ["--train", toy.train_file, "--valid", toy.valid_file]
    command += ["--config", settings_file, "--out", out]
    ended = subprocess.run([str(word) for word in command])
    assert ended.returncode == -signal.SIGALRM
    assert not (out / "model.safetensors").exists()
    metrics = toy.train("killed", **settings)
    assert "goes on after epoch" in capfd.readouterr().out
    assert weights(out) == weights(toy.folder / "whole")
    assert metrics["epochs"] == 50
    assert len(read_table(out / "history")) == len(read_table(toy.folder / "whole" / "history"))
    assert not (out / "checkpoint.pt").exists()


class Killed(BaseException):
    """Not an Exception: nothing on the way may swallow it."""


ROUGH = {"ema": False, "scheduler_patience": 1}
FALLING_LR = {**ROUGH, "lr": 0.5, "max_num_epochs": 12}
EARLY_BEST = {**ROUGH, "lr": 0.3, "max_num_epochs": 8}
COSINE = {"scheduler": "CosineAnnealingLR", "optimizer": "adamw"}
TWO_STAGES = {"scheduler": "ExponentialLR", "start_stage_two": 3}


@pytest.mark.parametrize(
    ("at", "kind"),
    [
        (1, {}),
        (3, {"default_dtype": "float32"}),
        (5, FALLING_LR),
        (6, EARLY_BEST),
        (2, COSINE),
        (2, {"optimizer": "muon"}),
        (4, {"optimizer": "muon", "default_dtype": "float32"}),
        *((at, TWO_STAGES) for at in (2, 3, 4)),
    ],
)
def test_any_checkpoint_leads_to_the_same_end(toy, monkeypatch, at, kind):
    settings = {"max_num_epochs": 6, "eval_interval": 1, **kind}
    whole = toy.train("whole", **settings)
    lr = read_table(toy.folder / "whole" / "history").lr
    if kind is FALLING_LR:  # once before, and for what was seen before once after
        assert lr.iloc[0] > lr.iloc[at] > lr.iloc[at + 2] and whole["best_epoch"] > at
    if kind is EARLY_BEST:
        assert 0 < whole["best_epoch"] < at
    saves = iter(range(1, 99))
    from mace_core.train.checkpoint import Checkpoint

    save = Checkpoint.save

    def save_and_die(self, state):
        self.next_write = 0.0
        save(self, state)
        if next(saves) == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_die)
        try:
            toy.train("killed", **settings)
        except Killed:
            assert (toy.folder / "killed" / "checkpoint.pt").exists()
    toy.train("killed", **settings)
    assert weights(toy.folder / "killed") == weights(toy.folder / "whole")


@pytest.mark.parametrize("content", ["garbage", "truncated", "other settings"])
def test_a_checkpoint_of_no_use_is_ignored_and_said_so(toy, monkeypatch, capsys, content):
    from mace_core.train.checkpoint import Checkpoint

    path = toy.folder / "m" / "checkpoint.pt"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: None)
        toy.train("m", max_num_epochs=2, lr=0.02 if content == "other settings" else 0.01)
    if content == "garbage":
        path.write_bytes(b"nothing of use")
    elif content == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    toy.train("m", max_num_epochs=2)
    toy.train("fresh", max_num_epochs=2)
    assert "training starts anew" in capsys.readouterr().err
    assert weights(toy.folder / "m") == weights(toy.folder / "fresh")
    assert not path.exists()


def test_a_warm_start_begins_where_its_parent_ended(toy):
    parent = toy.train("parent", max_num_epochs=6)
    child = toy.train("child", call={"warm_start": toy.folder / "parent"}, max_num_epochs=1)
    first = read_table(toy.folder / "child" / "history").iloc[0]
    assert first.valid_loss == pytest.approx(parent["valid"]["loss"], rel=1e-12)
    assert first.valid_forces_mae_meV_A / 1000 == pytest.approx(parent["valid"]["forces_mae"])
    assert child["warm_start"] == str(toy.folder / "parent")
    for key in ("scale", "avg_num_neighbors"):
        assert child[key] == parent[key]


def test_a_warm_start_begins_with_a_share_of_the_learning_rate(toy):
    settings = {"max_num_epochs": 2, "eval_interval": 1, "lr": 0.02, "warm_start_lr_factor": 0.25}
    toy.train("parent", **settings)
    toy.train("child", call={"warm_start": toy.folder / "parent"}, **settings)
    rates = [read_table(toy.folder / name / "history").lr for name in ("parent", "child")]
    assert rates[0].iloc[0] == 0.02
    assert rates[1].tolist() == pytest.approx((0.25 * rates[0]).tolist(), rel=1e-12)


def test_a_warm_start_with_other_E0s_takes_the_new_ones(toy):
    parent = toy.train("parent", max_num_epochs=6, refit="shift")
    moved = {symbol: energy + 0.5 for symbol, energy in E0S.items()}
    toy.train(
        "child",
        call={"warm_start": toy.folder / "parent"},
        data={"E0s": moved},
        max_num_epochs=1,
        refit="shift",
    )
    first = read_table(toy.folder / "child" / "history").iloc[0]
    assert load_model(toy.folder / "child").E0[0].tolist() == [moved["Al"], moved["Cu"]]
    assert first.valid_forces_mae_meV_A / 1000 == pytest.approx(parent["valid"]["forces_mae"])
    assert first.valid_loss == pytest.approx(parent["valid"]["loss"], rel=1e-6)


def test_E0s_that_a_parent_refitted_are_refitted_in_its_child_before_it_starts(toy):
    parent = toy.train("parent", max_num_epochs=6)
    assert set(parent["refit"]["Default"]["E0s"]) == {"Al", "Cu"}
    toy.train("child", call={"warm_start": toy.folder / "parent"}, max_num_epochs=1)
    first = read_table(toy.folder / "child" / "history").iloc[0]
    assert first.valid_loss == pytest.approx(parent["valid"]["loss"], rel=1e-6)


def test_a_warm_start_from_a_model_that_does_not_fit_is_refused(toy):
    toy.train("parent", max_num_epochs=1)
    call = {"warm_start": toy.folder / "parent"}
    with pytest.raises(UserError, match="num_channels: 4 there, 6 here"):
        toy.train("child", call=call, model={"num_channels": 6}, max_num_epochs=1)
    write_frames(toy.train_file, [cluster(0), cluster(1)])
    with pytest.raises(UserError, match="knows Al Cu, the data have H C O Al Cu"):
        toy.train("child", call=call, max_num_epochs=1)
    with pytest.raises(UserError, match="no model here"):
        toy.train("child", call={"warm_start": toy.folder}, max_num_epochs=1)


def plan_of(toy, **changes):
    from mace_core.config import load_config

    config = load_config(write_settings(toy.folder / "plan.yaml", max_num_epochs=1))
    config = config.model_dump() | {"campaign": {"name": "toy", "seed": 5}}
    write_json(
        toy.folder / "plan.json",
        {"generation": 2, "config": config, "warm_start": None, **changes},
    )
    return toy.folder / "plan.json"


def test_a_plan_gives_the_seed_and_the_model_to_start_from(toy):
    toy.train("parent", max_num_epochs=2)
    planned = [str(toy.folder / "nowhere"), str(toy.folder / "parent")]
    plan = plan_of(toy, warm_start=planned)
    call = {"valid_file": toy.valid_file, "seed": 77}
    metrics = train_member(toy.train_file, plan, toy.folder / "m1", member=1, **call)
    assert metrics["seed"] == derived_seed(5, 2, "train", 1)
    assert metrics["warm_start"] == str(toy.folder / "parent")
    third = train_member(toy.train_file, plan, toy.folder / "m2", member=2, **call)
    assert third["warm_start"] is None


def test_a_plan_goes_on_as_it_began(toy):
    from mace_core.config import load_settings

    plan = plan_of(toy)
    assert load_settings(plan).train == load_settings(toy.folder / "plan.yaml").train
    old = read_json(plan)
    for key in set(old["config"]["train"]) - BEFORE_STAGE_TWO:
        del old["config"]["train"][key]
    write_json(plan, old)
    train = load_settings(plan).train
    assert (train.refit, train.loss, train.optimizer) == ("shift", "weighted", "adam")
    assert (train.scheduler, train.amsgrad, train.stage_two_epoch) == (
        "ReduceLROnPlateau",
        True,
        None,
    )
    assert train.warm_start_lr_factor == 1.0
    train_member(toy.train_file, plan, toy.folder / "m", valid_file=toy.valid_file)


#: Keys of the ``train`` section when plans were first written.
BEFORE_STAGE_TWO = {
    *("members", "max_num_epochs", "batch_size", "lr", "weight_decay", "energy_weight"),
    *("forces_weight", "stress_weight", "ema", "ema_decay", "clip_grad", "lr_factor"),
    *("scheduler_patience", "patience", "eval_interval", "warm_start", "default_dtype", "device"),
}


def test_new_elements_in_the_data_cost_the_plans_warm_start_not_the_campaign(toy, capsys):
    toy.train("parent", max_num_epochs=1)
    plan = plan_of(toy, warm_start=[str(toy.folder / "parent")])
    write_frames(toy.train_file, [cluster(0), crystal(1)])
    metrics = train_member(toy.train_file, plan, toy.folder / "m", valid_file=toy.valid_file)
    assert metrics["warm_start"] is None
    assert "no warm start" in capsys.readouterr().err


def test_E0s_come_from_the_dataset_beside_the_frames(toy):
    summary = {"E0s": {"Cu": -7.0, "Al": -8.0}, "sha256": "abc", "elements": ["Al", "Cu"]}
    write_json(toy.folder / "dataset.json", summary)
    metrics = toy.train("m", max_num_epochs=1, refit="none")
    assert load_model(toy.folder / "m").E0[0].tolist() == [-8.0, -7.0]
    assert metrics["dataset"] == "abc"
    write_json(toy.folder / "dataset.json", {**summary, "E0s": {"Cu": -7.0}})
    with pytest.raises(UserError, match="no E0 for Al"):
        toy.train("m", max_num_epochs=1)


def test_stage_two_begins_when_asked_and_looks_for_its_own_best(toy):
    settings = {"lr": 0.02, "eval_interval": 4, "stage_two_lr": 2e-3}
    metrics = toy.train("m", max_num_epochs=16, start_stage_two=10, **settings)
    history = read_table(toy.folder / "m" / "history").set_index("epoch")
    assert history.index.tolist() == [0, 4, 8, 10, 12, 16]
    assert metrics["stage_two_epoch"] == 10 and metrics["best_epoch"] in (12, 16)
    assert history.lr.loc[:10].gt(2e-3).all() and history.lr.loc[12:].eq(2e-3).all()
    # The loss has the weights of stage two from then on, in training, in history and in metrics.
    assert history.valid_loss.loc[12] > 5 * history.valid_loss.loc[10]
    assert metrics["valid"]["loss"] == pytest.approx(
        history.valid_loss.loc[metrics["best_epoch"]], rel=0.5
    )
    one = toy.train("one", max_num_epochs=10, **settings)
    first = read_table(toy.folder / "one" / "history").set_index("epoch")
    assert first.valid_loss.tolist() == history.valid_loss.loc[:10].tolist()
    assert one["stage_two_epoch"] is None


def test_stage_two_begins_early_where_stage_one_makes_no_progress(toy):
    metrics = toy.train(
        "m",
        max_num_epochs=400,
        stage_two=True,
        start_stage_two=396,
        patience=2,
        lr=0.3,
        ema=False,
        eval_interval=1,
    )
    start = metrics["stage_two_epoch"]
    assert 2 < start < 396 and start < metrics["epochs"] <= start + 4
    history = read_table(toy.folder / "m" / "history").set_index("epoch")
    assert history.valid_loss.loc[:start].idxmin() == start - 2


def test_frozen_parameters_stay_and_the_others_move(toy):
    toy.train("m", max_num_epochs=1)
    model = load_model(toy.folder / "m")
    model.products.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frames = read_frames(toy.train_file)
    data = Dataset(frames, model.elements, model.r_max, model.dtype)
    settings = Train(max_num_epochs=2, refit="none")
    with Progress("test", 2, "epoch") as progress:
        fit(model, data, data, settings, 0, Checkpoint(toy.folder / "c.pt", "key"), progress)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == (not name.startswith("products.")), name


def test_training_stops_after_patience_and_keeps_the_best(toy):
    metrics = toy.train("m", max_num_epochs=400, patience=2, lr=0.3, ema=False, eval_interval=1)
    history = read_table(toy.folder / "m" / "history")
    assert metrics["stop"] == "patience"
    assert metrics["epochs"] == metrics["best_epoch"] + 2 < 400
    assert history.valid_loss.idxmin() == metrics["best_epoch"]


def test_a_training_that_diverges_keeps_what_it_had_or_says_so(toy, capsys):
    metrics = toy.train("m", max_num_epochs=30, lr=1e200, ema=False, eval_interval=1)
    assert metrics["stop"] == "diverged"
    assert "diverged in epoch" in capsys.readouterr().err
    frames = read_frames(toy.valid_file)
    frames[0].info["REF_energy"] = 1e300
    write_frames(toy.valid_file, frames)
    with pytest.raises(UserError, match="loss is not finite"):
        toy.train("n", max_num_epochs=3)


def test_without_valid_the_frames_are_split(toy):
    metrics = toy.train("m", call={"valid_file": None}, max_num_epochs=1)
    assert (metrics["n_train"], metrics["n_valid"]) == (5, 1)
    write_frames(toy.train_file, [crystal(0)])
    with pytest.raises(UserError, match="1 frames to train on and 0 held out"):
        toy.train("n", call={"valid_file": None}, max_num_epochs=1)


def test_only_products_and_the_linear_maps_of_A_decay():
    E0s = {13: 0.0, 29: 0.0}
    model = MACE(Model(**MODEL), [13, 29], E0s, avg_num_neighbors=10.0)
    decayed, free = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rows = [{names[id(p)] for p in group["params"]} for group in (decayed, free)]
    assert rows[0] | rows[1] == set(names.values()) and not rows[0] & rows[1]
    kinds = {name.split(".")[0] + "." + name.split(".")[2] for name in rows[0]}
    assert kinds == {"interactions.linear", "products.weights", "products.linear"}


def test_the_command(toy, monkeypatch, capsys):
    settings = write_settings(toy.folder / "c.yaml", max_num_epochs=2)
    monkeypatch.setattr(
        sys,
        "argv",
        f"maceloop train --train {toy.train_file} --config {settings} "
        f"--out {toy.folder / 'm'} --seed 3".split(),
    )
    with pytest.raises(SystemExit) as end:
        build()()
    assert end.value.code == 0
    assert "2 epochs" in capsys.readouterr().out
    assert read_json(toy.folder / "m" / "metrics.json")["seed"] == derived_seed(3, "train", 0)
