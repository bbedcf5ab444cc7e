"""`maceloop init`: for every engine a configuration that is accepted, or what it lacks, by name."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from ase.build import bulk, molecule
from ase.io import write

REPOSITORY = Path(__file__).parents[2]
STRUCTURES = {"water": molecule("H2O"), "aluminium": bulk("Al", cubic=True)}
POTCAR = """\
 PAW_PBE Al 01Jan2000
 3.0
 parameters from PSCTR are:
   VRHFIN =Al: made up
   TITEL  = PAW_PBE Al 01Jan2000
   POMASS =   27.000; ZVAL   =   3.0    mass and valenz
END of PSCTR-controll parameters
 End of Dataset
"""
#: Of programs that are not needed: they say their names.
PROGRAMS = {"pw.x": "     Program PWSCF v.7.2 starts on", "vasp_std": ""}
SCRIPT = REPOSITORY / "tests" / "label" / "engines" / "label_by_emt.py"

needs_gpaw = pytest.mark.skipif(find_spec("gpaw") is None, reason="scripts/engines.sh gpaw")
needs_cp2k = pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="scripts/engines.sh cp2k")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with two structures."""
    for name, atoms in STRUCTURES.items():
        write(tmp_path / f"{name}.xyz", atoms, format="extxyz")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for name in ("ESPRESSO_PSEUDO", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def programs(folder, monkeypatch):
    """Programs on PATH that say who they are."""
    (folder / "bin").mkdir()
    for name, said in PROGRAMS.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


def maceloop(*words):
    command = [sys.executable, "-m", "mace_core.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True)


def written(engine, structure):
    """The labeller's settings, and what `maceloop init` printed."""
    done = maceloop("init", f"{structure}.xyz", "--engine", engine)
    assert done.returncode == 0, done.stderr
    text = Path("config", f"{structure}.yaml").read_text()
    return yaml.safe_load(text)["labeller"], done.stdout


def doctor(structure, **labeller):
    """The doctor's words about the configuration, with a labeller that was filled in."""
    path = Path("config", f"{structure}.yaml")
    values = yaml.safe_load(path.read_text())
    values["labeller"] |= labeller
    values |= {"tracking": {"enabled": False}}
    path.write_text(yaml.safe_dump(values))
    return maceloop("doctor", "--config", str(path), "--no-label", "--no-forecast")


@pytest.mark.parametrize(
    ("engine", "structure"),
    [
        pytest.param("pyscf", "water", marks=pytest.mark.engine("pyscf")),
        pytest.param("tblite", "water", marks=pytest.mark.engine("tblite")),
        ("emt", "aluminium"),
        pytest.param("gpaw", "aluminium", marks=[pytest.mark.engine("gpaw"), needs_gpaw]),
        pytest.param("cp2k", "water", marks=[pytest.mark.engine("cp2k"), needs_cp2k]),
        pytest.param("cp2k", "aluminium", marks=[pytest.mark.engine("cp2k"), needs_cp2k]),
    ],
)
def test_what_needs_nothing_more_is_accepted(folder, engine, structure):
    labeller, said = written(engine, structure)
    assert labeller["engine"] == engine
    assert "next: snakemake" in said, said
    done = doctor(structure)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("engine", "lacks"),
    [
        ("espresso", ["no file", "pseudopotentials/Al.upf", "labeller.pseudo_dir"]),
        ("vasp", ["version: 'YOURS' is no version of VASP", "OUTCAR"]),
        ("ase", ["cannot import 'your_package.module:Calculator'", "PYTHONPATH"]),
        ("command", ["no such file: label.py", "give a path"]),
    ],
)
def test_what_only_the_user_has_is_named_and_then_accepted(folder, programs, engine, lacks):
    _, said = written(engine, "aluminium")
    refused = doctor("aluminium")
    assert refused.returncode == 2
    for word in lacks:
        assert word in said
        assert word in refused.stderr
    done = doctor("aluminium", **FILLED[engine](folder))
    assert done.returncode == 0, done.stderr
    assert ("VASP was never run by this project's tests" in done.stdout) == (engine == "vasp")


def pseudopotentials(folder):
    (folder / "pseudopotentials").mkdir()
    shutil.copy(REPOSITORY / "config/data/pseudopotentials/Al.upf", folder / "pseudopotentials")
    return {}


def potcars(folder):
    (folder / "POT_GGA_PAW_PBE_54").mkdir()
    (folder / "POT_GGA_PAW_PBE_54" / "POTCAR.Al").write_text(POTCAR)
    return {"version": "6.4.2", "potcar_dir": str(folder)}


def script(folder):
    shutil.copy(SCRIPT, folder / "label.py")
    return {"command": f"{sys.executable} label.py {{in}} {{out}}"}


FILLED = {
    "espresso": pseudopotentials,
    "vasp": potcars,
    "ase": lambda folder: {"calculator": "ase.calculators.emt:EMT"},
    "command": script,
}


def test_pseudopotentials_are_found_where_pw_x_would_look(folder, programs, monkeypatch):
    table = folder / "table"
    table.mkdir()
    shutil.copy(REPOSITORY / "config/data/pseudopotentials/Al.upf", table / "Al_ONCV_PBE.upf")
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(table))
    labeller, said = written("espresso", "aluminium")
    assert labeller["pseudopotentials"] == {"Al": "Al_ONCV_PBE.upf"}
    assert labeller["smearing"] == "marzari-vanderbilt"
    assert "next: snakemake" in said, said


def test_an_engine_that_is_none_or_not_for_this_structure_is_refused(folder):
    for engine, structure, words in (
        ("pyscf", "aluminium", ["pyscf does not label crystals", "espresso"]),
        ("vaps", "aluminium", ["unknown engine: 'vaps'", "pyscf, tblite, emt, espresso"]),
    ):
        done = maceloop("init", f"{structure}.xyz", "--engine", engine)
        assert done.returncode == 2
        for word in words:
            assert word in done.stderr
    assert not Path("config").exists()
