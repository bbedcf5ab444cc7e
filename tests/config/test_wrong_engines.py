"""What is missing or wrong of an external program is named before any compute; none is needed."""

import os
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from mace_core.config.campaign import parse_config
from mace_core.config.checks import check
from mace_core.errors import UserError

ESPRESSO = {"engine": "espresso", "pseudo_dir": "empty", "ecutwfc": 20}
VASP = {"engine": "vasp", "version": "6.4.2", "incar": {"ENCUT": 400, "ISMEAR": 1}} | {
    "kspacing": 0.2,
    "potcar_dir": "empty",
}

#: name: (labeller, what the message must hold)
WRONG = {
    "command not found": (
        {"engine": "command", "command": "no_such_program {in} {out}"},
        ("'no_such_program' is not on PATH", "install it, or give its path"),
    ),
    "script of a command not found": (
        {"engine": "command", "command": "python gone.py {in} {out}"},
        ("no such file: gone.py", "give a path relative to"),
    ),
    "command without its files": (
        {"engine": "command", "command": "python gone.py"},
        ("labeller.command", "{in}", "{out}"),
    ),
    "no pw.x": (
        ESPRESSO | {"command": "no_pw.x", "pseudopotentials": {"Cu": "Cu.upf"}},
        ("'no_pw.x' is not on PATH", "quantum-espresso", "pip install qepy"),
    ),
    "pw.x that is something else": (
        ESPRESSO | {"command": "vasp_std", "pseudopotentials": {"Cu": "Cu.upf"}},
        ("'vasp_std' does not run pw.x", "install it"),
    ),
    "pw.x of another version": (
        ESPRESSO | {"command": "pw.x", "version": "6.7", "pseudopotentials": {"Cu": "Cu.upf"}},
        ("says pw.x 6.7", "is 7.2", "correct labeller.version"),
    ),
    "pseudopotential file missing": (
        ESPRESSO | {"command": "pw.x", "pseudopotentials": {"Cu": "Cu.upf"}},
        ("Cu.upf", "empty"),
    ),
    "element without a pseudopotential": (
        ESPRESSO | {"command": "pw.x", "pseudopotentials": {"Al": "Al.upf"}},
        ("labeller.engine", "Cu"),
    ),
    "no cp2k": (
        {"engine": "cp2k", "command": "no_cp2k"},
        ("'no_cp2k' is not on PATH", "apt-get install cp2k"),
    ),
    "cp2k without its data": (
        {"engine": "cp2k", "command": "cp2k", "data_dir": "empty"},
        ("BASIS_MOLOPT", "empty", "labeller.data_dir"),
    ),
    "no vasp": (
        VASP | {"command": "no_vasp", "potcars": {"Cu": "Cu"}},
        ("'no_vasp' is not on PATH", "load VASP's module"),
    ),
    "POTCAR folder that holds none": (
        VASP | {"potcars": {"Cu": "Cu"}},
        ("potcars.Cu", "no POTCAR 'Cu'", "empty", "potcar_dir"),
    ),
    "element without a POTCAR": (
        VASP | {"potcars": {"Al": "Al"}},
        ("potcars: none for Cu", "add {Cu: NAME}"),
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with copper, and programs that say their names and do nothing."""
    write(tmp_path / "cu.xyz", bulk("Cu", cubic=True), format="extxyz")
    (tmp_path / "empty").mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, said in {
        "pw.x": "     Program PWSCF v.7.2 starts on",
        "cp2k": " CP2K version 2023.1",
        "vasp_std": "",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    for name in ("CP2K_DATA_DIR", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name, folder):
    labeller, words = WRONG[name]
    values = {"campaign": {"name": "c"}, "seed": {"structures": ["cu.xyz"]}, "labeller": labeller}
    with pytest.raises(UserError) as caught:
        check(parse_config(values, where="test"))
    for word in words:
        assert word in str(caught.value), caught.value
