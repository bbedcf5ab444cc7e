"""What is left behind is found; what may be alive, or is for a person to judge, is left alone."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mace_core.config.labellers import EMTLabeller
from mace_core.label import claims as claims_module
from mace_core.label import orphans as module
from mace_core.label.claims import Claims
from mace_core.label.orphans import Kind, orphans, remove
from mace_core.label.store import LabelStore
from mace_core.storage import read_json, write_json

CLAIM_AND_END = (
    "import sys; from mace_core.label.claims import Claims; "
    "assert Claims(sys.argv[1]).acquire(sys.argv[2])"
)


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels", EMTLabeller())


def dead_claim(store, frame_id):
    subprocess.run([sys.executable, "-c", CLAIM_AND_END, store.folder, frame_id], check=True)


def old(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def kinds(store):
    return sorted((str(item.kind), item.path.name) for item in orphans([store]))


def test_claims_of_ended_processes(store, record):
    done, open_, held = (record(store, n).frame_id for n in range(3))
    store.put(record(store, 0))
    dead_claim(store, done)
    dead_claim(store, open_)
    dead_claim(store, open_)
    dead_claim(store, held)
    holder = Claims(store.folder)
    assert holder.acquire(held)  # takes the dead one over, which is no orphan then
    found = orphans([store])
    assert sorted(item.path.name for item in found) == sorted(
        [f"{done}.claim", f"{open_}.claim", f"{open_}.claim.1"]
    )
    why = {item.path.name: item.why for item in found}
    assert why[f"{done}.claim"].endswith("the frame is converged")
    assert why[f"{open_}.claim"].endswith("the frame has no record")
    for item in found:
        remove(item)
    assert sorted(path.name for path in store.folder.glob("*.claim*")) == sorted(
        [f"{held}.claim", f"{held}.claim.1"]
    )
    assert Claims(store.folder).acquire(open_) and not Claims(store.folder).acquire(held)
    holder.abandon()
    assert any(item.path.name == f"{held}.claim.1" for item in orphans([store]))


def test_a_claim_that_came_to_life_is_not_removed(store):
    dead_claim(store, "a" * 20)
    (found,) = orphans([store])
    assert Claims(store.folder).acquire("a" * 20)
    assert not remove(found)
    assert len(list(store.folder.glob("*.claim*"))) == 2


def test_claims_of_other_machines_by_their_heartbeat(store, monkeypatch):
    monkeypatch.setattr(claims_module, "_machine", lambda: "elsewhere")
    assert Claims(store.folder).acquire("a" * 20)
    monkeypatch.undo()
    path = store.folder / f"{'a' * 20}.claim"
    old(path, claims_module.LONG_DEAD - 60)
    assert orphans([store]) == []
    old(path, claims_module.LONG_DEAD + 60)
    (found,) = orphans([store])
    assert remove(found) and not path.exists()


def test_a_torn_claim_is_dead_when_nobody_touches_it_any_more(store):
    path = store.folder / f"{'a' * 20}.claim"
    path.write_text("{")
    assert orphans([store]) == []
    old(path, claims_module.LONG_DEAD + 60)
    assert kinds(store) == [("claim", path.name)]


def test_who_saw_a_claim_that_was_cleared_lets_go(store, monkeypatch):
    """Between the look at a dead claim and the next number, others clear and claim anew."""
    frame = "a" * 20
    dead_claim(store, frame)
    late, new = Claims(store.folder), Claims(store.folder)
    create = Claims._create

    def after_a_while(claims, path):
        if claims is late and path.name.endswith(".1"):
            assert Claims(store.folder).clear(frame)
            assert new.acquire(frame)
        return create(claims, path)

    monkeypatch.setattr(Claims, "_create", after_a_while)
    assert not late.acquire(frame)
    assert [path.name for path in store.folder.glob("*.claim*")] == [f"{frame}.claim"]
    assert read_json(store.folder / f"{frame}.claim")["token"] == new.token


def test_clearing_and_claiming_at_once_leave_one_holder(store):
    frame = "a" * 20

    def one(n):
        claims = Claims(store.folder)
        if n % 3:
            return claims.acquire(frame)
        claims.clear(frame)
        return False

    for turn in range(30):
        for number in range(turn % 4):
            path = store.folder / (f"{frame}.claim" + (f".{number}" if number else ""))
            write_json(path, {"abandoned": True, "token": f"{turn} {number}"})
        if turn % 4 == 3:
            (store.folder / f"{frame}.claim").unlink()  # who cleared it was killed
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(one, range(12))).count(True) <= 1
        for path in store.folder.glob("*.claim*"):
            path.unlink()


def test_temporary_files_of_killed_writers(store, record):
    store.doubts.folder.mkdir()
    young = store.folder / f".{'a' * 20}.json.x1.tmp"
    aged = store.folder / f".{'b' * 20}.claim.x2.tmp"
    in_notes = store.doubts.folder / f".{'c' * 20}.json.x3.tmp"
    other = store.folder / ".nfs0001"
    for path in (young, aged, in_notes, other):
        path.write_text("{")
    for path in (aged, in_notes, other):
        old(path, module.FORSAKEN + 60)
    found = orphans([store])
    assert {item.path for item in found} == {aged, in_notes}
    assert {item.kind for item in found} == {Kind.TEMPORARY}
    old(in_notes, 0)  # somebody writes there after all
    assert sorted(remove(item) for item in found) == [False, True]
    assert young.exists() and in_notes.exists() and not aged.exists()


def test_outputs_and_notes(store, record, labels):
    mended, failed, missing = (record(store, n).frame_id for n in range(3))
    store.put(record(store, 0, "failed"))
    store.put(record(store, 0))
    store.put(record(store, 1, "failed"))
    for frame_id in (mended, failed, missing):
        store.outputs(frame_id).mkdir(parents=True)
        (store.outputs(frame_id) / "scf.out").write_bytes(b"x" * 1000)
    store.doubts.write(mended, {"reason": "?"})
    store.doubts.write(missing, {"reason": "?"})
    dead_claim(store, missing)
    assert kinds(store) == [
        ("claim", f"{missing}.claim"),
        ("note", f"{missing}.json"),
        ("outputs", mended),
    ]
    root = store.folder.parent
    code, said = labels("orphans", "--store", root)
    assert code == 0 and said.splitlines()[-1].startswith("1 × claim, 1 × note, 1 × outputs (0.00")
    assert said.endswith("0 removed\n") and len(kinds(store)) == 3

    _, said = labels("orphans", "--store", root, "--remove")
    assert f"removed claim {store.folder / missing}.claim" in said and "1 removed" in said
    assert kinds(store) == [("note", f"{missing}.json"), ("outputs", mended)]

    _, said = labels("orphans", "--store", root, "--remove", "--outputs", "--json")
    assert {item["kind"]: item["removed"] for item in json.loads(said)} == {
        "note": False,
        "outputs": True,
    }
    assert store.outputs(failed).is_dir() and store.outputs(missing).is_dir()
    with pytest.raises(ValueError, match="never removed"):
        remove(orphans([store])[0])
    store.doubts.path(missing).unlink()
    assert labels("orphans", "--store", root) == (0, "no orphans\n")
