"""Records: whole, written once, and believed only as they were written."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mace_core.config.labellers import EMTLabeller
from mace_core.frames import canonical
from mace_core.label.store import LabelStore, Record

FRAME = canonical(Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[9, 9, 9], pbc=True))


def record_of(store, status="converged", energy=-1.5, **outcome):
    if status == "converged":
        outcome = {"energy": energy, "forces": [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]} | outcome
    return Record.of_frame(FRAME, store.theory_id, **({"status": status, "reason": ""} | outcome))


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels", EMTLabeller())


def test_the_store_says_what_its_theory_is(store):
    theory = json.loads((store.folder / "theory.json").read_text())
    assert theory["engine"] == "emt"
    assert "ase" in theory["versions"]
    assert store.folder.name == store.theory_id


@given(
    arrays(float, (2, 3), elements=st.floats(-1e3, 1e3)),
    arrays(float, (6,), elements=st.floats(-10, 10)) | st.none(),
    st.floats(-1e6, 1e6),
)
def test_a_record_comes_back_to_the_last_bit(forces, stress, energy):
    record = Record.of_frame(
        FRAME,
        "0" * 16,
        status="converged",
        reason="",
        energy=energy,
        forces=forces.tolist(),
        stress=None if stress is None else stress.tolist(),
    )
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    assert again == record
    atoms = again.to_atoms()
    assert atoms.info["REF_energy"] == energy
    assert (atoms.arrays["REF_forces"] == forces).all()
    assert ("REF_stress" in atoms.info) == (stress is not None)
    assert canonical(atoms).info["frame_id"] == FRAME.info["frame_id"] == atoms.info["frame_id"]
    assert atoms.calc is None


def test_the_first_converged_record_wins(store):
    assert store.get(FRAME.info["frame_id"]) is None
    assert store.put(record_of(store, energy=-1.0))
    assert not store.put(record_of(store, energy=-2.0))
    assert not store.put(record_of(store, "failed", reason="late"))
    assert store.get(FRAME.info["frame_id"]).energy == -1.0
    assert [record.energy for record in store.records()] == [-1.0]


def test_a_converged_record_hides_a_failure_and_loses_nothing(store):
    store.put(record_of(store, "timeout", reason="too slow"))
    assert store.get(FRAME.info["frame_id"]).status == "timeout"
    with pytest.raises(ValueError, match="timeout"):
        store.get(FRAME.info["frame_id"]).to_atoms()
    store.put(record_of(store))
    assert store.get(FRAME.info["frame_id"]).converged
    assert store.failed_path(FRAME.info["frame_id"]).is_file()
    assert len(list(store.records())) == 1


def test_a_record_without_numbers_is_no_label(store):
    for bad in ({"energy": None}, {"forces": None}, {"energy": float("nan")}):
        with pytest.raises(ValueError, match=r"lacks|JSON"):
            store.put(record_of(store, **({"energy": 1.0} | bad)))
    stranger = record_of(store)
    stranger.theory_id = "f" * 16
    with pytest.raises(ValueError, match="theory"):
        store.put(stranger)
    assert store.get(FRAME.info["frame_id"]) is None


@pytest.mark.parametrize(
    "tamper",
    [
        lambda text: text.replace("-1.5", "-1.6"),
        lambda text: text.replace('"converged"', '"rejected"'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
    ],
)
def test_a_record_that_was_changed_is_reported_not_used(store, tamper):
    store.put(record_of(store))
    path = store.path(FRAME.info["frame_id"])
    path.write_text(tamper(path.read_text()))
    record = store.get(FRAME.info["frame_id"])
    assert record.status == "damaged"
    assert "damaged or changed" in record.reason and str(path) in record.reason
    assert record.energy is None and not record.converged
    with pytest.raises(ValueError, match="damaged"):
        store.put(record)


def test_a_record_under_another_frames_name_is_reported(store):
    store.put(record_of(store))
    other = "0" * 20
    store.path(FRAME.info["frame_id"]).rename(store.path(other))
    assert store.get(other).status == "damaged"
    assert "another name" in store.get(other).reason


def _put_many(root, number):
    store = LabelStore(root, EMTLabeller())
    return [store.put(record_of(store, energy=float(number))) for _ in range(20)].count(True)


def test_many_writers_one_record(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        written = list(pool.map(_put_many, [tmp_path] * 4, range(4)))
    store = LabelStore(tmp_path, EMTLabeller())
    assert sum(written) == 1
    assert store.get(FRAME.info["frame_id"]).energy == float(np.argmax(written))
    assert not list(store.folder.glob(".*"))
