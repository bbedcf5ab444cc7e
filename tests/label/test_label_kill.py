"""kill -9 of the one who labels, and many who label the same frames."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from mace_core.config import load_config
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelStore

DRIVER = """
import sys
from pathlib import Path
from mace_core.label.command import label_file
folder = Path(sys.argv[1])
label_file(folder / "in.extxyz", folder / "c.yaml", Path(sys.argv[2]), folder / "labels")
"""


@pytest.fixture
def campaign(tmp_path, crystals, call_log):
    """A function that writes frames and configuration, and returns what starts a driver."""

    def make(n_frames, calculator, kwargs, time_limit=60):
        write_frames(tmp_path / "in.extxyz", crystals(n_frames))
        config = {
            "campaign": {"name": "test"},
            "seed": {"structures": ["in.extxyz"]},
            "labeller": {
                "engine": "ase",
                "calculator": calculator,
                "kwargs": kwargs,
                "time_limit": time_limit,
            },
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))

        def start(out="out.extxyz"):
            return subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(tmp_path), str(tmp_path / out)],
                stdout=subprocess.PIPE,
                text=True,
            )

        return start

    make.store = lambda: LabelStore(tmp_path / "labels", load_config(tmp_path / "c.yaml").labeller)
    return make


def wait_for(condition, seconds=60):
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "it never came true"
        time.sleep(0.02)


def offspring(driver):
    """Pids of the worker that a driver started, of its guard, and of what an engine started."""
    return [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]


def none_alive(pids):
    def alive(pid):
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(alive(pid) for pid in pids)


def finished(driver, out):
    said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0
    assert "8 frames" in said
    frames = read_frames(out)
    assert [atoms.info["label_status"] for atoms in frames] == ["converged"] * len(frames)
    return frames


def test_after_kill_9_no_finished_label_is_computed_again(campaign, call_log, tmp_path):
    start = campaign(8, "faulty_labeller:FaultyCalculator", {"rate": 0.0, "delay": 0.4})
    driver = start()
    wait_for(lambda: len(call_log()) >= 4)
    family = offspring(driver)
    driver.kill()
    driver.communicate()
    wait_for(lambda: none_alive(family))
    done_before = {path.stem for path in campaign.store().folder.glob("*.json")} - {"theory"}
    calls_before = call_log()
    assert len(done_before) >= 3
    assert not (tmp_path / "out.extxyz").exists()
    assert list(campaign.store().folder.glob("*.claim"))

    frames = finished(start(), tmp_path / "out.extxyz")
    calls = Counter(call_log())
    assert len(calls) == 8
    assert sum(calls.values()) <= 9  # the one under way, at most
    assert sum(n > 1 for n in calls.values()) <= 1
    assert len(calls_before) - len(done_before) == sum(calls.values()) - 8
    assert {a.info["frame_id"] for a in frames if not a.info["label_computed"]} == done_before
    assert not list(campaign.store().folder.glob("*.claim*"))


def test_nothing_outlives_a_killed_driver(campaign, tmp_path):
    pids = tmp_path / "pids"
    driver = campaign(1, "odd_calculators:Spawner", {"pids": str(pids)})()
    wait_for(pids.exists)
    worker, *children = [int(pid) for pid in pids.read_text().split()]
    family = offspring(driver)
    assert {worker, *children} < set(family)
    assert len(family) == 4  # and the guard
    scratch = Path(psutil.Process(worker).cwd()).parent
    driver.kill()
    driver.communicate()
    wait_for(lambda: none_alive(family))
    wait_for(lambda: not scratch.exists())


def test_two_drivers_share_the_work(campaign, call_log, tmp_path):
    start = campaign(8, "faulty_labeller:FaultyCalculator", {"rate": 0.0, "delay": 0.2})
    drivers = [start("a.extxyz"), start("b.extxyz")]
    both = [
        finished(driver, tmp_path / out)
        for driver, out in zip(drivers, ("a.extxyz", "b.extxyz"), strict=True)
    ]
    assert sorted(Counter(call_log()).values()) == [1] * 8
    computed = [{a.info["frame_id"] for a in f if a.info["label_computed"]} for f in both]
    assert not computed[0] & computed[1]
    assert len(computed[0] | computed[1]) == 8
    assert [a.info["REF_energy"] for a in both[0]] == [a.info["REF_energy"] for a in both[1]]
    assert not list(campaign.store().folder.glob("*.claim*"))


def test_a_terminated_driver_lets_its_claims_go(campaign, call_log):
    driver = campaign(2, "faulty_labeller:FaultyCalculator", {"rate": 0.0, "delay": 30})()
    wait_for(call_log)
    family = offspring(driver)
    driver.terminate()
    driver.communicate(timeout=30)
    assert driver.returncode == 143
    assert none_alive(family)
    (claim,) = campaign.store().folder.glob("*.claim")
    assert '"abandoned": true' in claim.read_text()
