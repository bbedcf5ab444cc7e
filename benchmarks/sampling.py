"""Sampling in cells against farthest-point sampling: CPU seconds, distances and what is left apart.

    python benchmarks/sampling.py growth  [1000 2000 5000 10000 20000 40000]
    python benchmarks/sampling.py quality [2000 4000] [--rows ROWS.npy]

n labelled rows, 2 n candidates, n picks (docs/scale.md).
"""

import argparse
from pathlib import Path

import numpy as np
from scale_steps import cpu

from mace_core.select import cells, diversity
from mace_core.select.cells import sample

N_FEATURES = 256


def cloud(n: int, rng: np.random.Generator) -> np.ndarray:
    """[n, 256] of independent features: no direction matters more than another."""
    return rng.normal(size=(n, N_FEATURES)) / np.sqrt(N_FEATURES)


def sheet(n: int, rng: np.random.Generator) -> np.ndarray:
    """[n, 256] on a curved surface of 6 dimensions: few collective motions."""
    flat = rng.normal(size=(n, 6)) @ rng.normal(size=(6, N_FEATURES))
    return np.sin(flat / 3) / np.sqrt(N_FEATURES)


class Counted:
    """Counts the distances that are computed."""

    def __init__(self):
        self.n, self._real = 0, diversity._distances
        diversity._distances = self

    def __call__(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        self.n += len(rows) * len(others)
        return self._real(rows, others)


def show_growth(sizes: list[int]) -> None:
    counted = Counted()
    print(f"{'n':>8}{'cells':>8}{'distances':>12}{'CPU s':>8}")
    for n in sizes:
        rows = cloud(3 * n, np.random.default_rng(0))
        before, began = counted.n, cpu()
        sample(rows[n:], rows[:n], np.ones(2 * n), n, 0.0)
        seconds, n_cells = cpu() - began, len(cells.divide(rows[n:], rows[:n], n))
        print(f"{n:8}{n_cells:8}{counted.n - before:12.2e}{seconds:8.1f}", flush=True)


def show_quality(name: str, rows: np.ndarray, n: int, sizes: list[int]) -> None:
    """How far frames are left from all that is labelled or picked, exact and in smaller cells."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(rows))
    known, rows = rows[order[:n]], rows[order[n:]]
    for weighting in ("equal", "0.2 to 1"):
        weights = np.ones(len(rows)) if weighting == "equal" else rng.uniform(0.2, 1, len(rows))
        for size in (None, *sizes, "random"):
            cells.BUDGET = 10**12 if size is None else 0
            cells.CELL = size if isinstance(size, int) else cells.CELL
            cells.OVERLAP = cells.CELL // 16
            if size == "random":
                picked, n_cells = rng.permutation(len(rows))[:n], ""
            else:
                picked = [p.index for p in sample(rows, known, weights, n, 0.0).picks]
                n_cells = len(cells.divide(rows, known, n))
            left, _ = diversity.nearest(rows, np.concatenate([known, rows[picked]]))
            print(
                f"{name:8}{n:6} {weighting:9}{size or 'exact':>7}{n_cells:>5}"
                f"{left.max():9.3f}{(weights * left).max():9.3f}{left.mean():9.4f}"
                f"{apart(rows[picked], known):9.3f}",
                flush=True,
            )


def apart(picked: np.ndarray, known: np.ndarray) -> float:
    """The first percentile of the picks' distances to the nearest known row or other pick."""
    distance, _ = diversity.nearest(picked, known)
    for k, row in enumerate(picked):
        others = diversity._distances(row[None], picked)[0]
        others[k] = np.inf
        distance[k] = min(distance[k], others.min())
    return float(np.quantile(distance, 0.01))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    growth = what.add_parser("growth")
    growth.add_argument(
        "n", nargs="*", type=int, default=[1000, 2000, 5000, 10_000, 20_000, 40_000]
    )
    quality = what.add_parser("quality")
    quality.add_argument("n", nargs="*", type=int, default=[2000, 4000])
    quality.add_argument("--rows", type=Path, help="[n, d] features instead of made-up ones")
    args = parser.parse_args()
    if args.what == "growth":
        show_growth(args.n)
        return
    print(
        f"{'rows':8}{'n':>6} {'weights':9}{'cell':>7}{'cells':>5}"
        f"{'max d':>9}{'max w d':>9}{'mean d':>9}{'1% apart':>9}"
    )
    if args.rows:
        rows = np.load(args.rows)
        show_quality("given", rows, len(rows) // 3, [len(rows) // k for k in (4, 8, 16, 32)])
        return
    for n in args.n:
        for make in (cloud, sheet):
            rows = make(3 * n, np.random.default_rng(0))
            show_quality(make.__name__, rows, n, [4096, 1024, 256])


if __name__ == "__main__":
    main()
