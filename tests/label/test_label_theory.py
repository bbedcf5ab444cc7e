"""What is one level of theory, and what is another."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mace_core.config.labellers import (
    ASELabeller,
    EMTLabeller,
    PySCFLabeller,
    TBLiteLabeller,
)
from mace_core.errors import UserError
from mace_core.label import theory
from mace_core.label.theory import describe, theory_id

CHANGES = {
    "xc": "b3lyp",
    "basis": "def2-tzvp",
    "density_fit": False,
    "grid_level": 3,
    "grid_response": False,
    "conv_tol": 1e-9,
    "dispersion": "d4",
}
NO_CHANGES = {
    "time_limit": 5,
    "max_memory": 900,
    "max_force": 7.0,
    "spins": {"H": 1},
    "max_cycle": 7,
    "xc": " PBE",
    "basis": "Def2-SVP",
}


@given(st.sets(st.sampled_from(sorted(CHANGES))), st.sets(st.sampled_from(sorted(NO_CHANGES))))
def test_id_follows_what_changes_numbers_and_nothing_else(changed, unchanged):
    base = theory_id(PySCFLabeller())
    assert re.fullmatch("[0-9a-f]{16}", base)
    options = {key: NO_CHANGES[key] for key in unchanged} | {key: CHANGES[key] for key in changed}
    assert (theory_id(PySCFLabeller(**options)) == base) == (not changed)


def test_every_setting_is_either_theory_or_declared_not_to_be():
    for settings in (PySCFLabeller(), TBLiteLabeller(), EMTLabeller()):
        declared = set(describe(settings)["settings"])
        assert declared | settings.NOT_THEORY >= set(type(settings).model_fields)
        assert not declared & settings.NOT_THEORY


def test_versions_of_the_programs_count(monkeypatch):
    labellers = [
        (PySCFLabeller(), {"pyscf"}),
        (PySCFLabeller(dispersion="d3bj"), {"pyscf", "pyscf-dispersion"}),
        (PySCFLabeller(xc="b3lyp-d3bj"), {"pyscf", "pyscf-dispersion"}),
        (TBLiteLabeller(), {"tblite"}),
        (EMTLabeller(), {"ase"}),
        (ASELabeller(calculator="tblite.ase:TBLite"), {"ase", "tblite"}),
        (ASELabeller(calculator="mine:Calculator"), {"ase"}),
    ]
    before = [theory_id(settings) for settings, _ in labellers]
    for settings, names in labellers:
        assert set(describe(settings)["versions"]) == names
    installed = theory.version
    monkeypatch.setattr(theory, "version", lambda name: installed(name) + ".post1")
    assert not set(before) & {theory_id(settings) for settings, _ in labellers}


def test_a_missing_engine_is_named_with_its_package(monkeypatch):
    def missing(name):
        raise theory.PackageNotFoundError(name)

    monkeypatch.setattr(theory, "version", missing)
    with pytest.raises(UserError, match="pip install pyscf"):
        theory_id(PySCFLabeller(dispersion="d4"))


def test_kwargs_must_survive_the_frozen_plan():
    for bad in ({1: 2}, {"a": float("nan")}, {"a": object()}, {"a": (1, 2)}):
        with pytest.raises(ValidationError, match="kwargs"):
            ASELabeller(calculator="a.b:C", kwargs=bad)
    with pytest.raises(ValidationError, match="calculator"):
        ASELabeller(calculator="a.b.C")


def test_no_engine_and_no_torch_is_imported_for_an_id():
    code = (
        "import sys; from mace_core.label.theory import theory_id; import mace_core.label.run; "
        "from mace_core.config.labellers import PySCFLabeller; theory_id(PySCFLabeller()); "
        "assert not {'torch', 'pyscf', 'tblite', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
