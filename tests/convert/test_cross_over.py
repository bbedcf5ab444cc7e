"""Models that cross over to the real mace-torch and back. Needs a Python that has it."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from ase.io import write
from golden_tools import FOLDER
from mace_tools import ARCHITECTURES, FRAMES, small_model
from typer.testing import CliRunner

from mace_core.calculator import MACECalculator
from mace_core.cli.main import build
from mace_core.convert.files import export_model, import_model
from mace_core.model.files import load_model, save_model
from mace_core.model.merge import merged

#: Runs in the other Python: numbers of each file for each frame, and the file saved again.
PEER = """
import json, sys
import torch
import mace.modules
from ase.io import read
from mace.calculators import MACECalculator
files, frames, out = sys.argv[4:], read(sys.argv[1], ":"), []
torch.set_default_dtype(getattr(torch, sys.argv[3]))  # its repulsion follows it
for file in files:
    calculator = MACECalculator(
        model_paths=file, device="cpu", default_dtype=sys.argv[3], head="Default"
    )
    for atoms in frames:
        calculator.calculate(atoms)
        r = calculator.results
        out.append({"energy": r["energy"], "forces": r["forces"].tolist(),
                    "stress": r["stress"].tolist()})
    torch.save(torch.load(file, weights_only=False), file + ".again")
json.dump(out, open(sys.argv[2], "w"))
"""


@pytest.fixture
def peer(mace_python, tmp_path):
    """evaluate(files, frames, dtype): what mace-torch says, [file][frame]."""

    def evaluate(files, frames, dtype="float64"):
        write(tmp_path / "frames.xyz", frames, format="extxyz")
        done = subprocess.run(
            [
                mace_python,
                "-c",
                PEER,
                tmp_path / "frames.xyz",
                tmp_path / "out.json",
                dtype,
                *files,
            ],
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads((tmp_path / "out.json").read_text())
        return [found[k * len(frames) : (k + 1) * len(frames)] for k in range(len(files))]

    return evaluate


def deviations(folder, frames, theirs) -> np.ndarray:
    """Largest |ΔE|, |ΔF|, |Δσ| between our calculator and ``theirs``."""
    calculator = MACECalculator(model_paths=folder, default_dtype="float64")
    rows = []
    for atoms, expected in zip(frames, theirs, strict=True):
        calculator.calculate(atoms)
        r = calculator.results
        stress = r["stress"] - expected["stress"] if atoms.pbc.all() else np.zeros(6)
        energy, forces = r["energy"] - expected["energy"], r["forces"] - expected["forces"]
        rows.append([abs(energy), np.abs(forces).max(), np.abs(stress).max()])
    return np.max(rows, axis=0)


def frames_of_all_kinds():
    frames = [make() for make in FRAMES.values()]
    for atoms in frames:
        atoms.positions = atoms.positions.round(6)  # as an extxyz file keeps them
        atoms.cell = atoms.cell.array.round(6)
        # mace-torch wants lattice vectors in all directions
        missing = np.linalg.norm(atoms.cell.array, axis=1) < 1e-8
        if missing.any() and atoms.pbc.any():
            atoms.cell[missing] = 30 * np.eye(3)[missing]
    return frames


@pytest.mark.slow
def test_every_architecture_goes_there_and_comes_back(peer, mace_python, tmp_path, capsys):
    frames, folders, files = frames_of_all_kinds(), [], []
    for k, changes in enumerate(ARCHITECTURES.values()):
        folder, file = tmp_path / f"model_{k}", tmp_path / f"file_{k}.model"
        save_model(small_model(seed=k, **changes), folder)
        export_model(folder, file, mace_python=mace_python if k == 0 else None)
        folders.append(folder)
        files.append(file)
    found = peer(files, frames)
    for name, folder, file, theirs in zip(ARCHITECTURES, folders, files, found, strict=True):
        E, F, S = deviations(folder, frames, theirs)
        with capsys.disabled():
            print(f"\n{name}: {E:.1e} eV {F:.1e} eV/Å {S:.1e} eV/Å³", end="")
        assert E < 1e-10, name
        # mace-torch's forces leave out the derivative of its Chebyshev polynomials.
        assert "Chebyshev" in name or (F < 1e-9 and S < 1e-9), name
        model = load_model(folder)
        back, _ = import_model(f"{file}.again", tmp_path / "back")
        for key, tensor in back.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key]), (name, key)


def test_float32_with_energies_in_float64(peer, tmp_path):
    model = small_model(dtype=torch.float32, r_max=3.7)
    save_model(model, tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "file.model")
    peer([tmp_path / "file.model"], frames_of_all_kinds(), "float32")
    back, _ = import_model(tmp_path / "file.model.again", tmp_path / "back")
    assert back.architecture == model.architecture
    assert all(torch.equal(t, model.state_dict()[k]) for k, t in back.state_dict().items())


@pytest.mark.slow
def test_a_model_that_we_trained(peer, tmp_path, capsys):
    """By the commands of a user: train, export; then mace-torch's calculator."""
    (tmp_path / "config.yaml").write_text(
        "campaign: {name: cross}\n"
        "labeller: {engine: emt}\n"
        "model: {r_max: 4.0, num_channels: 4, max_ell: 2, max_L: 1, radial_MLP: [8]}\n"
        "train: {max_num_epochs: 3}\n"
        "data: {E0s: average, labelled: [ethanol.xyz]}\n"
    )
    run = CliRunner().invoke
    out = tmp_path / "model"
    arguments = ["train", "--train", FOLDER / "ethanol.xyz", "--config", tmp_path / "config.yaml"]
    result = run(build(), [*map(str, arguments), "--out", str(out)])
    assert result.exit_code == 0, result.output
    file = tmp_path / "ours.model"
    result = run(build(), ["export", str(out), "--format", "mace-torch", "--out", str(file)])
    assert result.exit_code == 0, result.output
    frames = frames_of_all_kinds()
    frames = [a for a in frames if {*a.numbers} <= {1, 6, 8}]
    E, F, S = deviations(out, frames, peer([file], frames)[0])
    with capsys.disabled():
        print(f"\ntrained here: {E:.1e} eV {F:.1e} eV/Å {S:.1e} eV/Å³", end="")
    assert E < 1e-10 and F < 1e-9 and S < 1e-9


def test_a_merged_committee_is_its_mean_there_too(peer, tmp_path, capsys):
    """The wide model in mace-torch beside the members in it, whose mean it should be."""
    frames = frames_of_all_kinds()
    members = [small_model(seed=k, num_channels=3 + k) for k in range(3)]
    files = []
    for name, model in {"merged": merged(members), **dict(enumerate(members))}.items():
        save_model(model, tmp_path / f"{name}")
        files.append(tmp_path / f"{name}.model")
        export_model(tmp_path / f"{name}", files[-1])
    theirs, *each = peer(files, frames)
    E, F, S = deviations(tmp_path / "merged", frames, theirs)
    with capsys.disabled():
        print(f"\nmerged: {E:.1e} eV {F:.1e} eV/Å {S:.1e} eV/Å³", end="")
    assert E < 1e-10 and F < 1e-9 and S < 1e-9
    spread = 0.0
    for k, frame in enumerate(theirs):
        energies, forces = ([m[k][of] for m in each] for of in ("energy", "forces"))
        assert abs(frame["energy"] - np.mean(energies)) < 1e-10
        assert np.abs(frame["forces"] - np.mean(forces, axis=0)).max() < 1e-9
        spread = max(spread, np.abs(np.subtract(*forces[:2])).max())
    assert spread > 1e-2  # not because they are all alike


def test_a_model_that_mace_run_train_made(peer, tmp_path, capsys):
    frames = frames_of_all_kinds()
    folder, file = tmp_path / "model", FOLDER / "trained.model"
    copy = tmp_path / "trained.model"
    copy.write_bytes(file.read_bytes())
    import_model(copy, folder)
    E, F, S = deviations(folder, frames, peer([copy], frames)[0])
    with capsys.disabled():
        print(f"\ntrained there: {E:.1e} eV {F:.1e} eV/Å {S:.1e} eV/Å³", end="")
    assert E < 1e-10 and F < 1e-9 and S < 1e-9
