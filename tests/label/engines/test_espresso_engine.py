"""Quantum ESPRESSO: its labels against finite differences, and what its failures look like."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111
from in_a_folder import compute, force_difference, outcome, stress_difference

from mace_core.config.campaign import parse_config
from mace_core.config.labellers import EspressoLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.engines import engine_for
from mace_core.label.engines.upf import read_upf
from mace_core.label.isolated import isolated_atoms
from mace_core.label.run import label_frames
from mace_core.label.start import check_engine
from mace_core.label.store import LabelStore
from mace_core.label.theory import theory_id

PSEUDO_DIR = Path(__file__).parents[3] / "config" / "data" / "pseudopotentials"
pytestmark = [
    pytest.mark.engine("espresso"),
    pytest.mark.skipif(
        shutil.which("pw.x") is None, reason="pw.x is not on PATH: scripts/engines.sh espresso"
    ),
]


def espresso(**options):
    few = {
        "pseudo_dir": str(PSEUDO_DIR),
        "pseudopotentials": {"Al": "Al.upf"},
        "ecutwfc": 20,
        "kpts": [2, 1, 1],
        "smearing": "marzari-vanderbilt",
        "degauss": 0.02,
    }
    return EspressoLabeller(**(few | options))


@pytest.fixture
def crystal():
    atoms = bulk("Al", a=4.05, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, (4, 3))
    return canonical(atoms)


@pytest.fixture
def label(tmp_path):
    def call(frame, settings, **options):
        return label_frames([frame], settings, LabelStore(tmp_path / "labels", settings), **options)

    return lambda *args, **options: call(*args, **options)[0].record


def test_forces_and_stress_are_the_derivative_of_its_energy(crystal):
    """Of the free energy: with this smearing −TS is large enough to tell."""
    # At a lower cutoff the basis, which changes with the cell, spoils the energy's derivative.
    settings = espresso(ecutwfc=45, smearing="gaussian", degauss=0.05)
    assert force_difference(settings, crystal) == pytest.approx(0, abs=1e-4)
    assert stress_difference(settings, crystal) == pytest.approx(0, abs=1e-5)


def test_dispersion_is_in_energy_and_forces(crystal):
    plain, dispersed = compute(espresso(), crystal), compute(espresso(dispersion="d3bj"), crystal)
    assert -3 < dispersed.energy - plain.energy < -0.1
    assert np.abs(dispersed.forces - plain.forces).max() > 1e-3
    assert np.abs(dispersed.stress - plain.stress).max() > 1e-3


def test_a_later_rung_gives_the_label_of_the_first(crystal, label):
    plain = compute(espresso(), crystal)
    assert outcome(espresso(electron_maxstep=3), crystal) == (
        "unconverged",
        "pw.x: SCF not converged in 3 iterations",
    )
    record = label(crystal, espresso(electron_maxstep=3))
    assert (record.status, record.rung) == ("converged", "damped")
    assert [a["status"] for a in record.attempts] == ["unconverged", "converged"]
    assert record.energy == pytest.approx(plain.energy, abs=1e-6)
    assert np.abs(np.array(record.forces) - plain.forces).max() < 1e-3
    for rung in engine_for(espresso()).RUNGS[2:]:
        result = compute(espresso(), crystal, rung)
        assert result.energy == pytest.approx(plain.energy, abs=1e-6)
        assert np.abs(result.forces - plain.forces).max() < 1e-3


def test_a_free_atom_has_its_spin_and_the_crystal_is_bound(crystal, tmp_path):
    settings = espresso(vacuum=4.0)
    (atom,) = isolated_atoms(["Al"], settings)
    assert atom.info["spin"] == 1
    free = compute(settings, atom, folder=tmp_path)
    text = (tmp_path / "espresso.pwi").read_text()
    for said in ("tot_magnetization = 1", "K_POINTS gamma", "degauss          = 0.005"):
        assert said in text
    assert free.stress is None
    # PBE, a perfect crystal and many k-points: 3.5 eV
    bound = compute(espresso(kpts=[3, 3, 3]), crystal)
    assert 3.0 < free.energy - bound.energy / 4 < 4.0


def test_what_may_go_wrong_is_said(crystal, tmp_path):
    killed = outcome(espresso(command="timeout -s KILL 0.3 pw.x"), crystal)
    assert killed == ("failed", "pw.x was killed by signal 9 (SIGKILL), perhaps for want of memory")
    status, reason = outcome(espresso(system={"nbnd": 2}), crystal)
    assert (status, reason.split(" (")[0]) == ("failed", "pw.x: too few bands")
    silicon = bulk("Si")
    silicon.info["charge"] = silicon.info["spin"] = 0
    assert outcome(espresso(), silicon)[1] == "labeller.pseudopotentials has none for Si"
    slab = fcc111("Al", (1, 1, 2), vacuum=5.0)
    assert "pbc 'T T T'" in outcome(espresso(), canonical(slab))[1]
    crystal.pbc, crystal.info["charge"] = False, 1
    crystal.info["spin"] = 1
    assert "charged molecule in a periodic box" in outcome(espresso(), crystal)[1]


def test_a_time_limit_ends_it(crystal, label):
    record = label(crystal, espresso(ecutwfc=60, kpts=[6, 6, 6], time_limit=2))
    assert (record.status, record.rung) == ("timeout", "default")


def test_what_cannot_work_is_said_before_any_compute(tmp_path):
    other = tmp_path / "Si.upf"
    shutil.copy(PSEUDO_DIR / "Al.upf", other)
    soft = tmp_path / "soft.upf"
    text = (PSEUDO_DIR / "Al.upf").read_text()
    assert text.count('pseudo_type="NC"') == 1
    soft.write_text(text.replace('pseudo_type="NC"', 'pseudo_type="US"'))
    for options, elements, message in (
        ({"pseudopotentials": {"Al": "Zn.upf"}}, ["Al"], "no file .*Zn.upf"),
        ({}, ["Al", "Cu"], "none for Cu"),
        (
            {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Si": "Si.upf"}},
            ["Si"],
            "Si.upf is one of Al, not Si",
        ),
        (
            {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Al": "soft.upf"}},
            ["Al"],
            "labeller.ecutrho: soft.upf is ultrasoft",
        ),
        ({"command": "no_pw.x"}, ["Al"], "labeller.command: 'no_pw.x' is not on PATH"),
        ({"command": "echo hello"}, ["Al"], "does not run pw.x; it says: hello"),
        ({"version": "9.9"}, ["Al"], r"says pw.x 9.9, but 'pw.x' is \d"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            engine_for(espresso(**options)).check(elements)
        assert caught.value.mend
    check_engine(espresso(), ["Al"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"electrons": {"scf_must_converge": False}}, "claims convergence that there was not"),
        ({"control": {"calculation": "relax"}}, "one scf calculation"),
        ({"control": {"outdir": "/tmp"}}, "the engine sets it"),
        ({"system": {"Degauss": 0.1}}, "a key of its own here, degauss"),
        ({"system": {"hubbard_u(1)": 4.0}}, r"hubbard_u\(Ni\)"),
        ({"smearing": "gaussian", "degauss": None}, "width degauss .* is not given"),
        ({"nspin": 2}, "would not be magnetic"),
        ({"ecutrho": 60}, "below 4 × ecutwfc = 80 Ry"),
    ],
)
def test_settings_that_cannot_work_are_named(options, message):
    values = {
        "campaign": {"name": "x"},
        "labeller": espresso().model_dump(mode="json") | options,
        "seed": {"structures": ["x.xyz"]},
    }
    with pytest.raises(UserError, match=message):
        parse_config(values, where="x.yaml")


def test_a_pseudopotentials_content_is_the_level_of_theory_and_its_place_is_not(tmp_path):
    elsewhere = tmp_path / "aluminium.UPF"
    shutil.copy(PSEUDO_DIR / "Al.upf", elsewhere)
    moved = {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Al": elsewhere.name}}
    same = [espresso(), espresso(**moved), espresso(mixing_beta=0.1, command="pw.x -nk 1")]
    assert len({theory_id(settings) for settings in same}) == 1
    elsewhere.write_text(elsewhere.read_text() + "\n")
    assert theory_id(espresso(**moved)) != theory_id(espresso())
    version = engine_for(espresso()).program_versions()["pw.x"]
    assert theory_id(espresso(version=version)) == theory_id(espresso())
    assert theory_id(espresso(version="9.9")) != theory_id(espresso())
    assert theory_id(espresso(degauss=0.01)) != theory_id(espresso())


def test_upf_files_of_both_versions(tmp_path):
    assert read_upf(PSEUDO_DIR / "Al.upf").valence == 3
    old = tmp_path / "old.UPF"
    old.write_text(
        "<PP_HEADER>\n   0   Version Number\n  Ti   Element\n   US   Ultrasoft pseudopotential\n"
        "    T   Nonlinear Core Correction\n SLA  PW   PBE  PBE     PBE  Exchange-Correlation\n"
        "   12.00000000000   Z valence\n</PP_HEADER>\n"
    )
    said = read_upf(old)
    assert (said.element, said.norm_conserving, said.valence) == ("Ti", False, 12)
    assert said.functional == "SLA PW PBE PBE PBE"
    (tmp_path / "no.upf").write_text("hello")
    with pytest.raises(UserError, match="no pseudopotential in UPF format"):
        read_upf(tmp_path / "no.upf")
