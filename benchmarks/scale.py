"""How the steps of a campaign grow with its frames, and the workflow with its jobs (docs/scale.md).

    python benchmarks/scale.py steps [1250 2500 5000 10000]   # seconds and memory of each step
    python benchmarks/scale.py workflow 5x500 10x500 20x500   # dry runs after as many generations
    python benchmarks/scale.py workflow 1x2500 1x5000 1x10000 --batch-size 100

They are in scale_steps.py and scale_workflow.py; sampling.py measures selection's sampling alone,
duplicates.py the search for near-duplicates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scale_workflow import show_workflow

from mace_core.storage import write_json


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

    figure, axes = plt.subplots(figsize=(10, 6.5), layout="constrained")
    for k, (name, curve) in enumerate(sorted(curves.items(), key=lambda c: -c[1][-1])):
        axes.loglog(sizes, curve, marker="osD^v"[k // 10], ms=4, lw=1.2, label=name)
    guide = np.array([sizes[0], sizes[-1]])
    for start in (0.1, 1.0, 10.0):
        axes.loglog(guide, start * guide / guide[0], color="0.7", lw=0.8, ls="--", zorder=0)
    axes.set(xlabel="frames of a generation (dashed: linear growth)", ylabel="CPU time, s")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(sizes, [str(n) for n in sizes], minor=False)
    axes.minorticks_off()
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    sizes = what.add_parser("steps")
    sizes.add_argument("frames", nargs="*", type=int, default=[1250, 2500, 5000, 10000])
    sizes.add_argument("--save", type=Path, help="JSON of the sizes done: they are not run again")
    sizes.add_argument("--plot", type=Path, help="a PNG of the table")
    flow = what.add_parser("workflow")
    flow.add_argument("campaigns", nargs="+", help="generations done, x, frames of each")
    flow.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    if args.what == "steps":
        show_steps(sorted(args.frames), args.save, args.plot)
    else:
        show_workflow([tuple(map(int, c.split("x"))) for c in args.campaigns], args.batch_size)


if __name__ == "__main__":
    main()
