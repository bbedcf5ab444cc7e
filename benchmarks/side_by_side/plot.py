"""Cost against size, as a picture."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {"a": "#1f77b4", "c": "#d62728"}


def cost_against_size(curves: list[dict], out: Path) -> None:
    """Time per atom and peak memory against the number of atoms.

    Args:
        curves: of :func:`growth.scaling`, one a configuration.
        out: PNG to write.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), dpi=100)
    for curve in curves:
        name = curve["configuration"]
        colour = COLOURS.get(name, "black")
        for side, points in curve.items():
            if side == "configuration":
                continue
            sizes = [point["n_atoms"] for point in points]
            times = [1e3 * point["ms"]["min"] / point["n_atoms"] for point in points]
            style = {"marker": "o", "linestyle": "-"} if side == "ours" else {"marker": "s"}
            if side != "ours":
                style |= {"linestyle": "--", "markerfacecolor": "white"}
            label = f"{'maceloop' if side == 'ours' else side}, {name}"
            left.plot(sizes, times, color=colour, label=label, markersize=4, **style)
            if side == "ours":
                peaks = [point["peak_MB"] for point in points]
                right.plot(sizes, peaks, color=colour, label=label, markersize=4, **style)
    left.set(xscale="log", yscale="log", xlabel="atoms (Si)", ylabel="µs per atom and MD step")
    right.set(xlabel="atoms (Si)", ylabel="peak memory of the process, MB", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)
