"""Whatever happens to single frames, a batch ends, and only good labels converge."""

import os
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from faulty_labeller import FAULTS, OUTCOMES, fault_of

from mace_core.config.labellers import (
    ASELabeller,
    EMTLabeller,
    PySCFLabeller,
    TBLiteLabeller,
)
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label import run, start
from mace_core.label.run import label_frames, labelled_frame
from mace_core.label.start import check_engine
from mace_core.label.store import LabelStore


def odd(name, **options):
    return ASELabeller(calculator=f"odd_calculators:{name}", **options)


@pytest.fixture
def label(tmp_path):
    def call(frames, settings, **options):
        return label_frames(frames, settings, LabelStore(tmp_path / "labels", settings), **options)

    return call


def one_frame_for_each_fault(crystals):
    chosen = {}
    for atoms in crystals(400):
        chosen.setdefault(fault_of(canonical(atoms), rate=0.5), atoms)
    assert set(chosen) == {*FAULTS, None}
    return chosen


def test_eight_faults_become_eight_records_and_no_label(label, crystals, call_log, tmp_path):
    chosen = one_frame_for_each_fault(crystals)
    settings = ASELabeller(
        calculator="faulty_labeller:FaultyCalculator", kwargs={"rate": 0.5}, time_limit=3
    )
    outcomes = dict(zip(chosen, label(chosen.values(), settings), strict=True))
    for fault, outcome in outcomes.items():
        status, reason = OUTCOMES[fault]
        assert (outcome.record.status, outcome.computed) == (status, True)
        assert reason in outcome.record.reason
        assert (outcome.record.energy is None) == (fault not in (None, "huge_forces"))
        frame = labelled_frame(chosen[fault], outcome)
        assert ("REF_forces" in frame.arrays) == (fault is None)
    store = LabelStore(tmp_path / "labels", settings)
    assert (
        "a line before the end"
        in next(store.outputs(outcomes["killed"].record.frame_id).glob("*/output.txt")).read_text()
    )
    assert not list(store.folder.glob("*.claim*"))
    assert 3.0 <= outcomes["hang"].record.wall_seconds < 20

    assert len(call_log()) == 9
    again = label(chosen.values(), settings)
    assert [o.record for o in again] == [o.record for o in outcomes.values()]
    assert not any(o.computed for o in again)
    assert len(call_log()) == 9

    del chosen["hang"]
    retried = label(chosen.values(), settings, retry_failed=True)
    assert len(call_log()) == 9 + 6  # what converged is left alone, also in quarantine
    killed = dict(zip(chosen, retried, strict=True))["killed"].record
    assert [a["status"] for a in killed.attempts] == ["failed", "failed"]


def test_reused_worker_gives_what_the_engine_gives(label, crystals):
    from mace_core.label.engines import engine_for

    frames = [*crystals(3), molecule("H2O")]
    outcomes = label([*frames, frames[0]], EMTLabeller())
    for atoms, outcome in zip(frames, outcomes, strict=False):
        direct = engine_for(EMTLabeller()).compute(canonical(atoms), "default")
        assert outcome.record.energy == direct.energy
        assert (np.array(outcome.record.forces) == direct.forces).all()
    assert outcomes[4].record == outcomes[0].record


@pytest.mark.parametrize(
    ("calculator", "status", "reason"),
    [
        ("Mover", "rejected", "moved by the engine (by 0.5 Å)"),
        ("Deleter", "rejected", "composition changed"),
        ("Swapper", "rejected", "reordered"),
        ("Forceless", "failed", "no forces"),
        ("Crasher", "failed", "SIGSEGV"),
        ("Quitter", "failed", "exit code 3; last output: a line before the end"),
        ("Noisy", "converged", ""),
        ("Strict", "failed", "TypeError"),
    ],
)
def test_what_a_calculator_may_do(label, calculator, status, reason):
    frames = [bulk("AuCu", "rocksalt", a=a) for a in (5.0, 5.1)]
    for outcome in label(frames, odd(calculator)):
        assert outcome.record.status == status
        assert reason in outcome.record.reason


def test_a_force_beyond_the_limit_is_kept_in_quarantine(label, monkeypatch):
    near = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0.9]])
    (outcome,) = label([near], EMTLabeller(max_force=5.0))
    assert outcome.computed
    assert outcome.record.status == "quarantined"
    assert "labeller.max_force (5)" in outcome.record.reason
    assert np.linalg.norm(outcome.record.forces, axis=1).max() > 5
    frame = labelled_frame(near, outcome)
    assert frame.info["label_status"] == "quarantined"
    assert "REF_energy" not in frame.info and "REF_forces" not in frame.arrays

    # It is finished: nothing is computed again, and another limit judges the same record.
    monkeypatch.setattr(run, "Session", None)
    (again,) = label([near], EMTLabeller(max_force=5.0), retry_failed=True)
    assert again.record == outcome.record
    (free,) = label([near], EMTLabeller(max_force=1000.0))
    assert free.record.converged and free.record.energy == outcome.record.energy


def test_an_unconverged_scf_climbs_the_ladder_and_is_no_label(label, tmp_path):
    settings = PySCFLabeller(basis="sto-3g", max_cycle=1)
    (outcome,) = label([molecule("H2O")], settings)
    record = outcome.record
    assert record.status == "unconverged"
    assert [a["rung"] for a in record.attempts] == ["default", "damped", "second_order"]
    assert {a["status"] for a in record.attempts} == {"unconverged"}
    assert record.energy is None and record.forces is None
    kept = LabelStore(tmp_path / "labels", settings).outputs(record.frame_id)
    assert len(list(kept.glob("*/output.txt"))) == 3
    assert "SCF not converged" in next(kept.glob("*-default/output.txt")).read_text()

    (retried,) = label(
        [molecule("H2O")], settings.model_copy(update={"max_cycle": 50}), retry_failed=True
    )
    assert retried.record.converged
    assert retried.record.rung == "default"
    assert [a["status"] for a in retried.record.attempts] == ["unconverged"] * 3 + ["converged"]


def test_the_rung_that_converged_is_recorded(label):
    frame = molecule("CH3CH2OH")
    (plain,) = label([frame], TBLiteLabeller(accuracy=0.02))
    (late,) = label([frame], TBLiteLabeller(max_iterations=8))
    assert plain.record.rung == "default"
    assert late.record.converged
    assert late.record.rung == late.record.attempts[-1]["rung"] != "default"
    assert late.record.attempts[0]["status"] == "unconverged"
    assert late.record.energy == pytest.approx(plain.record.energy, abs=1e-5)


def test_a_time_limit_kills_what_the_engine_started(label, tmp_path):
    pids = tmp_path / "pids"
    started = time.monotonic()
    (outcome,) = label([bulk("Cu")], odd("Spawner", kwargs={"pids": str(pids)}, time_limit=3))
    assert outcome.record.status == "timeout"
    assert time.monotonic() - started < 20
    worker, *children = [int(pid) for pid in pids.read_text().split()]
    assert len(children) == 2
    assert not any(alive(pid) for pid in (worker, *children))


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_get_their_threads_before_numpy_and_leave_nothing(label, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = {}
    ask = run.Session.ask

    def spy(session, job, limit):
        environment = psutil.Process(session._process.pid).environ()
        seen.update({key: environment[key] for key in environment if key.endswith("_NUM_THREADS")})
        assert str(session.scratch).startswith(str(tmp_path))
        return ask(session, job, limit)

    monkeypatch.setattr(run.Session, "ask", spy)
    label([bulk("Cu")], EMTLabeller(), threads=3)
    assert {seen[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} == {"3"}
    assert not list(tmp_path.glob("maceloop-label-*"))
    monkeypatch.undo()


def test_progress_is_reported(label, crystals):
    seen = []
    label(
        [*crystals(3, seed=1), *crystals(3, seed=1)],
        EMTLabeller(),
        report=lambda done, total: seen.append((len(done), total)),
    )
    assert {total for _, total in seen} == {3}
    assert {done for done, _ in seen} >= {1, 2, 3}


def test_engines_that_cannot_work_at_all_are_user_errors(label, monkeypatch):
    with pytest.raises(UserError, match=r"labeller\.calculator.*no_such_module"):
        label([bulk("Cu")], ASELabeller(calculator="no_such_module:X"))
    with pytest.raises(UserError, match=r"labeller\.engine.*Ti"):
        check_engine(EMTLabeller(), ["Cu", "Ti"])
    check_engine(EMTLabeller(), ["Cu"])
    monkeypatch.setattr(start, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tblite"):
        check_engine(TBLiteLabeller())


def test_an_empty_batch_starts_no_worker(label, monkeypatch):
    monkeypatch.setattr(run, "Session", None)
    assert label([], EMTLabeller()) == []


def test_old_labels_of_a_frame_do_not_pass_as_new_ones(label):
    atoms = molecule("CO2")
    atoms.info |= {"REF_energy": 1.0, "REF_stress": np.ones(6), "charge": 1, "note": "kept"}
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    (outcome,) = label([atoms], EMTLabeller())
    frame = labelled_frame(atoms, outcome)
    assert frame.info["label_status"] == "failed"
    assert not {"REF_energy", "REF_stress"} & frame.info.keys()
    assert "REF_forces" not in frame.arrays
    assert frame.info["note"] == "kept"


def test_fault_injection_is_deterministic_and_spares_free_atoms(crystals):
    frames = [canonical(atoms) for atoms in crystals(300)]
    faults = [fault_of(atoms) for atoms in frames]
    assert faults == [fault_of(atoms) for atoms in frames]
    assert faults != [fault_of(atoms, seed=1) for atoms in frames]
    counts = Counter(faults)
    assert set(counts) == {*FAULTS, None}
    assert 30 <= 300 - counts[None] <= 90
    assert fault_of(canonical(Atoms("Cu")), rate=1.0) is None
    assert os.environ["PYTHONPATH"]


def test_a_worker_that_leads_no_session_refuses_to_start(tmp_path):
    # In a session apart, because what is tested is that it does not kill that one.
    command = [
        sys.executable,
        "-m",
        "mace_core.label.worker",
        "--answers=1",
        f"--scratch={tmp_path}",
    ]
    outer = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], stdin=-3).returncode)"
    ended = subprocess.run(
        [sys.executable, "-c", outer, *command],
        start_new_session=True,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "maceloop label" in ended.stderr


def test_a_record_written_just_before_the_claim_is_taken(label, crystals, call_log, monkeypatch):
    settings = ASELabeller(calculator="faulty_labeller:FaultyCalculator", kwargs={"rate": 0.0})
    acquire = run.Claims.acquire

    def late(claims, frame_id):
        # Another driver finishes this frame between our look at the store and our claim.
        monkeypatch.setattr(run.Claims, "acquire", acquire)
        label(crystals(1), settings)
        return claims.acquire(frame_id)

    monkeypatch.setattr(run.Claims, "acquire", late)
    (outcome,) = label(crystals(1), settings)
    assert outcome.record.converged
    assert not outcome.computed
    assert len(call_log()) == 1
