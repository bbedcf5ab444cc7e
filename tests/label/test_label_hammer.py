"""A store under many writers that are killed, with torn records and a full disk.

The writers run :func:`mace_core.label.run.label_frames` as it is; only the engine's worker is
replaced by one that answers at once, so that what is tried is the store.
"""

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing import get_context
from pathlib import Path

import pytest
from ase import Atoms

from mace_core.config.labellers import EMTLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label import keeping, run
from mace_core.label.exchange import merge
from mace_core.label.integrity import verify
from mace_core.label.ledger import levels
from mace_core.label.orphans import orphans, remove
from mace_core.label.store import LabelFolder, LabelStore

WRITERS = 8
SECONDS = 25.0  # for one storm at most
FORK = get_context("fork")


class Log:
    """Lines of all writers in one order: each is one write to the end of one file."""

    def __init__(self, path):
        self.path = path

    def write(self, *words):
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (" ".join(str(word) for word in words) + "\n").encode())
        os.close(fd)

    def lines(self):
        return [line.split() for line in Path(self.path).read_text().splitlines()]


class QuickSession:
    """A worker that needs a few milliseconds, and whose every answer is another number."""

    log: Log
    ended = False
    cpu_at_end = 0.0
    answers = 0
    slowness = 0.25  # seconds for an answer, at most

    def __init__(self, threads, while_waiting, root):
        self.threads = threads
        self.scratch = Path(tempfile.mkdtemp(prefix="hammer-", dir=root))

    def ask(self, job, limit):
        if "settings" in job:
            return {"ready": True}
        frame = Atoms(job["numbers"], job["positions"], cell=job["cell"], pbc=job["pbc"])
        self.log.write("start", canonical(frame).info["frame_id"], os.getpid())
        time.sleep(random.uniform(0.0, self.slowness))
        QuickSession.answers += 1
        energy = float(os.getpid()) + QuickSession.answers * 1e-6
        n = len(frame)
        return {
            "status": "computed",
            "energy": energy,
            "forces": [[0.0, 0.0, 0.0]] * n,
            "stress": None,
            "numbers": job["numbers"],
            "positions": job["positions"],
        }

    def cpu_seconds(self):
        return 0.0

    def close(self):
        with contextlib.suppress(OSError):
            self.scratch.rmdir()


@pytest.fixture
def storm(tmp_path, monkeypatch):
    """A function that lets writers loose on a store, and kills them, until all frames are done."""
    log = Log(tmp_path / "log")
    log.write("begin")
    monkeypatch.setattr(run, "Session", QuickSession)
    monkeypatch.setattr(QuickSession, "log", log, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    put = LabelStore.put

    def logged(store, record):
        written = put(store, record)
        if written:
            log.write("finished", record.frame_id, os.getpid(), repr(record.energy))
        return written

    monkeypatch.setattr(LabelStore, "put", logged)

    def write(root, frames, seed):
        random.seed(seed)
        store = LabelStore(root, EMTLabeller())
        missing = [a for a in frames if not store.path(a.info["frame_id"]).exists()]
        mine = random.sample(missing, min(40, len(missing))) + random.sample(frames, 10)
        code = 0
        try:
            label_some(random.sample(mine, len(mine)), root)
        except UserError as err:
            log.write("error", str(err).split("\n")[0].replace(" ", "_"))
            code = 3
        os._exit(code)

    def label_some(frames, root):
        settings = EMTLabeller()
        run.label_frames(frames, settings, LabelStore(root, settings), retry_failed=True)

    def loose(root, frames, each_turn=lambda turn: None, kills=60):
        rng = random.Random(1)
        folder = LabelStore(root, EMTLabeller())
        writers, killed, half, turn = [], set(), [], 0
        began = time.monotonic()
        while time.monotonic() - began < SECONDS:
            writers = [writer for writer in writers if writer.exitcode is None]
            done = sum(1 for _ in folder.folder.glob("[!.]*.json")) - 1 == len(frames)
            if done and not writers:
                break
            while not done and len(writers) < WRITERS:
                writer = FORK.Process(target=write, args=(root, frames, rng.random()))
                writer.start()
                writers.append(writer)
            time.sleep(rng.uniform(0.0, 0.2))
            if writers and len(killed) < kills:
                victim = rng.choice(writers)
                victim.kill()
                victim.join()
                if victim.exitcode == -signal.SIGKILL:
                    killed.add(victim.pid)
            half += [r for r in folder.records() if r.status == "damaged"] if turn % 8 == 0 else []
            each_turn(turn)
            turn += 1
        for writer in writers:
            writer.kill()
            writer.join()
        return killed, half

    def rest(root, frames):
        """What the last killed writers left undone."""
        monkeypatch.setattr(QuickSession, "slowness", 0.0)
        label_some(frames, root)

    loose.log, loose.rest = log, rest
    return loose


def crystals(n):
    frames = []
    for k in range(n):
        atoms = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 2.5 + 0.001 * k]], cell=[9, 9, 9], pbc=1)
        frames.append(canonical(atoms))
    return frames


def judge(log, folder, killed):
    """Check the store against what its writers said; returns the numbers that were seen."""
    records = {record.frame_id: record for record in folder.records()}
    starts, finished, again = defaultdict(list), {}, 0
    for line in log.lines():
        if line[0] == "start":
            again += line[1] in finished
            starts[line[1]].append(int(line[2]))
        elif line[0] == "finished":
            assert line[1] not in finished, f"{line[1]} was stored twice"
            finished[line[1]] = float(line[3])
    lost = [f for f, energy in finished.items() if f not in records or records[f].energy != energy]
    half = [record for record in records.values() if not record.converged]
    # Beside a live writer nobody computes its frame: each further start has a killed one before.
    beside = sum(
        len(pids) - 1 - sum(pid in killed for pid in pids[:-1]) for pids in starts.values()
    )
    return Counter(
        finished=len(finished), lost=len(lost), half=len(half), again=again, beside=beside
    )


def test_many_writers_many_kills_and_torn_records(storm, tmp_path, capsys):
    root, frames = tmp_path / "labels", crystals(400)
    store = LabelStore(root, EMTLabeller())
    torn = {atoms.info["frame_id"] for atoms in frames[:10]}
    for n, frame_id in enumerate(sorted(torn)):  # records that a crash of the machine left torn
        store.path(frame_id).write_text('{"format": 2, "frame_id"'[: 3 * n])

    killed, seen_half = storm(root, frames)
    assert len(killed) >= 20  # fewer on a fast machine, which is done sooner
    assert {record.frame_id for record in seen_half} <= torn
    storm.rest(root, frames)
    assert len(list(store.folder.glob("[!.]*.json"))) - 1 == len(frames)
    found = judge(storm.log, LabelFolder(store.folder), killed)
    with capsys.disabled():
        print(f"\n{WRITERS} writers, {len(killed)} killed, {len(torn)} torn records: {found}")
    # Some were killed after a label was written and before they could say so.
    assert found["finished"] >= len(frames) - len(killed)
    assert (found["lost"], found["half"], found["again"], found["beside"]) == (0, 0, 0, 0)
    assert len(list((store.folder / "damaged").iterdir())) == len(torn)
    (checked,) = verify(levels(root))
    assert (checked.records, checked.damaged) == (400, [])
    for orphan in orphans(levels(root)):
        remove(orphan)
    assert not list(store.folder.glob("[!.]*.claim*"))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 700 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    said = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
    )
    if said.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {said.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_again_and_again(storm, small_disk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keeping, "PATIENCE", 0.4)
    monkeypatch.setattr(keeping, "_PAUSE", 0.05)
    root, frames = small_disk / "labels", crystals(100)
    ballast, full = small_disk / "ballast", [0]

    def fill(turn):
        """Something else takes all the space, half of the time."""
        if turn % 12 == 2:
            full[0] += 1
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as handle:
                while True:
                    handle.write(b"x" * 4096)
        if turn % 12 == 8:
            ballast.unlink(missing_ok=True)

    killed = set()
    for n in (40, 70, len(frames)):  # one storm may be over before the disk is full twice
        victims, half = storm(root, frames[:n], fill, kills=10)
        assert half == []
        killed |= victims
        ballast.unlink(missing_ok=True)
    errors = Counter(line[1] for line in storm.log.lines() if line[0] == "error")
    rescued = sorted(tmp_path.glob("maceloop-rescued-*"))
    saved = [record for place in rescued for folder in levels(place) for record in folder.records()]
    for place in rescued:
        merge(place, root)
    storm.rest(root, frames)
    store = LabelFolder(LabelStore(root, EMTLabeller()).folder)
    found = judge(storm.log, store, killed)
    with capsys.disabled():
        print(
            f"\n{WRITERS} writers, {len(killed)} killed, disk full {full[0]} times, "
            f"{sum(errors.values())} writers gave up, {len(saved)} labels rescued: {found}"
        )
    assert full[0] >= 2 and errors
    assert all("full" in error or "cannot_be_stored" in error for error in errors)
    assert (found["lost"], found["half"], found["again"]) == (0, 0, 0)
    assert all(store.get(record.frame_id).converged for record in saved)
    (checked,) = verify(levels(root))
    assert (checked.records, checked.damaged) == (100, [])
