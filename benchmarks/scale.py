"""How the steps of a campaign grow with its frames, and the workflow with its jobs (docs/scale.md).

    python benchmarks/scale.py steps [500 1000 2000 …]     # CPU seconds of each step, EMT labels
    python benchmarks/scale.py workflow 20 500             # dry run after 20 generations
    python benchmarks/scale.py workflow 1 10000
    python benchmarks/scale.py distances                   # the sampling of selection alone

Frames are rattled copper with EMT labels; walks are made up: rattled frames with a random spread.
"""

import argparse
import contextlib
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

from mace_core.config.campaign import parse_config
from mace_core.frames import canonical, write_frames
from mace_core.layout import Layout
from mace_core.plan import read_plan, write_plan
from mace_core.storage import write_json, write_text

REPOSITORY = Path(__file__).parents[1]


def configuration(n_seed: int, n_later: int, **sections) -> dict:
    values = {
        "campaign": {"name": "scale", "max_generations": 50},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["cu.xyz"], "n_frames": n_seed, "rattle_std": [0.1]},
        "data": {"valid_fraction": 0.1},
        "model": {"num_channels": 4, "max_L": 0, "max_ell": 1, "correlation": 1, "r_max": 4.0}
        | {"radial_MLP": [8], "num_interactions": 2},
        "train": {"members": 2, "max_num_epochs": 1, "batch_size": 50},
        "explore": {"walkers": 4, "steps": 10 * max(1, n_later // 2), "save_interval": 10},
        "select": {"max_frames": n_later, "audit_frames": 8, "window": [0.001, 1e6]}
        | {"min_distance": 0.0},
        "label": {"batch_size": 100},
        "stop": {"max_labels": 10**6},
        # MLflow keeps one connection a URI in a process.
        "tracking": {"uri": f"sqlite:///mlflow-{n_seed}.db"},
    }
    return values | {name: values.get(name, {}) | keys for name, keys in sections.items()}


def cpu() -> float:
    """CPU seconds of this process and of its finished children: other work does not disturb it."""
    ours, theirs = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime


@contextlib.contextmanager
def counted_calls():
    """A list that gets the name of every call of MLflow's client."""
    from mace_core.track import project

    calls, real = [], project.open_client

    class Counting:
        def __init__(self, client):
            self.client = client

        def __getattr__(self, name):
            calls.append(name)
            return getattr(self.client, name)

    project.open_client = lambda tracking: Counting(real(tracking))
    try:
        yield calls
    finally:
        project.open_client = real


class Clock(dict):
    """CPU seconds by step; and calls of MLflow's client."""

    def __init__(self):
        super().__init__()
        self.mlflow_calls: list[int] = []

    @contextlib.contextmanager
    def step(self, name: str):
        began = cpu()
        with contextlib.redirect_stdout(io.StringIO()):
            yield
        self[name] = self.get(name, 0.0) + cpu() - began


def steps(n: int) -> Clock:
    """Generation 0 of n frames, and generation 1 that trains on n, visits 2 n and labels n."""
    from mace_core.assess.committee import calibrate_committee
    from mace_core.assess.generation import assess_generation
    from mace_core.dataset import build_dataset
    from mace_core.label.command import label_file
    from mace_core.label.merge import merge_labels
    from mace_core.report import write_report
    from mace_core.seed.prepare import prepare_seed
    from mace_core.select.run import select
    from mace_core.summary import write_summary
    from mace_core.track import track
    from mace_core.train.member import train_member

    clock = Clock()
    write("cu.xyz", bulk("Cu", cubic=True) * (2, 1, 1), format="extxyz")
    config = parse_config(configuration(n, n), where="scale")
    layout = Layout(config.campaign.results_dir, config.campaign.name)

    def labelled(g: int) -> None:
        batch, plan = layout.label_batch(g, 0), read_plan(layout.plan(g))
        with clock.step(f"label, generation {g}"):
            label_file(layout.selected(g), layout.plan(g), batch)
        with clock.step("label again, all from the store"):
            label_file(layout.selected(g), layout.plan(g), batch)
        with clock.step("merge_labels"):
            write_json(layout.merged(g), merge_labels(plan, layout.selected(g), [batch]))

    write_plan(config, 0, layout.plan(0))
    with clock.step("prepare_seed"):
        prepare_seed(config, [], layout.selected(0))
    labelled(0)
    with clock.step("assess, generation 0"):
        assess_generation(read_plan(layout.plan(0)), layout.merged(0), layout.assess(0))
    plan, _ = write_plan(config, 1, layout.plan(1))
    dataset, train = layout.dataset(1), layout.dataset(1) / "train.extxyz"
    with clock.step("build_dataset"):
        build_dataset(layout.plan(1), [layout.merged(0)], dataset, [layout.assess(0)])
    members = [layout.member(1, m) for m in range(config.train.members)]
    for m, folder in enumerate(members):
        with clock.step("train_member, one epoch of two members"):
            train_member(
                train, layout.plan(1), folder, valid_file=dataset / "valid.extxyz", member=m
            )
    with clock.step("calibrate"):
        calibrate_committee(plan, dataset / "valid.extxyz", layout.committee(1), members)
    walkers = made_up_walks(layout, config, 2 * n)
    with clock.step("select_frames"):
        select(config, 1, layout.committee(1), train, walkers, layout.selected(1))
    labelled(1)
    with clock.step("assess, generation 1"):
        assess_generation(
            plan,
            layout.merged(1),
            layout.assess(1),
            layout.committee(1),
            layout.gen(1) / "select" / "select.json",
        )
    with clock.step("summary"):
        write_summary(layout, config)
    with clock.step("report"):
        write_report(config, 1, layout.report(1))
    for g in (0, 1):
        with clock.step(f"track, generation {g}"), counted_calls() as calls:
            assert track(config, g)["synced"]
        clock.mlflow_calls.append(len(calls))
    with clock.step("track again, nothing new"), counted_calls() as calls:
        assert track(config)["created"] == []
    clock.mlflow_calls.append(len(calls))
    return clock


def made_up_walks(layout: Layout, config, n: int) -> list[Path]:
    """Walkers' files with n frames in all."""
    rng, paths = np.random.default_rng(1), []
    start = bulk("Cu", cubic=True) * (2, 1, 1)
    for w in range(config.explore.walkers):
        frames = []
        for k in range(n // config.explore.walkers):
            frame = start.copy()
            frame.positions += rng.normal(scale=0.15, size=frame.positions.shape)
            frame = canonical(frame)
            frame.info |= {"walker": w, "group": "300K", "md_step": 10 * (k + 1)}
            frame.info |= {"MACE_energy": 0.0, "MACE_uncertainty": 0.1}
            frame.arrays["MACE_forces"] = np.zeros((len(frame), 3))
            frame.arrays["MACE_forces_std"] = rng.uniform(0.01, 0.2, len(frame))
            frames.append(frame)
        write_frames(layout.walker(1, w), frames)
        end = {"walker": w, "group": "300K", "temperature": 300.0, "end": "completed"}
        end |= {"reason": "made up", "steps_done": len(frames), "steps_asked": len(frames)}
        end |= {"time_fs": 1.0, "start_frame": "", "last_good_step": 1, "end_step": 1}
        end |= {"max_uncertainty": 0.2, "mean_temperature": 300.0, "n_frames": len(frames)}
        write_json(layout.walker(1, w).with_suffix(".json"), end | {"wall_seconds": 1.0})
        paths.append(layout.walker(1, w))
    return paths


def show_steps(sizes: list[int]) -> None:
    """The table of CPU seconds, and the exponent between the smallest and the largest size."""
    columns = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            columns.append(steps(n))
            os.chdir(REPOSITORY)
        print(f"{n} frames: {sum(columns[-1].values()):.0f} s of CPU", file=sys.stderr, flush=True)
    print(f"{'step':40}" + "".join(f"{n:>9}" for n in sizes) + f"{'exponent':>10}")
    for name in columns[0]:
        row = [column[name] for column in columns]
        ends = np.log(row[-1] / max(row[-2], 1e-3)) / np.log(sizes[-1] / sizes[-2])
        print(f"{name:40}" + "".join(f"{s:9.2f}" for s in row) + f"{ends:10.2f}")
    for k, what in enumerate(("generation 0", "generation 1", "again")):
        row = [column.mlflow_calls[k] for column in columns]
        print(f"{'calls of MLflow, ' + what:40}" + "".join(f"{n:9}" for n in row))


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
    parts = {"n": 9, "force_mae_high": 1.2 * 0.9**g}
    errors = {"n_frames": 9, "force_mae": 0.9**g, "force_mae_high": 1.2 * 0.9**g}
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


def show_workflow(generations: int, frames: int, batch_size: int) -> None:
    """Dry-run the last generation of a campaign whose earlier ones are done."""
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
        most = max(len(list(p.iterdir())) for p in layout.root.rglob("*") if p.is_dir())
        command = [str(Path(sys.executable).parent / "snakemake"), "-n", "--cores", "2"]
        command += ["-s", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml"]
        before, began = cpu(), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds, wall = cpu() - before, time.monotonic() - began
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
        os.chdir(REPOSITORY)
    jobs = ", ".join(f"{rule} {n}" for rule, n in counts.items())
    print(f"{generations} generations done, {frames} frames each, batches of {batch_size}:")
    print(f"  dry run {seconds:.1f} s of CPU ({wall:.1f} s wall); next generation: {jobs}")
    print(f"  most files in one folder of the results: {most}")


def show_distances() -> None:
    """CPU seconds of n picks of 2 n random candidates, n known frames, 256 features."""
    from mace_core.select.diversity import farthest_points

    rng = np.random.default_rng(0)
    for n in (1000, 2000):
        rows, known = rng.normal(size=(2 * n, 256)), rng.normal(size=(n, 256))
        began = cpu()
        farthest_points(rows, known, np.ones(2 * n), n, 0.0)
        print(f"{n} picks: {cpu() - began:.1f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    sizes = what.add_parser("steps")
    sizes.add_argument("frames", nargs="*", type=int, default=[500, 1000, 2000])
    flow = what.add_parser("workflow")
    flow.add_argument("generations", type=int)
    flow.add_argument("frames", type=int)
    flow.add_argument("--batch-size", type=int, default=8)
    what.add_parser("distances")
    args = parser.parse_args()
    if args.what == "steps":
        show_steps(sorted(args.frames))
    elif args.what == "distances":
        show_distances()
    else:
        show_workflow(args.generations, args.frames, args.batch_size)


if __name__ == "__main__":
    main()
