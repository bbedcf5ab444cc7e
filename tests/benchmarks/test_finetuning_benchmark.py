"""The benchmark of fine-tuning on small published splits: one base model, all kinds of runs."""

import sys
from pathlib import Path

import pytest
from small_rmd17 import write_rmd17

from mace_core.model.files import load_model
from mace_core.storage import read_json

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: Stand for the molecules of rMD17. Only "uracil" has nitrogen.
STAND_INS = {"ethanol": "H2CO", "malonaldehyde": "CO2", "uracil": "HCN", "aspirin": "CH3OH"}


@pytest.fixture
def finetuning(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import finetuning

    monkeypatch.setattr(finetuning, "N_BASE", 6)
    monkeypatch.setattr(finetuning, "N_TEST", 5)
    monkeypatch.setattr(finetuning, "SIZES", {20: 1})
    monkeypatch.setattr(finetuning, "BASE", {"max_num_epochs": 1})
    return finetuning


@pytest.fixture
def data(tmp_path, finetuning):
    return write_rmd17(tmp_path / "data", STAND_INS, 26, 100)


@pytest.mark.parametrize("level", ["PBE", "GFN2-xTB"])
def test_runs_share_one_base_model_and_are_not_repeated(
    finetuning, data, tmp_path, monkeypatch, capsys, level
):
    if level != "PBE":
        pytest.importorskip("tblite")
    variants = ["from scratch", "Muon 0.02", "Muon 0.02, replay"]
    argv = ["finetuning.py", "--data", data, "--out", tmp_path / "out", "--level", level]
    argv += ["--sizes", 20, "--seeds", 1, "--variants", *variants]
    monkeypatch.setattr(sys, "argv", [str(word) for word in argv])
    finetuning.main()
    printed = capsys.readouterr().out
    results = sorted((tmp_path / "out" / "runs").glob("*.json"))
    runs = {r["variant"]: r for r in map(read_json, results)}
    assert sorted(runs) == sorted(variants)
    known = {"ethanol", "malonaldehyde"} if level == "PBE" else set()
    for variant, run in runs.items():
        assert set(run.get("forgotten", {})) == (set() if variant == "from scratch" else known)
    tuned, replayed = (runs[variant]["test"]["forces_mae"] for variant in variants[1:])
    assert len({tuned, replayed, runs["from scratch"]["test"]["forces_mae"]}) == 3
    # What is replayed stays: here also the element that only the base knows.
    folders = {path.name: path for path in (tmp_path / "out" / "work").iterdir()}
    assert len(folders) == 1 + len(variants)
    assert load_model(folders[f"{level}_aspirin_20_1_Muon_0.02"]).elements == [1, 6, 8]
    assert load_model(folders[f"{level}_aspirin_20_1_Muon_0.02-replay"]).elements == [1, 6, 7, 8]

    written = [path.stat().st_mtime_ns for path in results]
    finetuning.main()
    assert capsys.readouterr().out in printed
    assert [path.stat().st_mtime_ns for path in results] == written
