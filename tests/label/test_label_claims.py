"""Claims: one live holder, and the dead give way."""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from mace_core.label import claims as module
from mace_core.label.claims import Claims
from mace_core.storage import read_json, write_json

FRAME = "0123456789abcdef0123"
CLAIM_AND = (
    "import sys, time; from mace_core.label.claims import Claims; "
    "c = Claims(sys.argv[1]); assert c.acquire('0123456789abcdef0123'); print('mine', flush=True); "
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_holder_until_it_lets_go(tmp_path):
    first, second = Claims(tmp_path), Claims(tmp_path)
    assert first.acquire(FRAME)
    assert not second.acquire(FRAME)
    first.release(FRAME)
    assert second.acquire(FRAME)
    second.release(FRAME)
    assert not names(tmp_path)


def test_a_claim_of_a_dead_process_is_taken_over_at_once(tmp_path):
    subprocess.run([sys.executable, "-c", CLAIM_AND, tmp_path], check=True, capture_output=True)
    heir = Claims(tmp_path)
    assert heir.acquire(FRAME)
    assert not Claims(tmp_path).acquire(FRAME)
    heir.release(FRAME)
    assert not names(tmp_path)


def test_a_zombie_and_a_reused_pid_are_dead(tmp_path):
    zombie = subprocess.Popen([sys.executable, "-c", CLAIM_AND, tmp_path], stdout=subprocess.PIPE)
    zombie.stdout.read()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    heir = Claims(tmp_path)
    assert heir.acquire(FRAME)
    zombie.communicate()
    heir.release(FRAME)

    holder = Claims(tmp_path)
    assert holder.acquire(FRAME)
    claim = read_json(tmp_path / f"{FRAME}.claim")
    write_json(tmp_path / f"{FRAME}.claim", claim | {"process_started": 12345.0})
    assert Claims(tmp_path).acquire(FRAME)


def test_on_another_machine_only_the_heartbeat_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT", 0.0)
    holder, other = Claims(tmp_path), Claims(tmp_path, stale_after=0.4)
    monkeypatch.setattr(module, "_machine", lambda: "elsewhere")
    assert holder.acquire(FRAME)
    monkeypatch.setattr(module, "_machine", lambda: "here")
    # A clock that is an hour off says nothing: only whether the heart beats.
    os.utime(tmp_path / f"{FRAME}.claim", (time.time() - 3600,) * 2)
    for _ in range(8):
        assert not other.acquire(FRAME)
        time.sleep(0.1)
        holder.beat()
    time.sleep(0.1)
    assert not other.acquire(FRAME)
    time.sleep(0.5)
    assert other.acquire(FRAME)


def test_here_a_claim_lives_as_long_as_its_process(tmp_path):
    """However long it is suspended or stuck: a label is never computed beside its claimant."""
    holder, other = Claims(tmp_path), Claims(tmp_path, stale_after=0.0)
    assert holder.acquire(FRAME)
    for _ in range(3):
        assert not other.acquire(FRAME)
        time.sleep(0.05)


def test_a_full_disk_hides_no_other_error(tmp_path, monkeypatch):
    holder = Claims(tmp_path)
    assert holder.acquire(FRAME)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    holder.abandon()
    assert names(tmp_path) == [f"{FRAME}.claim"]


def test_abandoned_claims_are_free_at_once(tmp_path):
    stopped = Claims(tmp_path)
    assert stopped.acquire(FRAME)
    stopped.abandon()
    heir = Claims(tmp_path)
    assert heir.acquire(FRAME)
    heir.release(FRAME)
    assert not names(tmp_path)


def _contend(arguments):
    folder, start = arguments
    claims = Claims(folder)
    time.sleep(max(0.0, start - time.time()))
    won = claims.acquire(FRAME)
    time.sleep(2.0)  # nobody dies before all have tried
    return won


@pytest.mark.parametrize("dead", [0, 1, 3])
def test_of_many_that_want_a_dead_claim_one_gets_it(tmp_path, dead):
    for _ in range(dead):
        subprocess.run([sys.executable, "-c", CLAIM_AND, tmp_path], check=True)
    assert len(names(tmp_path)) == dead
    with ProcessPoolExecutor(6, mp_context=get_context("fork")) as pool:
        won = list(pool.map(_contend, [(tmp_path, time.time() + 1.0)] * 6))
    assert won.count(True) == 1
