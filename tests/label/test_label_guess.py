"""A second computation starts from another guess, finds the same state, and is kept apart."""

import os
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule

from mace_core.config import labellers
from mace_core.frames import canonical
from mace_core.label import theory
from mace_core.label.agreement import AGREE_ENERGY, AGREE_FORCES, difference
from mace_core.label.claims import Claims
from mace_core.label.engines import Guess, engine_for
from mace_core.label.engines.cp2k_input import input_text
from mace_core.label.exchange import merge
from mace_core.label.integrity import verify
from mace_core.label.orphans import orphans
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore

EMT = labellers.EMTLabeller()
TWO_STATES = {"engine": "ase", "calculator": "two_states:TwoStates", "kwargs": {"always": True}}


def water(spin=0):
    atoms = molecule("H2O" if not spin else "OH")
    atoms.rattle(0.05, seed=3)
    atoms.info["spin"] = spin
    return canonical(atoms)


#: Ids of these settings, without versions and files, before engines knew of another guess.
IDS = {
    "1a5fad6eeb1a0fbd": labellers.PySCFLabeller(),
    "6b33685c03636b33": labellers.TBLiteLabeller(),
    "5c62112e1049f744": EMT,
    "5343194ce6312d35": labellers.ASELabeller(
        calculator="a.b:C", kwargs={"x": 1}, other_guess={"x": 2}
    ),
    "86d0c31391caba46": labellers.CommandLabeller(command="run {in} {out}"),
    "131c7c5d0d338230": labellers.EspressoLabeller(
        pseudo_dir="p", pseudopotentials={"Al": "Al.upf"}, ecutwfc=45
    ),
    "e7fa9ea158b2d10c": labellers.GPAWLabeller(ecut=500),
    "239fb2337e431570": labellers.CP2KLabeller(basis="DZVP", potential="GTH-PBE", cutoff=400),
    "0dfb63982c8ddb00": labellers.VASPLabeller(
        command="vasp",
        version="6.4.2",
        incar={"ENCUT": 520, "ISMEAR": 0, "SIGMA": 0.05},
        potcars={"Si": "Si"},
        kspacing=0.25,
    ),
}


@pytest.mark.parametrize("expected", IDS)
def test_the_starting_guess_is_no_part_of_the_level_of_theory(expected, monkeypatch):
    class WithoutFiles:
        def level(self):
            return {}

    monkeypatch.setattr(theory, "versions", lambda settings: {})
    monkeypatch.setattr(theory, "_engine", lambda settings: WithoutFiles())
    assert theory.theory_id(IDS[expected]) == expected


@pytest.mark.parametrize("spin", [0, 1])
@pytest.mark.parametrize(
    ("engine", "module"),
    [(labellers.PySCFLabeller(), "pyscf"), (labellers.TBLiteLabeller(), "tblite")],
)
def test_both_guesses_lead_to_one_state(engine, module, spin, tmp_path, monkeypatch):
    pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    frame, run = water(spin), engine_for(engine)
    assert run.other_guess()
    usual, other = (run.compute(frame, "default", guess) for guess in Guess)
    assert usual.energy != other.energy, "it took the same way"
    assert abs(usual.energy - other.energy) < 0.1 * AGREE_ENERGY
    assert np.abs(usual.forces - other.forces).max() < 0.1 * AGREE_FORCES


def test_pyscf_starts_from_other_orbitals_on_every_rung(monkeypatch, tmp_path):
    pytest.importorskip("pyscf")
    monkeypatch.chdir(tmp_path)
    run = engine_for(labellers.PySCFLabeller(basis="sto-3g"))
    for rung in run.RUNGS:
        usual, other = (run._scf(water(), rung, guess) for guess in Guess)
        assert other.init_guess == "huckel" != usual.init_guess
        assert (usual.max_cycle, type(usual)) == (other.max_cycle, type(other))


def test_espresso_starts_from_random_waves_and_other_moments():
    settings = labellers.EspressoLabeller(
        pseudo_dir="config/data/pseudopotentials",
        pseudopotentials={"Al": "Al.upf"},
        ecutwfc=20,
        kpts=[2, 1, 1],
        smearing="gaussian",
        degauss=0.02,
        nspin=2,
        starting_magnetization={"Al": 0.5},
    )
    frame = canonical(bulk("Al", cubic=True))
    run = engine_for(settings)
    usual, other = (run.input_text(frame, frame, ["Al"], "default", guess) for guess in Guess)
    assert _changed(usual, other) == (
        {"starting_magnetization(1) = 0.5"},
        {"starting_magnetization(1) = 0.25", "startingwfc = 'random'"},
    )


def test_gpaw_starts_from_random_waves_and_other_moments():
    settings = labellers.GPAWLabeller(ecut=200, kpts=[1, 1, 1], spinpol=True, magmoms={"Al": 2.0})
    frame = canonical(bulk("Al", cubic=True))
    run = engine_for(settings)
    usual, other = (run.parameters(frame, frame, "default", guess) for guess in Guess)
    assert other == usual | {"random": True, "magmoms": [1.0] * 4}


@pytest.mark.parametrize(
    ("kpoints", "usual", "other"),
    [
        ({}, {"SCF_GUESS ATOMIC"}, {"SCF_GUESS CORE"}),
        ({"kpts": [2, 2, 2]}, {"ALPHA 0.4"}, {"ALPHA 0.2"}),
    ],
)
def test_cp2k_starts_from_the_core_or_mixes_otherwise(kpoints, usual, other):
    settings = labellers.CP2KLabeller(basis="SZV", potential="GTH-PBE", cutoff=200, **kpoints)
    frame = canonical(bulk("Al", cubic=True))
    texts = [
        input_text(settings, frame, frame.cell[:], frame.positions, "default", guess)
        for guess in Guess
    ]
    assert _changed(*texts) == (usual, other)


def _changed(usual, other):
    lines = [
        {" ".join(line.replace(",", " ").split()) for line in text.splitlines()}
        for text in (usual, other)
    ]
    return lines[0] - lines[1], lines[1] - lines[0]


def test_a_command_is_told_by_a_placeholder_and_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "say.sh").write_text('echo "$1 $MACELOOP_GUESS" > said\n')
    run = engine_for(labellers.CommandLabeller(command="sh say.sh {guess} {in} {out}"))
    for guess in Guess:
        assert run.run("default", guess=guess) == 0
        assert (tmp_path / "said").read_text() == f"{guess} {guess}\n"
    assert [str(guess) for guess in Guess] == ["usual", "other"]
    assert "MACELOOP_GUESS" in run.other_guess()


def test_an_ase_calculators_other_guess_reaches_into_its_keywords(monkeypatch):
    settings = labellers.ASELabeller(
        calculator="ase.calculators.emt:EMT",
        kwargs={"dft": {"xc": "pbe0", "mult": "$multiplicity"}, "basis": "6-31g"},
        other_guess={"dft": {"vectors": "input hcore"}},
    )
    seen = []
    run = engine_for(settings)
    monkeypatch.setattr("mace_core.label.engines.ase_calculator.run_calculator", lambda *args: None)
    monkeypatch.setattr(run, "_factory", lambda: lambda **kwargs: seen.append(kwargs))
    for guess in Guess:
        run.compute(water(), "default", guess)
    plain = {"dft": {"xc": "pbe0", "mult": 1}, "basis": "6-31g"}
    assert seen == [plain, plain | {"dft": plain["dft"] | {"vectors": "input hcore"}}]


def test_an_engine_without_an_scf_has_none():
    assert engine_for(EMT).other_guess() == ""
    assert engine_for(labellers.ASELabeller(calculator="a.b:C")).other_guess() == ""


def second(store, settings, frames, **options):
    store.rechecks.folder.mkdir(exist_ok=True)
    return label_frames(frames, settings, store.rechecks, guess=Guess.OTHER, **options)


def test_a_second_computation_lies_beside_the_labels_and_is_made_once(tmp_path, crystals, call_log):
    settings = labellers.ASELabeller(**TWO_STATES, other_guess={"second": "right"})
    store = LabelStore(tmp_path / "labels", settings)
    (frame,) = crystals(1)
    (label,) = label_frames([frame], settings, store)
    (again,) = second(store, settings, [frame])
    assert again.computed and again.record.theory_id == store.theory_id
    assert again.record.attempts[0]["guess"] == "other"
    assert "guess" not in label.record.attempts[0]
    assert store.stored(label.record.frame_id) == label.record
    apart = difference(label.record, again.record)
    assert apart.energy == pytest.approx(-3 / 4) and apart.forces == 0 and not apart.agrees
    assert "750 meV/atom below the label" in apart.said()
    assert not second(store, settings, [frame])[0].computed
    assert [line.split()[1] for line in call_log()] == ["first", "second"]
    assert store.frame_ids() == [label.record.frame_id], "it is not one of the labels"


def test_what_agrees_and_what_does_not(record, tmp_path):
    label = record(LabelStore(tmp_path, EMT))
    n = len(label.numbers)
    for energy, force, agrees in (
        (0.9e-3, 9e-3, True),
        (1.1e-3, 0.0, False),
        (-1.1e-3, 0.0, False),
        (0.0, 11e-3, False),
    ):
        forces = np.array(label.forces)
        forces[0, 1] += force
        again = replace(label, energy=label.energy + n * energy, forces=forces.tolist())
        assert difference(label, again).agrees is agrees
    assert difference(label, replace(label, energy=None, forces=None)) is None


def test_the_store_looks_after_its_rechecks(tmp_path, crystals, labels):
    settings = labellers.ASELabeller(**TWO_STATES, other_guess={"second": "third"})
    store = LabelStore(tmp_path / "labels", settings)
    frames = crystals(2)
    first = label_frames(frames, settings, store)
    again = second(store, settings, frames[:1])
    name = first[0].record.frame_id

    shown = labels("show", name, "--store", tmp_path / "labels")[1]
    assert f"recheck   {again[0].record.energy:.6f} eV, 250 meV/atom above the label" in shown
    assert '"recheck": {' in labels("show", name, "--store", tmp_path / "labels", "--json")[1]
    other = first[1].record.frame_id
    assert "recheck" not in labels("show", other, "--store", tmp_path / "labels")[1]
    for command in ("list", "count", "verify", "orphans"):
        assert labels(command, "--store", tmp_path / "labels")[0] == 0
    assert verify([store])[0].records == 3 and not verify([store])[0].damaged
    assert not orphans([store])

    (done,) = merge(tmp_path / "labels", tmp_path / "other")
    assert (done.new, done.rechecks) == (2, 1)
    other = LabelStore(tmp_path / "other", settings)
    assert other.rechecks.stored(name) == again[0].record
    assert merge(tmp_path / "labels", tmp_path / "other")[0].rechecks == 0

    path = store.rechecks.path(name)
    path.write_text(path.read_text().replace('"rung"', '"rnug"'))
    assert [p for p, _ in verify([store])[0].damaged] == [path]
    claim = store.rechecks.folder / f"{name}.claim"
    Claims(store.rechecks.folder).acquire(name)
    claim.write_text(claim.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194303'))
    assert [orphan.path for orphan in orphans([store])] == [claim]
