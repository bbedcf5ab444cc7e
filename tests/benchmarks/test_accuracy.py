"""The accuracy table on a small published split: made once, scored again, gone on with."""

import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from small_rmd17 import write_rmd17

from mace_core.frames import read_frames
from mace_core.model.files import load_model
from mace_core.storage import read_json

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = {"num_channels": 4, "max_L": 0, "max_ell": 1, "correlation": 2, "radial_MLP": [8]}


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import accuracy
    import accuracy_table

    monkeypatch.setitem(accuracy.MODELS, "32x0e", TINY)
    monkeypatch.setitem(accuracy_table.SIZES, "ethanol", (8, 4))
    return accuracy


@pytest.fixture
def data(tmp_path, accuracy):
    return write_rmd17(tmp_path / "data", {"ethanol": "CH3CH2OH"}, 16, 12)


@pytest.fixture
def run(accuracy, data, monkeypatch, capsys):
    """Runs the program; its last rows, as printed."""

    def run(*options):
        argv = ["accuracy.py", "--data", data, *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in argv])
        accuracy.main()
        return [
            line
            for line in capsys.readouterr().out.splitlines()
            if "ethanol" in line and "…" not in line
        ]

    return run


def test_a_row_is_made_once_scored_again_and_gone_on_with(run, accuracy, tmp_path, monkeypatch):
    out, models = tmp_path / "out", tmp_path / "out" / "models"
    options = ["--out", out, "--sets", "ethanol", "--models", "32x0e", "--epochs", 4]
    options += ["--batch_size", 2]
    (row,) = run(*options)
    (result,) = (out / "runs").glob("*.json")
    made = read_json(result)
    assert made["batch_size"] == 2 and made["all_epochs"] == [4] and made["n_test"] == 12
    written = result.stat().st_mtime_ns
    assert run(*options) == [row]
    assert result.stat().st_mtime_ns == written

    scored, mean = run("--score", models)
    assert scored == row
    energy, force = made["total_energy_mae"], made["forces_mae"]
    assert mean == f"ethanol, mean of 1: E {energy:.2f} meV, F {force:.2f} meV/Å"

    run(*options, "--members", 1)
    (other,) = (read_json(path) for path in models.glob("*_2_1_1/row.json"))
    *_, mean, whole = run("--score", models)
    assert mean.startswith("ethanol, mean of 2: ")
    assert whole.startswith("ethanol, 2 of 32x0e merged into one of 8 channels: ")
    E_and_F = [[float(line.split()[i]) for i in (-5, -2)] for line in (mean, whole)]
    assert E_and_F[0] == pytest.approx(E_and_F[1], abs=0.02)
    # Another member of the same frames.
    assert (other["n_test"], other["forces_mae"] != force) == (12, True)
    of_mean, of_each = float(mean.split()[-2]), [force, other["forces_mae"]]
    # |mean of two residuals| is at most the mean of their absolute values, and neither of them.
    assert of_mean < np.mean(of_each) + 0.01
    assert min(abs(of_mean - one) for one in of_each) > 0.05

    # Steps of no length: what is gone on with is still the model that was kept.
    monkeypatch.setitem(accuracy.LR, "muon", 1e-15)
    again = tmp_path / "again"
    (longer,) = run(*options, "--out", again, "--start", models)
    (result,) = (again / "runs").glob("*.json")
    after = read_json(result)
    assert "| 4 + 4 |" in longer and after["all_epochs"] == [4, 4]
    assert after["hours"] > made["hours"]
    assert after["forces_mae"] == pytest.approx(made["forces_mae"], rel=1e-5)

    for wrong in (["--together", 0, 1], ["--start", models, "--together", 0, 1, "--members", 1]):
        with pytest.raises(SystemExit):
            run(*options, *wrong)

    # Merged, and gone on with as one, in steps and in steps of no length.
    found = []
    for out, lr in ((tmp_path / "moved", 0.005), (tmp_path / "unmoved", 1e-15)):
        monkeypatch.setattr(accuracy, "LR_TOGETHER", lr)
        (row,) = run(*options, "--out", out, "--start", models, "--together", 0, 1)
        assert "| 1, merged 0+1 |" in row and "| 4 + 4 |" in row
        (model,) = (path.parent for path in out.glob("models/*/row.json"))
        assert load_model(model).architecture.num_channels == 8
        # It has a row, and no mean with itself.
        assert run("--score", out / "models") == [row]
        found.append(read_json(model / "row.json"))
    assert found[0]["hours"] > made["hours"] + other["hours"]
    assert found[1]["forces_mae"] == pytest.approx(of_mean, abs=0.006)
    assert found[0]["forces_mae"] != pytest.approx(of_mean, abs=0.5)


def test_a_student_of_kept_models_makes_a_row_that_is_scored_again(
    run, accuracy, data, tmp_path, monkeypatch, capsys
):
    import student

    monkeypatch.setattr(student, "WALKERS", 2)
    monkeypatch.setattr(student, "EQUILIBRATION", 2)
    monkeypatch.setattr(student, "SAVE_INTERVAL", 1)  # before models of four epochs fall apart
    models, out = tmp_path / "teachers" / "models", tmp_path / "student"
    for batch in (2, 4):
        run("--out", models.parent, "--sets", "ethanol", "--models", "32x0e", "--epochs", 4,
            "--batch_size", batch)  # fmt: skip
    argv = ["student.py", "--data", data, "--set", "ethanol", "--model", "32x0e", "--epochs", 2]
    argv += ["--models", models, "--out", out, "--frames", 6]
    monkeypatch.setattr(sys, "argv", [str(word) for word in argv])
    student.main()
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ethanol")]
    assert len(read_frames(out / "train.xyz")) == 8 + 6
    assert run("--score", out / "models")[0] == row


def test_frames_of_3bpa_are_scored_by_temperature_without_those_trained_on(
    accuracy, tmp_path, monkeypatch
):
    import published
    from accuracy_table import energy_and_force, score

    monkeypatch.setattr(published, "TEMPERATURES", {300: 2, 600: 1, 1200: 1})
    rng = np.random.default_rng(0)
    frames = []
    for energy in range(5):
        atoms = molecule("H2O")
        forces = rng.normal(size=(3, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces)
        frames.append(atoms)
    (tmp_path / "3bpa").mkdir()
    ase.io.write(tmp_path / "3bpa" / "train_300K.xyz", [frames[0], frames[1]])
    ase.io.write(tmp_path / "3bpa" / "train_mixedT.xyz", [frames[i] for i in (1, 2, 3, 4)])

    test = published.unseen_frames_of_3bpa(tmp_path)
    assert [atoms.info["temperature"] for atoms in test] == [300, 600, 1200]
    assert [atoms.info["REF_energy"] for atoms in test] == [2, 3, 4]
    wrong = [atoms.arrays["REF_forces"] + k for k, atoms in enumerate(test)]
    found = score(test, np.array([2.0, 3.5, 3.0]), wrong)
    assert energy_and_force("3bpa", found) == [
        "0.00 · 500.00 · 1000.00",
        "0.0 · 1000.0 · 2000.0",
    ]
