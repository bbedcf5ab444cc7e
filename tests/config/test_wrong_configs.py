"""A wrong configuration ends in one message that names key, value and mend; exit code 2."""

import subprocess
import sys

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from mace_core.cli import main
from mace_core.config.campaign import parse_config
from mace_core.config.checks import check
from mace_core.doctor import examine
from mace_core.errors import UserError


def labelled(atoms, energy="REF_energy", forces="REF_forces"):
    atoms = atoms.copy()
    atoms.info[energy] = -1.0
    atoms.arrays[forces] = np.zeros((len(atoms), 3))
    return atoms


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write(folder / "water.xyz", molecule("H2O"), format="extxyz")
    write(folder / "cu.xyz", bulk("Cu", cubic=True), format="extxyz")
    write(folder / "si.xyz", bulk("Si"), format="extxyz")
    slab = bulk("Si")
    slab.pbc = [True, True, False]
    write(folder / "slab.xyz", slab, format="extxyz")
    write(folder / "clash.xyz", Atoms("H2", [[0, 0, 0], [0, 0, 0.1]]), format="extxyz")
    write(folder / "far.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 4.0]]), format="extxyz")
    write(folder / "labelled.xyz", labelled(molecule("H2O")), format="extxyz")
    write(folder / "renamed.xyz", labelled(molecule("H2O"), "E", "F"), format="extxyz")
    bare = labelled(molecule("H2O"), "energy", "forces")
    write(folder / "bare.xyz", bare, format="extxyz")
    write(folder / "salt.xyz", labelled(Atoms("Na")), format="extxyz")
    (folder / "garbage.xyz").write_text("not a structure\n")
    (folder / "empty.xyz").write_text("")
    (folder / "a_file").write_text("")
    (folder / "mycalc.py").write_text("class Mine:\n    pass\n")
    return folder


MOLECULE = {
    "campaign": {"name": "c"},
    "labeller": {"engine": "pyscf"},
    "seed": {"structures": ["water.xyz"]},
}
METAL = MOLECULE | {"labeller": {"engine": "emt"}, "seed": {"structures": ["cu.xyz"]}}


def changed(base, **sections):
    return base | {name: base.get(name, {}) | keys for name, keys in sections.items()}


#: name: (configuration, what the message must hold: key, value, mend)
WRONG = {
    "unknown key": (
        changed(METAL, train={"max_num_epoch": 3}),
        ("train.max_num_epoch", "did you mean 'max_num_epochs'"),
    ),
    "value out of bounds": (
        changed(METAL, train={"members": 1}),
        ("train.members", "1", "greater than or equal to 2", "maceloop schema"),
    ),
    "name missing": (METAL | {"campaign": {}}, ("campaign.name: missing", "maceloop schema")),
    "nothing to start from": (METAL | {"seed": {}}, ("seed.structures", "data.labelled")),
    "unknown engine": (
        METAL | {"labeller": {"engine": "gaussian"}},
        ("labeller", "gaussian", "pyscf"),
    ),
    "structure missing": (
        changed(METAL, seed={"structures": ["gone.xyz"]}),
        ("seed.structures.0", "gone.xyz", "check the path"),
    ),
    "structure unreadable": (
        changed(METAL, seed={"structures": ["garbage.xyz"]}),
        ("seed.structures.0", "garbage.xyz", "ASE or pymatgen reads"),
    ),
    "atoms on top of each other": (
        changed(MOLECULE, seed={"structures": ["clash.xyz"]}),
        ("seed.structures.0", "clash.xyz", "0.10 Å", "mend the structure"),
    ),
    "labelled missing": (
        changed(MOLECULE, data={"labelled": ["gone.xyz"]}),
        ("data.labelled.0", "gone.xyz", "no such file", "check the path"),
    ),
    "labelled with bare keys": (
        changed(MOLECULE, data={"labelled": ["bare.xyz"], "energy_key": "energy"}),
        ("data.labelled.0", "bare.xyz", "it has energy, forces", "data.forces_key"),
    ),
    "labelled empty": (
        changed(MOLECULE, data={"labelled": ["empty.xyz"]}),
        ("data.labelled.0", "empty.xyz", "holds no frame", "take it out"),
    ),
    "labelled with other keys": (
        changed(MOLECULE, data={"labelled": ["renamed.xyz"], "energy_key": "E"}),
        ("data.labelled.0", "renamed.xyz", "'REF_forces'", "it has E, F", "data.forces_key"),
    ),
    "frozen test with other keys": (
        changed(MOLECULE, data={"frozen_test": "renamed.xyz"}),
        ("data.frozen_test", "renamed.xyz", "'REF_energy'", "data.energy_key"),
    ),
    "frozen test that trains": (
        changed(MOLECULE, data={"labelled": ["labelled.xyz"], "frozen_test": "labelled.xyz"}),
        ("data.frozen_test", "labelled.xyz", "same content as data.labelled.0", "take one"),
    ),
    "frozen test of other elements": (
        changed(MOLECULE, data={"frozen_test": "salt.xyz"}),
        ("data.frozen_test", "salt.xyz", "Na", "take these frames out"),
    ),
    "element without E0": (
        changed(MOLECULE, data={"E0s": {"H": -13.6}}),
        ("data.E0s", "-13.6", "no energy for O", "add O, in eV"),
    ),
    "element of the frozen set without E0": (
        changed(MOLECULE, data={"E0s": {"H": -13.6, "O": -400.0}, "frozen_test": "salt.xyz"}),
        ("data.E0s", "no energy for Na", "add Na"),
    ),
    "E0 of no element": (
        changed(MOLECULE, data={"E0s": {"H": -13.6, "O": -400.0, "Xx": 1.0}}),
        ("data.E0s", "Xx", "mend the symbol"),
    ),
    "element that the engine does not know": (
        changed(METAL, seed={"structures": ["si.xyz"]}),
        ("labeller.engine", "emt", "not Si", "another engine"),
    ),
    "functional that PySCF does not know": (
        changed(MOLECULE, labeller={"xc": "pbx"}),
        ("labeller.engine", "pyscf", "'pbx'", "pyscf.dft.libxc"),
    ),
    "calculator that cannot be imported": (
        changed(METAL, labeller={"engine": "ase", "calculator": "no_such.module:Calc"}),
        ("labeller.engine", "no_such.module:Calc", "PYTHONPATH"),
    ),
    "crystal with PySCF": (
        changed(MOLECULE, seed={"structures": ["si.xyz"]}),
        ("labeller.engine", "pyscf", "si.xyz is periodic", "another engine"),
    ),
    "slab with tblite": (
        changed(MOLECULE, labeller={"engine": "tblite"}, seed={"structures": ["slab.xyz"]})
        | {"labeller": {"engine": "tblite"}},
        ("labeller.engine", "tblite", "periodic in part", "in three directions"),
    ),
    "spin parity": (
        changed(MOLECULE, seed={"spin": 1}),
        ("seed.spin", "1", "10 electrons", "set seed.spin to 0"),
    ),
    "charge and spin parity": (
        changed(MOLECULE, seed={"charge": 1}),
        ("seed.spin", "0", "9 electrons (charge 1)", "set seed.spin to 1"),
    ),
    "charge with an engine that knows none": (
        changed(METAL, seed={"charge": 1}),
        ("seed.charge", "1", "emt does not know of charge", "take it out"),
    ),
    "spin of a free atom": (
        changed(MOLECULE, labeller={"spins": {"O": 1}}),
        ("labeller.spins.O", "1", "8 electrons", "e.g. 2"),
    ),
    "vacancies in a molecule": (
        changed(MOLECULE, seed={"vacancies": 3}),
        ("seed.vacancies", "3", "periodic", "take it out"),
    ),
    "supercell of a molecule": (
        changed(MOLECULE, seed={"supercell": [2, 2, 2]}),
        ("seed.supercell", "[2, 2, 2]", "no structure is periodic", "take it out"),
    ),
    "substitution of what is not there": (
        changed(METAL, seed={"substitutions": [{"element": "Al", "by": "Ni"}]}),
        ("seed.substitutions.0.element", "'Al'", "they have Cu", "name an element"),
    ),
    "substitution by nothing": (
        changed(METAL, seed={"substitutions": [{"element": "Cu", "by": "Qq"}]}),
        ("seed.substitutions.0.by", "'Qq'", "mend the symbol"),
    ),
    "MLP_irreps": (
        changed(METAL, model={"MLP_irreps": "16x1o"}),
        ("model.MLP_irreps", "16x1o", "16x0e"),
    ),
    "r_max too short": (
        changed(METAL, seed={"structures": ["far.xyz"]}, model={"r_max": 3.0}),
        ("model.r_max", "3.0", "far.xyz", "raise it"),
    ),
    "temperature": (
        changed(METAL, explore={"temperatures": [300, -5]}),
        ("explore.temperatures", "-5", "take it out"),
    ),
    "device that is none": (
        changed(METAL, train={"device": "gpu"}),
        ("train.device", "'gpu'", "cuda"),
    ),
    "labels within results": (
        changed(METAL, campaign={"label_store": "results/c/labels"}),
        ("campaign.label_store", "results/c/labels", "outside of results_dir"),
    ),
    "results_dir is a file": (
        changed(METAL, campaign={"results_dir": "a_file"}),
        ("campaign.results_dir", "a_file", "name a folder"),
    ),
    "tracking to a folder": (
        changed(METAL, tracking={"uri": "mlruns"}),
        ("tracking.uri", "mlruns", "sqlite:///mlflow.db"),
    ),
    "tracking to a database without its driver": (
        changed(METAL, tracking={"uri": "postgresql+nosuch://user:secret@host/mlflow"}),
        ("tracking.uri", "user:***@host", "'nosuch' is not installed", "pip install nosuch"),
    ),
    "budget below the start": (
        changed(METAL, stop={"max_labels": 20}),
        ("stop.max_labels", "20", "raise it to at least 50"),
    ),
    "window": (
        changed(METAL, select={"window": [50, 500]}),
        ("explore.max_force_error", "2000", "select.window"),
    ),
}


def run(folder, monkeypatch, config, *command):
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["maceloop", *(command or ("doctor", "--config", "c.yaml"))])
    with pytest.raises(SystemExit) as caught:
        main.run()
    return caught.value.code


@pytest.fixture
def no_worker(monkeypatch):
    """The engine is not asked: its start takes a second."""
    monkeypatch.setattr("mace_core.config.checks.engine.check_engine", lambda *_: None)


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name, files, monkeypatch, capsys, request):
    config, words = WRONG[name]
    if words[0] != "labeller.engine":
        request.getfixturevalue("no_worker")
    assert run(files, monkeypatch, config) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(words) >= 2
    for word in words:
        assert word in said.err, said.err


def test_no_cuda(files, monkeypatch, no_worker):
    config = parse_config(changed(METAL, train={"device": "cuda"}), where="test")
    monkeypatch.setattr("mace_core.config.checks.settings._torch_has_cuda", lambda: False)
    with pytest.raises(UserError, match=r"train\.device: 'cuda'.*built without CUDA"):
        check(config, files)
    monkeypatch.setattr("mace_core.config.checks.settings._torch_has_cuda", lambda: True)
    monkeypatch.setattr("pathlib.Path.glob", lambda self, pattern: iter(()))
    assert any("no GPU" in note for note in check(config, files).notes)


def test_an_engine_that_is_not_installed(files, monkeypatch):
    import mace_core.label.start as label_start

    monkeypatch.setattr(label_start, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        check(parse_config(MOLECULE, where="test"), files)
    for word in ("labeller.engine", "'pyscf'", "pip install pyscf"):
        assert word in str(caught.value)


def test_all_problems_come_at_once(files, no_worker):
    config = changed(
        MOLECULE, seed={"spin": 1}, train={"device": "gpu"}, data={"frozen_test": "gone.xyz"}
    )
    with pytest.raises(UserError) as caught:
        check(parse_config(config, where="test"), files)
    said = str(caught.value)
    assert said.startswith("3 problems")
    for key in ("seed.spin", "train.device", "data.frozen_test"):
        assert key in said


def test_right_configurations_pass(files, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(files), prepend=":")
    mine = {"engine": "ase", "calculator": "mycalc:Mine"}
    for config in (
        METAL,
        MOLECULE,
        changed(MOLECULE, labeller={"engine": "pyscf", "xc": "b3lyp"}),
        METAL | {"labeller": mine},
        changed(MOLECULE, data={"labelled": ["labelled.xyz"]}),
        changed(
            MOLECULE, data={"frozen_test": "renamed.xyz", "energy_key": "E", "forces_key": "F"}
        ),
    ):
        assert check(parse_config(config, where="test"), files).good


def test_one_kind_of_label_may_be_missing(files, no_worker):
    frame = labelled(molecule("H2O"))
    del frame.info["REF_energy"]
    write(files / "forces_only.xyz", frame, format="extxyz")
    config = parse_config(changed(METAL, data={"frozen_test": "forces_only.xyz"}), where="test")
    with pytest.raises(UserError) as caught:  # water is not copper, but its keys are right
        check(config, files)
    assert "1 problem" in str(caught.value)
    config = changed(MOLECULE, data={"frozen_test": "forces_only.xyz"})
    found = check(parse_config(config, where="test"), files)
    assert any("no 'REF_energy'" in note for note in found.notes)


def test_what_cannot_converge_is_a_note(files, no_worker):
    config = changed(METAL, campaign={"max_generations": 1})
    found = check(parse_config(config, where="test"), files)
    assert any("cannot end converged" in note for note in found.notes)


def test_free_atoms_in_the_labelled_data_are_found(tmp_path, no_worker):
    """Elements whose free atom the user labelled need no spin from a table."""
    atom = Atoms("Ce", info={"config_type": "IsolatedAtom", "REF_energy": -1.0})
    frames = [labelled(Atoms("Ce2", [[0, 0, 0], [0, 0, 3.0]]))]
    config = {
        "campaign": {"name": "c"},
        "labeller": {"engine": "ase", "calculator": "ase.calculators.lj:LennardJones"}
        | {"kwargs": {"spin": "$spin"}},
        "data": {"labelled": ["ce.xyz"]},
    }
    parsed = parse_config(config, where="test")
    write(tmp_path / "ce.xyz", frames, format="extxyz")
    with pytest.raises(UserError, match=r"data\.E0s: 'isolated': .* free Ce atom"):
        check(parsed, tmp_path)
    write(tmp_path / "ce.xyz", [*frames, atom], format="extxyz")
    assert check(parsed, tmp_path).good


def test_every_frame_of_a_labelled_file_counts(tmp_path, no_worker):
    """An element may stand in the last frame only, and in another column than the first."""
    last = labelled(Atoms("NaCl", [[0, 0, 0], [0, 0, 2.4]]))
    write(tmp_path / "train.xyz", [labelled(molecule("H2O")), last], format="extxyz")
    write(
        tmp_path / "test.xyz",
        last,
        format="extxyz",
        columns=["numbers", "symbols", "positions", "REF_forces"],
    )
    config = {
        "campaign": {"name": "c"},
        "labeller": {"engine": "tblite"},
        "data": {"labelled": ["train.xyz"], "frozen_test": "test.xyz"},
    }
    found = check(parse_config(config, where="test"), tmp_path)
    assert "E0s of Cl, H, Na, O" in "\n".join(found.good)


def test_a_budget_may_be_lowered_to_end_a_campaign(tmp_path, files, no_worker):
    config = changed(METAL, stop={"max_labels": 20}, campaign={"results_dir": str(tmp_path)})
    config = parse_config(config, where="test")
    with pytest.raises(UserError, match=r"stop\.max_labels"):
        check(config, files)
    (tmp_path / "c" / "gen_00").mkdir(parents=True)
    (tmp_path / "c" / "gen_00" / "plan.json").write_text("{}")
    assert check(config, files).good


def test_doctor_says_what_it_found(files, monkeypatch):
    monkeypatch.chdir(files)
    config = parse_config(MOLECULE, where="test")
    lines = "\n".join(examine(config, label=False, forecast=False))
    for words in ("H2O", "pyscf (pyscf 2", "E0s of H, O", "sqlite:///mlflow.db", "device: cpu"):
        assert words in lines


def test_checks_load_no_torch(files):
    code = (
        "import sys; from mace_core.deferred import defer; defer(); "
        "from mace_core.config.checks import check; "
        "from mace_core.config.campaign import parse_config; "
        f"check(parse_config({METAL!r}, where='test'), {str(files)!r}); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_command_itself_prints_a_message_and_exits_with_2(files):
    (files / "wrong.yaml").write_text(yaml.safe_dump(changed(METAL, train={"device": "gpu"})))
    done = subprocess.run(
        [sys.executable, "-m", "mace_core.cli.main", "doctor", "--config", "wrong.yaml"],
        cwd=files,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("maceloop: 1 problem in the configuration")
    assert "Traceback" not in done.stderr
