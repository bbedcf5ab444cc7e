"""Any command as an engine: what it computes is the label, what it says is the status."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from in_a_folder import compute, force_difference, outcome, stress_difference

from mace_core.config.campaign import parse_config
from mace_core.config.labellers import CommandLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.engines import Refused, engine_for
from mace_core.label.run import label_frames
from mace_core.label.start import check_engine
from mace_core.label.store import LabelStore
from mace_core.label.theory import describe, theory_id

pytestmark = pytest.mark.engine("command")
SCRIPT = Path(__file__).with_name("label_by_emt.py")


def by_emt(how="well", **options):
    return CommandLabeller(command=f"{sys.executable} {SCRIPT} {{in}} {{out}} '{how}'", **options)


@pytest.fixture
def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, (4, 3))
    atoms.set_cell(atoms.cell[:] * 0.97, scale_atoms=True)
    return canonical(atoms)


@pytest.fixture
def label(tmp_path):
    def call(frame, settings, **options):
        return label_frames([frame], settings, LabelStore(tmp_path / "labels", settings), **options)

    return lambda *args, **options: call(*args, **options)[0].record


def test_its_label_is_the_derivative_of_its_energy(crystal):
    assert force_difference(by_emt(), crystal) == pytest.approx(0, abs=1e-5)
    assert stress_difference(by_emt(), crystal) == pytest.approx(0, abs=1e-5)


def test_a_label_from_a_command_is_that_of_the_program_itself(crystal, label):
    crystal.calc = EMT()
    record = label(crystal, by_emt())
    assert record.converged
    assert record.energy == pytest.approx(crystal.get_potential_energy(), abs=1e-7)
    assert np.abs(np.array(record.forces) - crystal.get_forces()).max() < 1e-7
    assert np.abs(np.array(record.stress) - crystal.get_stress()).max() < 1e-8


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("unconverged", "unconverged", "SCF at 1e-2 after 50 steps"),
        ("exit 42", "unconverged", "exit code 42; last output: read 4 atoms, charge 0, spin 0"),
        ("error", "failed", "exit code 1; last output: read 4 atoms, charge 0, spin 0 no licence"),
        ("kill", "failed", "killed by signal 9 (SIGKILL)"),
        ("nothing", "failed", "exit code 0 and wrote no {out}"),
        ("garbage", "failed", "{out} is no extxyz"),
        ("two", "failed", "{out} holds 2 frames"),
        ("squeeze", "failed", "the cell in {out} is not"),
        ("bare", "failed", "no 'REF_energy' (it has charge"),
        ("swap", "rejected", "reordered"),
        ("other", "rejected", "composition changed"),
        ("nan", "rejected", "not a finite number"),
    ],
)
def test_what_a_command_may_do(crystal, how, status, reason):
    found = outcome(by_emt(how, unconverged_exit_codes=[42]), crystal)
    assert found[0] == status
    assert reason in found[1]


def test_a_time_limit_ends_it(crystal, label):
    record = label(crystal, by_emt("hang", time_limit=4))
    assert (record.status, record.rung) == ("timeout", "default")
    assert "time limit of 4 s" in record.reason


def test_keys_are_the_users_and_stress_may_be_a_matrix(crystal):
    expected = compute(by_emt(), crystal)
    keys = {f"{name}_key": name for name in ("energy", "forces", "stress")}
    for settings in (by_emt("bare", **keys), by_emt("full stress")):
        result = compute(settings, crystal)
        assert result.energy == pytest.approx(expected.energy, abs=1e-7)
        assert np.abs(result.forces - expected.forces).max() < 1e-7
        assert np.abs(result.stress - expected.stress).max() < 1e-7


def test_a_ladder_of_commands(crystal, label):
    first, second = (by_emt(how).command[0] for how in ("unconverged", "well"))
    record = label(crystal, CommandLabeller(command=[first, second + " {rung} {threads}"]))
    assert record.converged
    assert [(a["rung"], a["status"]) for a in record.attempts] == [
        ("default", "unconverged"),
        ("retry_1", "converged"),
    ]


def test_paths_start_where_maceloop_was_started(crystal, tmp_path, monkeypatch):
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts" / "label.py")
    monkeypatch.chdir(tmp_path)
    relative = CommandLabeller(
        command=f"{sys.executable} scripts/label.py {{in}} {{out}}", files=["scripts/label.py"]
    )
    check_engine(relative)
    assert compute(relative, crystal).energy == compute(by_emt(), crystal).energy
    with pytest.raises(UserError, match=r"labeller\.command: no such file: label\.py"):
        check_engine(CommandLabeller(command=f"{sys.executable} label.py {{in}} {{out}}"))
    with pytest.raises(UserError, match=r"labeller\.command: 'no_such_program' is not"):
        check_engine(CommandLabeller(command="no_such_program {in} {out}"))


def test_the_level_of_theory_is_what_the_command_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "label.py"
    script.write_text("# one\n")
    settings = CommandLabeller(
        command="python label.py {in} {out}",
        files=["label.py"],
        version_command=f"{sys.executable} --version",
    )
    ids = [theory_id(settings)]
    assert describe(settings)["versions"]["command"].startswith("Python 3")
    script.write_text("# two\n")
    ids.append(theory_id(settings))
    ids.append(theory_id(settings.model_copy(update={"version": "2"})))
    ids.append(
        theory_id(settings.model_copy(update={"command": ["python label.py -x {in} {out}"]}))
    )
    assert len(set(ids)) == 4
    for same in ({"time_limit": 5.0}, {"files": [str(script)]}, {"unconverged_exit_codes": [3]}):
        assert theory_id(settings.model_copy(update=same)) == ids[1]
    with pytest.raises(UserError, match=r"labeller\.files: no such file: input\.dat"):
        theory_id(settings.model_copy(update={"files": ["input.dat"]}))
    silent = settings.model_copy(update={"version_command": f"{sys.executable} -c pass"})
    with pytest.raises(UserError, match="printed nothing"):
        theory_id(silent)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("label.py {in}", r"has no \{out\}"),
        ("label.py", r"has no \{in\} and no \{out\}"),
        ([], "no command"),
        ("label.py {in} {out} 'open", "cannot be split"),
    ],
)
def test_commands_that_cannot_work_are_named(command, message):
    values = {
        "campaign": {"name": "x"},
        "labeller": {"engine": "command", "command": command},
        "seed": {"structures": ["x.xyz"]},
    }
    with pytest.raises(UserError, match=rf"labeller\.command: .*{message}"):
        parse_config(values, where="x.yaml")


def test_a_shell_is_never_asked(crystal, tmp_path):
    harmless = by_emt("well; touch " + str(tmp_path / "made"))
    assert compute(harmless, crystal).energy
    assert not (tmp_path / "made").exists()
    engine = engine_for(CommandLabeller(command=by_emt().command[0] + " > out.txt"))
    assert engine.command("default").endswith("well '>' out.txt")
    with pytest.raises(Refused):
        engine.parse(crystal)
