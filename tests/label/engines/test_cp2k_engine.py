"""CP2K: its labels against finite differences, and what its failures look like."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from in_a_folder import compute, force_difference, outcome, stress_difference

from mace_core.config.campaign import parse_config
from mace_core.config.labellers import CP2KLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.engines import Refused, cp2k, engine_for
from mace_core.label.run import label_frames
from mace_core.label.start import check_engine
from mace_core.label.store import LabelStore
from mace_core.label.theory import describe, theory_id

pytestmark = pytest.mark.engine("cp2k")
needs_cp2k = pytest.mark.skipif(not shutil.which("cp2k.psmp"), reason="scripts/engines.sh cp2k")
CHEAP = {"cutoff": 100, "rel_cutoff": 30, "basis": "SZV-MOLOPT-SR-GTH", "box": 8.0}
METAL = CHEAP | {"cutoff": 60, "electronic_temperature": 3000, "kpts": [2, 2, 2]}


def water(charge=0, spin=0):
    atoms = molecule("H2O")
    atoms.positions += np.random.default_rng(1).normal(0, 0.05, atoms.positions.shape)
    atoms.info.update(charge=charge, spin=spin)
    return canonical(atoms)


def periodic_water():
    atoms = water()
    atoms.pbc = True
    atoms.cell = [[4.5, 0, 0], [0.3, 4.5, 0], [0, 0.2, 4.6]]
    return canonical(atoms)


def aluminium():
    atoms = bulk("Al")
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, (1, 3))
    atoms = atoms.repeat((2, 1, 1))
    atoms.positions[1] += [0.2, 0.3, -0.4]
    return canonical(atoms)


def configuration(**labeller):
    values = {
        "campaign": {"name": "x"},
        "labeller": {"engine": "cp2k", **labeller},
        "seed": {"structures": ["x.xyz"]},
    }
    return parse_config(values, where="x.yaml")


@needs_cp2k
def test_labels_of_a_crystal_are_derivatives_of_the_energy():
    frame, settings = periodic_water(), CP2KLabeller(**CHEAP | {"cutoff": 200})
    assert force_difference(settings, frame) == pytest.approx(0, abs=4e-4)
    assert stress_difference(settings, frame) == pytest.approx(0, abs=5e-6)


@needs_cp2k
def test_labels_of_a_metal_are_derivatives_of_the_free_energy():
    # At 3000 K the energy without the electrons' entropy has another derivative.
    frame = aluminium()
    assert force_difference(CP2KLabeller(**METAL), frame) == pytest.approx(0, abs=3e-4)


@needs_cp2k
def test_a_metal_may_be_spin_polarised():
    frame, polarised = aluminium(), CP2KLabeller(**METAL, uks=True)
    assert compute(polarised, frame).energy == pytest.approx(
        compute(CP2KLabeller(**METAL), frame).energy, abs=1e-4
    )
    frame.info.update(charge=1, spin=1)
    at_gamma = CP2KLabeller(**METAL | {"kpts": None})
    doublet = compute(at_gamma, frame).energy
    frame.info["spin"] = 3
    assert compute(at_gamma, frame).energy - doublet > 0.1
    # Not by CP2K 2023.1; it would ignore the multiplicity if the moment were not fixed.
    status, reason = outcome(CP2KLabeller(**METAL), frame)
    assert status == "failed" and "fixed magnetic moments" in reason


@needs_cp2k
def test_labels_of_a_radical_molecule_are_derivatives_of_the_energy():
    frame = canonical(Atoms("H2", [[0, 0, 0], [0.1, 0.2, 0.8]], info={"charge": 1, "spin": 1}))
    settings = CP2KLabeller(**CHEAP)
    assert force_difference(settings, frame) == pytest.approx(0, abs=2e-3)


@needs_cp2k
def test_a_molecule_may_lie_anywhere_and_does_not_push_itself():
    frame, settings = water(), CP2KLabeller(**CHEAP)
    label = compute(settings, frame)
    assert np.abs(label.forces.sum(axis=0)).max() < 1e-9
    assert label.stress is None
    frame.positions += [3.1, -20.0, 0.27]
    moved = compute(settings, canonical(frame))
    assert moved.energy == pytest.approx(label.energy, abs=1e-6)
    assert np.abs(moved.positions - frame.positions).max() < 1e-5


@needs_cp2k
def test_rungs_and_runs_are_one_level_of_theory():
    frame, settings = periodic_water(), CP2KLabeller(**CHEAP)
    labels = [compute(settings, frame, rung) for rung in engine_for(settings).RUNGS]
    assert len(labels) == 3
    for label in labels[1:]:
        assert label.energy == pytest.approx(labels[0].energy, abs=1e-6)
        assert np.abs(label.forces - labels[0].forces).max() < 1e-3
    again = compute(settings, frame)
    assert again.energy == labels[0].energy
    assert (again.forces == labels[0].forces).all()


@needs_cp2k
def test_d3_is_in_energy_and_forces():
    plain, with_it = (
        compute(CP2KLabeller(dispersion=d, **CHEAP), periodic_water()) for d in (None, "d3bj")
    )
    assert -0.5 < with_it.energy - plain.energy < -0.01
    assert np.abs(with_it.forces - plain.forces).max() > 1e-4


@needs_cp2k
def test_an_unconverged_scf_is_never_a_label(tmp_path):
    settings = CP2KLabeller(**CHEAP, max_scf=2)
    store = LabelStore(tmp_path / "labels", settings)
    (labelled,) = label_frames([periodic_water()], settings, store)
    record = labelled.record
    assert record.status == "unconverged"
    assert "SCF run NOT converged (change in step" in record.reason
    assert [a["rung"] for a in record.attempts] == ["default", "full_all", "diagonalization"]
    kept = next(store.outputs(record.frame_id).glob("*-default/cp2k.out"))
    assert "PROGRAM ENDED AT" in kept.read_text()  # CP2K 2023.1 says nothing but one line
    assert next(kept.parent.glob("label.inp")).read_text().count("&KIND") == 2
    assert not list(kept.parent.glob("basis*"))


@needs_cp2k
def test_a_time_limit_ends_it(tmp_path):
    settings = CP2KLabeller(**CHEAP | {"cutoff": 1000}, time_limit=2)
    (labelled,) = label_frames([water()], settings, LabelStore(tmp_path / "labels", settings))
    assert labelled.record.status == "timeout"


@needs_cp2k
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"basis": "DZVP-NOWHERE"}, r"labeller\.basis: 'DZVP-NOWHERE' for H .*SZV-MOLOPT-SR-GTH"),
        ({"potential": {"H": "GTH-PBE"}}, r"labeller\.potential: none for O"),
        ({"basis_files": ["BASIS_NOWHERE"]}, r"data file 'BASIS_NOWHERE' is in none of"),
        ({"data_dir": "/nowhere"}, r"'BASIS_MOLOPT' is in none of .*/nowhere"),
        ({"command": "cp2k.nowhere"}, r"labeller\.command: 'cp2k\.nowhere' is not"),
        ({"command": "echo"}, r"does not say which version of CP2K"),
        ({"version": "7.1"}, r"labeller\.version says CP2K 7\.1"),
        ({"extra": {"FORCE_EVAL/DFT": "SMEARY 1"}}, r"does not take the input: .*SMEARY"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_missing_is_said_before_any_compute(settings, message):
    with pytest.raises(UserError, match=message):
        engine_for(CP2KLabeller(**CHEAP | settings)).check(["H", "O"])


@needs_cp2k
def test_what_cannot_be_labelled_is_refused_with_the_reason():
    settings = CP2KLabeller(**CHEAP)
    slab = periodic_water()
    slab.pbc = (True, True, False)
    long = canonical(Atoms("H2", [[0, 0, 0], [0, 0, 4.0]]))
    for frame, message in (
        (slab, "periodic in part"),
        (long, r"needs a cube of 10\.0 Å"),
        (water(spin=1), r"spin 1 .*electrons"),
    ):
        with pytest.raises(Refused, match=message):
            compute(settings, frame)
    bad = CP2KLabeller(**CHEAP | {"potential": "GTH-BLYP", "basis": {"O": "X", "H": "X"}})
    status, reason = outcome(bad, water())
    assert status == "failed"
    assert reason.startswith("CP2K: The requested basis set <X> for element <")


@needs_cp2k
def test_the_level_of_theory_is_content_not_place(tmp_path, monkeypatch):
    settings = CP2KLabeller(**CHEAP)
    check_engine(settings, ["H", "O"])
    first = theory_id(settings)
    assert describe(settings)["versions"]["cp2k"]
    monkeypatch.chdir(tmp_path)
    source = engine_for(settings)._data_file("BASIS_MOLOPT")
    shutil.copy(source, tmp_path / "mine")
    mine = settings.model_copy(update={"basis_files": ["mine"], "max_scf": 7})
    assert theory_id(mine) == first
    with open(tmp_path / "mine", "a") as file:
        file.write("# changed\n")
    assert theory_id(mine) != first
    assert theory_id(settings.model_copy(update={"cutoff": 101})) != first


@pytest.mark.parametrize(
    ("labeller", "message"),
    [
        ({"extra": {"FORCE_EVAL/DFT/SCF": "ignore_convergence_failure"}}, "would pass as a label"),
        ({"extra": {"FORCE_EVAL/DFT": "&SCF\n  MAX_SCF 3\n&END"}}, "the retry ladder sets it"),
        ({"extra": {"FORCE_EVAL/DFT": "CHARGE 1"}}, "charge and spin are those of each frame"),
        ({"extra": {"FORCE_EVAL/SUBSYS": "@INCLUDE 'x'"}}, "would not be hashed"),
        ({"extra": {"FORCE_EVAL/DFT": "&QS"}}, "not ended by &END"),
        ({"extra": {"DFT": "X 1"}}, "a path starts with FORCE_EVAL"),
        ({"xc": "B3LYP"}, r"labeller\.xc: 'B3LYP' is none of .*a hybrid: null here"),
        ({"xc": None}, "give the functional in extra"),
    ],
)
def test_settings_that_would_spoil_labels_are_refused(labeller, message):
    with pytest.raises(UserError, match=message):
        configuration(**labeller)


def test_functionals_and_extra_input_go_where_they_belong():
    extra = {
        "FORCE_EVAL/DFT/XC": "&HF\n  FRACTION 0.25\n&END HF",
        "force_eval/dft/print/mulliken off": "LOG_PRINT_KEY",
        "FORCE_EVAL/SUBSYS/KIND O": "MAGNETIZATION 2",
    }
    settings = CP2KLabeller(**CHEAP | {"xc": "GGA_X_RPBE+GGA_C_PBE", "extra": extra})
    text = cp2k.input_text(settings, water(), np.eye(3), water().positions, "default")
    lines = [line.strip() for line in text.splitlines()]
    xc = lines[lines.index("&XC") : lines.index("&END XC")]
    assert {"&GGA_X_RPBE", "&GGA_C_PBE", "FRACTION 0.25"} <= {*xc}
    kind = lines[lines.index("&KIND O") :]
    assert "MAGNETIZATION 2" in kind[: kind.index("&END KIND")]
    assert [line.upper() for line in lines].count(
        "&PRINT"
    ) == 4  # of FORCE_EVAL, DFT, SCF and SUBSYS
    assert text.count("&") == 2 * text.count("&END")


def test_the_tables_of_cp2k_2025_are_read():
    """As its source prints them; that version was not run."""
    forces = """\
 FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom     x               y               z               |f|
 FORCES|      1  1.11494962E-02 -1.59816054E-03  2.12988782E-02   2.40937252E-02
 FORCES|      2 -1.11494962E-02  1.59816054E-03 -2.12988782E-02   2.40937252E-02
 FORCES| Sum     0.00000000E+00  0.00000000E+00  0.00000000E+00
"""
    assert cp2k._forces(forces).tolist() == [
        [1.11494962e-2, -1.59816054e-3, 2.12988782e-2],
        [-1.11494962e-2, 1.59816054e-3, -2.12988782e-2],
    ]
    energy = " ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]             -3.701430592573918\n"
    assert cp2k._energy(energy) == -3.701430592573918
    stress = """\
 STRESS| Analytical stress tensor [bar]
 STRESS|                        x                   y                   z
 STRESS|      x        6.0E+03  1.0E+02  0.0E+00
 STRESS|      y        1.0E+02  3.0E+03  0.0E+00
 STRESS|      z        0.0E+00  0.0E+00 -2.0E+03
"""
    gpa = cp2k._stress(stress.replace("[bar]", "[GPa]"))
    assert np.allclose(cp2k._stress(stress), 1e-4 * gpa)
    assert gpa[0] < 0 < gpa[2]
    for text, read in ((forces.replace("hartree", "eV"), cp2k._forces), ("", cp2k._stress)):
        with pytest.raises(Refused):
            read(text)


@pytest.mark.parametrize(
    ("output", "code", "status", "reason"),
    [
        ("*** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n PROGRAM ENDED AT", 0,
         "unconverged", "NOT converged"),
        ("SCF run converged in 9 steps", -9, "failed", r"killed by signal 9 \(SIGKILL\)"),
        ("SCF run converged in 9 steps", 0, "failed", "ended early"),
        ("PROGRAM ENDED AT", 0, "failed", "does not say that its SCF converged"),
        (" *   [ABORT]\n * \\___/    Cholesky decompose failed:  *\n *  O/|  really ?  *\n",
         1, "unconverged", "CP2K: Cholesky decompose failed"),
    ],
)  # fmt: skip
def test_what_its_output_means(output, code, status, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cp2k.out").write_text(output)
    expected = Refused if status == "failed" else cp2k.NotConverged
    with pytest.raises(expected, match=reason):
        engine_for(CP2KLabeller()).judge(code)
