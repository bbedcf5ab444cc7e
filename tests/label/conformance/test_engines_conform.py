"""Every engine that can be run here passes every check: labels of real frames, mishaps, ladders.

Those that take a minute or more, or that another one stands for, run only when asked for:
pytest -s -m long tests/label/conformance
"""

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from mace_core.config.labellers import (
    ASELabeller,
    CommandLabeller,
    CP2KLabeller,
    EMTLabeller,
    EspressoLabeller,
    GPAWLabeller,
    PySCFLabeller,
    TBLiteLabeller,
)
from mace_core.label import conformance

REPOSITORY = Path(__file__).parents[3]
SCRIPT = REPOSITORY / "tests" / "label" / "engines" / "label_by_emt.py"
METAL = {"kpts": [2, 2, 2], "smearing": "marzari-vanderbilt"}


def without(program=None, module=None):
    missing = shutil.which(program) is None if program else find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"no {program or module}: scripts/engines.sh")


def engine(name, settings, frame, may_skip=(), long=False, needs=None):
    marks = [pytest.mark.engine(name), pytest.mark.long if long else pytest.mark.slow]
    return pytest.param(
        settings, frame, set(may_skip), id=name, marks=[*marks, *([needs] if needs else [])]
    )


def nwchem():
    convergence = {"energy": 1e-8, "density": 1e-6, "gradient": 1e-5}
    functional = {"xc": "xpbe96 cpbe96", "grid": "fine", "mult": "$multiplicity"}
    kwargs = {"command": "nwchem PREFIX.nwi > PREFIX.nwo", "theory": "dft", "basis": "6-31g"}
    return ASELabeller(
        calculator="ase.calculators.nwchem:NWChem",
        kwargs=kwargs | {"charge": "$charge", "dft": functional | {"convergence": convergence}},
    )


#: Checks that say nothing of a crystal, of a molecule, and of an engine that knows no charge.
CRYSTAL, MOLECULE = {"rotation"}, {"stress"}
NO_SCF = {"ladder", "unconverged", "missing-ingredient"}


@pytest.mark.parametrize(
    ("settings", "frame", "may_skip"),
    [
        engine("pyscf", PySCFLabeller(basis="sto-3g"), molecule("H2O"), MOLECULE, long=True),
        engine("tblite", TBLiteLabeller(), molecule("H2O"), MOLECULE | {"missing-ingredient"}),
        engine("emt", EMTLabeller(), bulk("Al", cubic=True), CRYSTAL | NO_SCF),
        engine(
            "ase",
            ASELabeller(calculator="ase.calculators.emt:EMT"),
            bulk("Al", cubic=True),
            CRYSTAL | NO_SCF,
            long=True,
        ),
        engine(
            "command",
            CommandLabeller(
                command=shlex.join([sys.executable, str(SCRIPT), "{in}", "{out}"]),
                files=[str(SCRIPT)],
            ),
            bulk("Al", cubic=True),
            CRYSTAL | {"ladder", "unconverged", "charge", "spin"},  # it refuses them
        ),
        engine(
            "nwchem",
            nwchem(),
            molecule("H2O"),
            MOLECULE | {"ladder", "unconverged"},
            long=True,
            needs=without("nwchem"),
        ),
        engine(
            "espresso",
            EspressoLabeller(
                pseudo_dir=str(REPOSITORY / "config" / "data" / "pseudopotentials"),
                pseudopotentials={"Al": "Al.upf"},
                ecutwfc=45,
                degauss=0.02,
                **METAL,
            ),
            bulk("Al", cubic=True),
            CRYSTAL,
            long=True,
            needs=without("pw.x"),
        ),
        engine(
            "gpaw",
            GPAWLabeller(ecut=500, width=0.27, **METAL),
            bulk("Al", cubic=True),
            CRYSTAL,
            long=True,
            needs=without(module="gpaw"),
        ),
        engine(
            "cp2k",
            CP2KLabeller(
                basis="SZV-MOLOPT-SR-GTH",
                cutoff=200,
                rel_cutoff=40,
                electronic_temperature=3000,
                kpts=[2, 2, 2],
            ),
            bulk("Al", cubic=True),
            CRYSTAL | {"charge", "spin"},  # refused: no fixed moments with k-points
            long=True,
            needs=without("cp2k.psmp"),
        ),
    ],
)
def test_engines_pass_every_check(settings, frame, may_skip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where nobody else writes: that is one of the checks
    findings = []
    for finding in conformance.check_labeller(settings, [frame], quick=True):
        print(finding.line(), flush=True)
        findings.append(finding)
    assert not [finding.line() for finding in findings if finding.verdict == "failed"]
    assert {f.check for f in findings if f.verdict == "skipped"} <= may_skip
    assert {f.check for f in findings} == {"label", *(c.name for c in conformance.CHECKS)}
