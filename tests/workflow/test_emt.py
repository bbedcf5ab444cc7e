"""The real campaign of config/test/emt.yaml: real models, MD and labels, killed in each rule."""

import csv
import json
import os
import time
from contextlib import suppress
from itertools import pairwise

import psutil
import pytest
import yaml
from campaigns import BIN, REPOSITORY, Campaign

pytestmark = [pytest.mark.campaign, pytest.mark.slow]

# Subcommand: job, generation, whether its children are killed too.
STEPS = {
    "plan": ("plan", 0, True),
    "prepare-seed": ("prepare_seed", 0, False),
    "report": ("report", 0, True),
    "build-dataset": ("build_dataset", 1, False),
    "train": ("train_member_0", 1, True),
    "calibrate": ("calibrate", 1, False),
    "explore": ("explore_md_0", 1, True),
    "select": ("select_frames", 1, False),
    "label": ("label_batch_0", 1, True),
    "merge-labels": ("merge_labels", 1, False),
    "recheck": ("recheck_labels", 1, True),
    "assess": ("assess_generation", 1, True),
    "track": ("track_generation", 1, False),
}
# Asked for by itself: otherwise it may wait until much of the next generation is done.
TARGETS = {"report": ["results/emt/gen_00/report.html"]}


def new_campaign(folder) -> Campaign:
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    values["campaign"]["max_generations"] = 1
    values["labeller"] = {"engine": "ase", "calculator": "counting_emt:CountingEMT"}
    values["seed"]["structures"] = [str(REPOSITORY / "config" / "test" / "copper.xyz")]
    campaign = Campaign(folder, values, os.pathsep.join([str(BIN), os.environ["PATH"]]))
    here = str(REPOSITORY / "tests" / "workflow")
    campaign.env["PYTHONPATH"] = os.pathsep.join([here, campaign.env.get("PYTHONPATH", "")])
    return campaign


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    campaign = new_campaign(tmp_path_factory.mktemp("unbroken"))
    campaign.printed = campaign.run()
    return campaign


def frame_ids(campaign, g):
    return sorted(
        row["frame_id"] for row in json.loads(campaign.layout.merged(g).read_text())["labels"]
    )


def cost(campaign, job, g) -> dict[str, float]:
    """Seconds by the clock and of the CPU."""
    with open(campaign.layout.gen(g) / "benchmarks" / f"{job}.tsv") as table:
        row = next(csv.DictReader(table, delimiter="\t"))
    return {key: float(row[key]) for key in ("s", "cpu_time")}


def at_work(snakemake, step) -> list[psutil.Process]:
    """Those of snakemake's jobs that run this subcommand of maceloop."""
    found = []
    for process in psutil.Process(snakemake.pid).children(recursive=True):
        with suppress(psutil.Error):  # ended meanwhile
            command = pairwise(process.cmdline())
            if any(a.endswith("/maceloop") and b == step for a, b in command):
                found.append(process)
    return found


def stop_inside(snakemake, step, whole: dict[str, float]) -> list[psutil.Process]:
    """SIGSTOP a step in its midst, so that it does not end before the kill; its processes.

    The midst by the CPU time of the whole step, whatever else the machine does, or by the clock,
    where it sleeps.
    """
    jobs = at_work(snakemake, step)
    end = time.monotonic() + 0.5 * whole["s"]
    while jobs and time.monotonic() < end and cpu_seconds(jobs[0]) < 0.5 * whole["cpu_time"]:
        time.sleep(0.01)
        jobs = [job for job in jobs if job.is_running()]
    for job in jobs:
        with suppress(psutil.Error):
            job.suspend()
    return jobs


def cpu_seconds(job) -> float:
    """Of a process and those below it."""
    total = 0.0
    with suppress(psutil.Error):
        for process in (job, *job.children(recursive=True)):
            total += sum(process.cpu_times()[:2])
    return total


def test_whole_loop(unbroken):
    campaign, printed = unbroken, unbroken.printed
    assert max(campaign.labelled().values()) == 1
    assert set(campaign.labelled()) == set(frame_ids(campaign, 0) + frame_ids(campaign, 1))
    assert "gen 1 · walker 0" in printed and "BUDGET SPENT" in printed
    summary = json.loads(campaign.layout.summary.read_text())
    assert summary["outcome"] == "budget_spent"
    assert [row["generation"] for row in summary["generations"]] == [0, 1]
    assert "Nothing to be done" in campaign.run("--dry-run")


def test_killed_in_each_rule(unbroken, tmp_path):
    """Now with, now without its children; the command is the same, but for one report."""
    campaign = new_campaign(tmp_path / "killed")
    recorded: set[str] = set()
    for step, (job, g, with_children) in STEPS.items():
        before = campaign.labelled()
        snakemake = campaign.start(*TARGETS.get(step, []))
        campaign.wait_for(lambda s=snakemake, t=step: at_work(s, t) or s.poll() is not None, 300)
        assert snakemake.poll() is None, (
            f"{step} never ran:\n{(campaign.folder / 'run.log').read_text()}"
        )
        stopped = stop_inside(snakemake, step, cost(unbroken, job, g))
        assert stopped, f"{step} ended before the kill"
        again = {frame for frame in recorded if campaign.labelled()[frame] > before[frame]}
        assert not again, f"labelled again before the kill in {step}: {again}"
        campaign.kill(snakemake, with_children=with_children)
        for process in stopped:
            with suppress(psutil.Error):
                process.resume()
        recorded = {path.stem for path in campaign.folder.glob("labels/*/*.json")}

    before = campaign.labelled()
    campaign.run()
    assert not {frame for frame in recorded if campaign.labelled()[frame] > before[frame]}
    assert campaign.datasets() == unbroken.datasets()
    for generation in (0, 1):
        assert frame_ids(campaign, generation) == frame_ids(unbroken, generation)
    assert set(campaign.labelled()) == set(unbroken.labelled())
    # Killed with its children, a batch may lose the one label that it was computing.
    extra = sum(campaign.labelled().values()) - len(campaign.labelled())
    assert extra <= 2, campaign.labelled()
    assert "Nothing to be done" in campaign.run("--dry-run")


def test_finished_campaign_goes_on(unbroken):
    """After the other tests: it changes the campaign that they share."""
    campaign = unbroken
    datasets, before = campaign.datasets(), campaign.labelled()
    campaign.set({"campaign.max_generations": 2, "train.max_num_epochs": 15})
    campaign.run()
    assert campaign.datasets()[:1] == datasets and len(campaign.datasets()) == 2
    new = campaign.labelled() - before
    assert set(new) == set(frame_ids(campaign, 2)) - set(before)
    metrics = json.loads((campaign.layout.member(2, 0) / "metrics.json").read_text())
    assert metrics["epochs"] <= 15
