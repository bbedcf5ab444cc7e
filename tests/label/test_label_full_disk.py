"""A full disk, a torn write: no half label, no lost one, and a message that helps."""

import errno
from types import SimpleNamespace

import pytest
from ase.build import bulk

from mace_core.config.labellers import EMTLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label import keeping
from mace_core.label.claims import Claims
from mace_core.label.run import label_frames
from mace_core.label.store import LabelFolder, LabelStore

FRAME = canonical(bulk("Cu", cubic=True))
FRAME_ID = FRAME.info["frame_id"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return LabelStore(tmp_path / "labels", EMTLabeller())


def full_for(times, monkeypatch, error=errno.ENOSPC):
    """The disk is full for so many attempts to store a record."""
    put, left = LabelStore.put, [times]

    def failing(store, record):
        if left[0]:
            left[0] -= 1
            raise OSError(error, "No space left on device")
        return put(store, record)

    monkeypatch.setattr(LabelStore, "put", failing)


def test_a_label_waits_for_space(store, monkeypatch, capsys):
    monkeypatch.setattr(keeping, "_PAUSE", 0.01)
    full_for(3, monkeypatch)
    (outcome,) = label_frames([FRAME], EMTLabeller(), store)
    assert outcome.computed and store.get(FRAME_ID).converged
    said = capsys.readouterr().err
    assert said.count("is full") == 1 and FRAME_ID in said


def test_a_label_that_finds_no_space_is_rescued_and_reported(store, monkeypatch, tmp_path):
    monkeypatch.setattr(keeping, "PATIENCE", 0.05)
    full_for(1000, monkeypatch)
    with pytest.raises(UserError, match=f"{FRAME_ID} was computed and cannot be stored") as caught:
        label_frames([FRAME], EMTLabeller(), store)
    assert store.get(FRAME_ID) is None
    (rescued,) = tmp_path.glob("maceloop-rescued-*")
    assert f"maceloop labels merge {rescued}" in caught.value.mend
    record = LabelFolder(rescued / store.theory_id).get(FRAME_ID)
    assert record.converged and record.energy is not None
    # What was not stored counts as not labelled: the next run finds no claim in its way.
    monkeypatch.undo()
    (outcome,) = label_frames(
        [FRAME], EMTLabeller(), LabelStore(tmp_path / "labels", EMTLabeller())
    )
    assert outcome.computed


def test_other_errors_do_not_wait(store, monkeypatch):
    full_for(1000, monkeypatch, errno.EIO)
    with pytest.raises(UserError, match="cannot be stored"):
        label_frames([FRAME], EMTLabeller(), store)


def test_nothing_is_computed_that_could_not_be_kept(store, monkeypatch):
    monkeypatch.setattr("mace_core.label.run.Session", None)
    disk = SimpleNamespace(f_bavail=2, f_frsize=4096, f_files=0, f_favail=0)
    monkeypatch.setattr(keeping.os, "statvfs", lambda path: disk)
    with pytest.raises(UserError, match="disk of the label store is full"):
        label_frames([FRAME], EMTLabeller(), store)

    def quota(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.undo()
    monkeypatch.setattr(Claims, "acquire", quota)
    with pytest.raises(UserError, match="disk of the label store is full"):
        label_frames([FRAME], EMTLabeller(), store)
    assert not list(store.folder.glob("*.claim*"))


def test_a_torn_record_is_an_outcome_and_is_computed_again_on_request_only(store, monkeypatch):
    label_frames([FRAME], EMTLabeller(), store)
    path = store.path(FRAME_ID)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    other = canonical(bulk("Cu", cubic=True, a=3.7))

    damaged, fine = label_frames([FRAME, other], EMTLabeller(), store)
    assert (damaged.record.status, damaged.computed) == ("damaged", False)
    assert str(path) in damaged.record.reason
    assert fine.record.converged
    assert path.read_text() == whole[: len(whole) // 2]

    (again,) = label_frames([FRAME], EMTLabeller(), store, retry_failed=True)
    assert again.record.converged and again.computed
    assert store.get(FRAME_ID).energy == again.record.energy
    (aside,) = (store.folder / "damaged").iterdir()
    assert aside.read_text() == whole[: len(whole) // 2]


def test_two_torn_records_of_a_frame_are_both_kept(store):
    for _ in range(2):
        label_frames([FRAME], EMTLabeller(), store, retry_failed=True)
        store.path(FRAME_ID).write_text("{")
    assert len(store.set_aside(FRAME_ID)) == 1
    assert len(list((store.folder / "damaged").iterdir())) == 2
    assert store.get(FRAME_ID) is None
    assert store.set_aside(FRAME_ID) == []
