"""How the steps of a campaign grow with its frames, and the workflow with its jobs (docs/scale.md).

    python benchmarks/scale.py steps [1250 2500 5000 10000]   # seconds and memory of each step
    python benchmarks/scale.py workflow 20 500                # dry run after 20 generations
    python benchmarks/scale.py workflow 1 10000
    python benchmarks/scale.py distances                      # the sampling of selection alone

What the steps do is in scale_steps.py.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write
from scale_steps import configuration, cpu

from mace_core.config.campaign import parse_config
from mace_core.layout import Layout
from mace_core.plan import write_plan
from mace_core.storage import write_json, write_text

REPOSITORY = Path(__file__).parents[1]


def show_steps(sizes: list[int], save: Path | None, plot: Path | None) -> None:
    """CPU seconds and memory of each step by frames, and the exponent that they grow with."""
    measured = json.loads(save.read_text()) if save and save.exists() else {}
    for n in sizes:
        if str(n) not in measured:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, Path(__file__).with_name("scale_steps.py"), str(n)]
                done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True)
            measured[str(n)] = json.loads(done.stdout)
            if save:
                write_json(save, measured)
        total = sum(measured[str(n)]["seconds"].values())
        print(f"{n} frames: {total:.0f} s of CPU", file=sys.stderr, flush=True)
    columns = [measured[str(n)] for n in sizes]
    curves = {name: [c["seconds"][name] for c in columns] for name in columns[0]["seconds"]}
    print(f"{'step, CPU s':40}" + "".join(f"{n:>9}" for n in sizes) + f"{'exponent':>10}{'MB':>8}")
    for name, curve in curves.items():
        row = "".join(f"{s:9.2f}" for s in curve)
        print(f"{name:40}{row}{exponent(sizes, curve):10.2f}{columns[-1]['memory'][name]:8.0f}")
    for k, what in enumerate(("generation 0", "generation 1", "again")):
        row = "".join(f"{c['mlflow_calls'][k]:9}" for c in columns)
        print(f"{'calls of MLflow, ' + what:40}{row}")
    if plot:
        draw_steps(sizes, curves, plot)


def exponent(sizes: list[int], curve: list[float]) -> float:
    """Slope of log(seconds) over log(frames), fitted to the three largest sizes."""
    x, y = np.log(sizes[-3:]), np.log(np.maximum(curve[-3:], 1e-3))
    return float(np.polyfit(x, y, 1)[0]) if len(sizes) > 1 else float("nan")


def draw_steps(sizes: list[int], curves: dict[str, list[float]], path: Path) -> None:
    """CPU seconds over frames, both logarithmic, with a line that grows linearly."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    for k, (name, curve) in enumerate(sorted(curves.items(), key=lambda c: -c[1][-1])):
        axes.loglog(sizes, curve, marker="osD^v"[k // 10], ms=4, lw=1.2, label=name)
    guide = np.array([sizes[0], sizes[-1]])
    for start in (0.1, 1.0, 10.0):
        axes.loglog(guide, start * guide / guide[0], color="0.7", lw=0.8, ls="--", zorder=0)
    axes.set(xlabel="frames (dashed: linear)", ylabel="CPU seconds")
    axes.set_xticks(sizes, [str(n) for n in sizes], minor=False)
    axes.minorticks_off()
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=110)


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
    for n in (1000, 2000, 5000, 10_000):
        rows, known = rng.normal(size=(2 * n, 256)), rng.normal(size=(n, 256))
        began = cpu()
        farthest_points(rows, known, np.ones(2 * n), n, 0.0)
        print(f"{n} picks: {cpu() - began:.1f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    sizes = what.add_parser("steps")
    sizes.add_argument("frames", nargs="*", type=int, default=[1250, 2500, 5000, 10000])
    sizes.add_argument("--save", type=Path, help="JSON of the sizes done: they are not run again")
    sizes.add_argument("--plot", type=Path, help="a PNG of the table")
    flow = what.add_parser("workflow")
    flow.add_argument("generations", type=int)
    flow.add_argument("frames", type=int)
    flow.add_argument("--batch-size", type=int, default=8)
    what.add_parser("distances")
    args = parser.parse_args()
    if args.what == "steps":
        show_steps(sorted(args.frames), args.save, args.plot)
    elif args.what == "distances":
        show_distances()
    else:
        show_workflow(args.generations, args.frames, args.batch_size)


if __name__ == "__main__":
    main()
