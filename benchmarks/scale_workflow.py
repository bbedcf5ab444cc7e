"""Dry runs of a campaign whose earlier generations are done: time, jobs and files."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ase.build import bulk
from ase.io import write
from scale_steps import configuration, cpu

from mace_core.config.campaign import parse_config
from mace_core.layout import Layout
from mace_core.plan import write_plan
from mace_core.storage import write_json, write_text

REPOSITORY = Path(__file__).parents[1]


def show_workflow(campaigns: list[tuple[int, int]], batch_size: int) -> None:
    """One row for each (generations done, frames of each)."""
    print(
        f"{'generations':>11}{'frames':>8}{'batch':>6}{'labels':>8}{'all jobs':>9}"
        f"{'CPU s':>8}{'wall s':>8}{'files':>8}  (jobs of the next generation)"
    )
    for generations, frames in campaigns:
        labels, jobs, seconds, wall, files = dry_run(generations, frames, batch_size)
        print(
            f"{generations:11}{frames:8}{batch_size:6}{labels:8}{jobs:9}"
            f"{seconds:8.1f}{wall:8.1f}{files:8}",
            flush=True,
        )


def dry_run(generations: int, frames: int, batch_size: int) -> tuple[int, int, float, float, int]:
    """Label jobs and all jobs of the next generation, CPU and wall seconds of the dry run, and the
    most files in one folder of the results."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write("cu.xyz", bulk("Cu", cubic=True), format="extxyz")
        values = configuration(frames, frames - 8, label={"batch_size": batch_size})
        values["train"] = {"members": 4}
        values["campaign"]["max_generations"] = 10 * generations
        values["explore"] |= {"walkers": 8, "steps": 1000}
        config = parse_config(values, where="scale")
        write_text("config.yaml", json.dumps(values))
        layout = Layout(config.campaign.results_dir, config.campaign.name)
        clock = [time.time() - 10_000]
        for g in range(generations):
            finished_generation(layout, config, g, clock)
        files = max(len(list(p.iterdir())) for p in layout.root.rglob("*") if p.is_dir())
        command = [str(Path(sys.executable).parent / "snakemake"), "-n", "--cores", "2"]
        command += ["-s", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml"]
        before, began = cpu(), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds, wall = cpu() - before, time.monotonic() - began
        os.chdir(REPOSITORY)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    counts = {k: int(n) for k, n in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)}
    return counts["label_batch"], counts["total"], seconds, wall, files


def finished_generation(layout: Layout, config, g: int, clock: list[float]) -> None:
    """The files of an assessed generation, empty but for what the workflow reads."""
    batches = write_plan(config, g, layout.plan(g))[0]["sizes"]["label_batches"]
    gen = layout.gen(g)
    paths = [layout.plan(g)]
    if g:
        names = ("train.extxyz", "valid.extxyz", "dataset.json", "ledger.parquet", "ledger.csv")
        paths += [layout.dataset(g) / name for name in names]
        for m in range(config.train.members):
            names = ("safetensors", "json")
            paths += [layout.member(g, m) / f"model.{name}" for name in names]
            names = ("metrics.json", "history.parquet", "history.csv")
            paths += [layout.member(g, m) / name for name in names]
        paths.append(layout.committee(g))
        for w in range(config.explore.walkers):
            paths += [layout.walker(g, w), layout.walker(g, w).with_suffix(".json")]
        names = ("candidates.parquet", "candidates.csv", "select.json")
        paths += [gen / "select" / name for name in names]
    paths.append(layout.selected(g))
    paths += [layout.label_batch(g, b) for b in range(batches)]
    paths += [layout.merged(g), layout.assess(g), layout.tracked(g), layout.report(g)]
    parts = {"n": 9, "force_mae_high": 1.2 * 0.95**g}
    errors = {"n_frames": 9, "force_mae": 0.95**g, "force_mae_high": 1.2 * 0.9**g}
    write_json(
        layout.assess(g),
        {
            "format": 1,
            "generation": g,
            "outcome": "continue",
            "labels": {"converged": 9, "total_calls": 9 * (g + 1)},
            "start": {"frames": 9},
            "calibration": {"factor": 1.0},
            "audit": errors | {"by_element": {"Cu": parts}, "by_group": {"300K": parts}},
            "walkers": {"stable_fraction": 1.0, "groups": ["300K"]},
            "selection": {"candidates": 9},
        },
    )
    for path in paths:
        if not path.exists():
            write_text(path, "")
        clock[0] += 0.01
        os.utime(path, (clock[0], clock[0]))
