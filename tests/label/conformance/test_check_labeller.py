"""The checks pass what is sound, and fail what is broken, each for its reason."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from ase.build import bulk, molecule

from mace_core.config.labellers import (
    ASELabeller,
    CommandLabeller,
    EMTLabeller,
    PySCFLabeller,
)
from mace_core.errors import UserError
from mace_core.label import conformance
from mace_core.label.conformance import mishaps, tolerances
from mace_core.storage import read_json

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=":")


def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[[1, 3]] = "Au"
    atoms.set_cell(atoms.cell[:] * 1.05, scale_atoms=True)
    return atoms


def thin():
    atoms = crystal()
    atoms.set_cell(atoms.cell[:] * 1.5, scale_atoms=True)
    return atoms


FRAMES = {"crystal": crystal, "aluminium": lambda: bulk("Al", cubic=True)} | {
    "water": lambda: molecule("H2O")
}


def twin(how="well", **kwargs):
    return ASELabeller(
        calculator="broken_labellers:Twin",
        kwargs={"how": how, "charge": "$charge", "spin": "$spin"},
        **kwargs,
    )


def found(settings, frame, check, **options):
    """The findings of one check, by verdict."""
    findings = list(
        conformance.check_labeller(settings, [FRAMES[frame]()], only=[check], **options)
    )
    return [finding for finding in findings if finding.check == check]


@cache
def healthy(frame, check, quick):
    return found(twin(), frame, check, quick=quick, unconverged=thin())


@pytest.mark.parametrize(
    ("how", "frame", "check", "reason"),
    [
        ("forces in Hartree Bohr", "crystal", "forces", "in Hartree/Bohr"),
        ("gradient for forces", "water", "forces", "sign is flipped"),
        ("energy without a term", "water", "forces", "not minus the slope"),
        ("energy not of the forces", "crystal", "forces", "not minus the slope"),
        ("pulls itself", "crystal", "translation", "do not sum to zero"),
        ("knows up", "water", "rotation", "the forces differ"),
        ("pressure for stress", "crystal", "stress", "sign is flipped"),
        ("stress in GPa", "crystal", "stress", "in GPa"),
        ("virial for stress", "crystal", "stress", "virial"),
        ("stress in VASPs order", "crystal", "stress", "not the slope"),
        ("all in Hartree", "aluminium", "energy-unit", "bulk modulus"),
        ("all in Hartree", "water", "energy-unit", "stiffness"),
        ("all in Hartree", "water", "charge", "ionisation energy"),
        ("sorts atoms", "crystal", "permutation", "renumbered.*forces differ"),
        ("is noisy", "crystal", "determinism", "labelled twice"),
        ("starts from the last", "crystal", "history", "after another frame"),
        ("shares a file", "crystal", "parallel", "two runs at once"),
        ("ignores charge", "water", "charge", "charge is ignored"),
        ("ignores spin", "water", "spin", "spin is ignored"),
        ("claims", "crystal", "unconverged", "labelled as converged"),
        ("swallows a full disk", "crystal", "full-disk", "a wrong one"),
        ("leaves a daemon", "crystal", "killed", r"still running afterwards: .*pid \d+"),
    ],
)
def test_what_is_broken_fails_for_its_reason_and_its_healthy_twin_passes(how, frame, check, reason):
    quick = check == "full-disk"
    (finding,) = found(twin(how), frame, check, quick=quick, unconverged=thin())
    assert finding.verdict == "failed", finding.line()
    assert re.search(reason, finding.message), finding.message
    assert finding.mend
    (sound,) = healthy(frame, check, quick)
    assert sound.verdict == "ok", sound.line()


def test_what_hangs_is_said_at_once_and_nothing_else_is_tried():
    (finding,) = conformance.check_labeller(twin("hangs", time_limit=2), [crystal()])
    assert (finding.check, finding.verdict) == ("label", "failed")
    assert "timeout" in finding.message and "2 s" in finding.message


def test_a_quick_engine_that_is_done_in_time_is_tried_again(monkeypatch):
    calls = []

    def in_time_at_first(probe, frames, interfere, **options):
        calls.append(options.pop("settings"))
        late = {"settings": calls[-1]} if len(calls) > in_time else {}
        return watched(probe, frames, interfere, **late)

    watched = mishaps.watched
    monkeypatch.setattr(mishaps, "watched", in_time_at_first)
    in_time = 1
    (finding,) = found(EMTLabeller(), "crystal", "time-limit")
    assert finding.verdict == "ok" and len(calls) >= 2, finding.line()
    in_time, calls[:] = 99, []
    (finding,) = found(EMTLabeller(), "crystal", "time-limit")
    assert finding.verdict == "skipped" and len(calls) == tolerances.TRIES, finding.line()


def by_script(*commands):
    script = shlex.join([sys.executable, str(HERE / "careless_wrapper.py"), "{in}", "{out}"])
    return CommandLabeller(command=[f"{script} {words}" for words in commands])


@pytest.mark.parametrize(
    ("commands", "sound", "check", "reason"),
    [
        (["careless"], ["careful"], "killed", "labelled as converged all the same"),
        (["careful", "other"], ["careful", "careful"], "ladder", "another energy"),
    ],
)
def test_commands_broken_and_sound(commands, sound, check, reason, monkeypatch):
    monkeypatch.setattr(tolerances, "MANY", 2)
    (finding,) = found(by_script(*commands), "crystal", check)
    assert finding.verdict == "failed" and reason in finding.message, finding.line()
    (finding,) = found(by_script(*sound), "crystal", check)
    assert finding.verdict == "ok", finding.line()
    if check == "killed":
        assert "program:" in finding.message and "worker:" in finding.message


@pytest.mark.engine("pyscf")
def test_pyscf_without_grid_response_fails_and_with_it_passes():
    for response, verdict in ((False, "failed"), (True, "ok")):
        settings = PySCFLabeller(basis="6-31g", grid_level=0, grid_response=response)
        (finding,) = found(settings, "water", "forces")
        assert finding.verdict == verdict, finding.line()
        print(finding.line())


@pytest.mark.engine("pyscf")
def test_an_ingredient_that_nobody_misses_fails(monkeypatch):
    (finding,) = found(PySCFLabeller(basis="sto-3g"), "water", "missing-ingredient")
    assert finding.verdict == "ok" and "no-such-basis" in finding.message
    monkeypatch.setattr(PySCFLabeller, "lacking", lambda self: (self, "a basis set"))
    (finding,) = found(PySCFLabeller(basis="sto-3g"), "water", "missing-ingredient")
    assert finding.verdict == "failed" and "noticed by nobody" in finding.message


def test_unknown_checks_and_elements_are_refused_before_compute():
    with pytest.raises(UserError, match="no check is called 'stres'"):
        next(conformance.check_labeller(twin(), [crystal()], only=["stres"]))
    with pytest.raises(UserError, match="no frame"):
        next(conformance.check_labeller(twin(), []))


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "mace_core.cli.main", "check-labeller", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_the_command_says_all_and_fails_if_one_check_does(tmp_path):
    (tmp_path / "emt.yaml").write_text("labeller: {engine: emt}")
    done = run(tmp_path, "--config", "emt.yaml", "--only", "forces", "--out", "o.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok ") >= 4 and "0 failed" in done.stdout
    report = read_json(tmp_path / "o.json")
    assert report["counts"] == {"ok": 4, "failed": 0, "skipped": 0}
    assert all(f["value"] < f["limit"] for f in report["findings"] if f["check"] == "forces")
    assert not (tmp_path / "labels").exists()

    bad = {"labeller": twin("gradient for forces").model_dump(mode="json")}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
    crystal().write(tmp_path / "x.cif")
    done = run(
        *(tmp_path, "--config", "bad.yaml", "--frames", "x.cif"),
        *("--only", "forces", "--only", "stress"),
    )
    assert done.returncode == 1
    assert "FAILED   forces" in done.stdout and "mend:" in done.stdout
    assert "ok       stress" in done.stdout

    (tmp_path / "typo.yaml").write_text("labeller: {engine: emt, xc: pbe}")
    done = run(tmp_path, "--config", "typo.yaml")
    assert done.returncode == 2 and "labeller.xc: unknown key" in done.stderr
