"""How often the audit's upper bounds hold, and how wide they are.

    python benchmarks/audit_coverage.py

Audits are drawn again and again from walks whose true errors are known: real ones
(``benchmarks/data/audit_errors.csv``, made by ``audit_walks.py``: committees of three on molecules
by GFN2-xTB and on Cu-Au by EMT), and made-up ones with skewed errors that are alike within a walk.
Each audit takes a few walks and a few frames of each; its bound is held against the mean error over
all walks. Printed are the share of audits whose bound holds, and the median of bound over truth;
for comparison those of percentiles of a bootstrap over frames, which most tools would take.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mace_core.assess import bounds
from mace_core.assess.parts import by_stratum, force_bounds

DATA = Path(__file__).parent / "data" / "audit_errors.csv"
CONFIDENCE = 0.95
#: Walks and frames of an audit: 4 and 12 are the defaults.
AUDITS = ((4, 8), (4, 12), (6, 8), (8, 8))
#: Name → (temperatures, scatter of log error, share of it that a walk's frames have in common,
#: scatter of the spread that has nothing to do with the error, share of the error that the spread
#: sees).
MADE_UP = {
    "lognormal 0.4, walk 0.3, spread knows nothing": (1, 0.4, 0.3, 0.3, 0.0),
    "lognormal 0.5, walk 0.5, spread is constant": (1, 0.5, 0.5, 0.0, 0.0),
    "lognormal 0.8, walk 0.2, spread is constant": (1, 0.8, 0.2, 0.0, 0.0),
    "lognormal 0.4, walk 0.3, spread sees 80 %": (3, 0.4, 0.3, 0.2, 0.8),
}


@dataclass
class Walk:
    group: str
    force: np.ndarray  # force MAE of each frame, eV/Å
    energy: np.ndarray  # signed energy error, eV/atom
    spread: np.ndarray  # mean spread, eV/Å


def real_walks(path: Path) -> dict[str, list[Walk]]:
    rows = defaultdict(lambda: defaultdict(list))
    with path.open() as file:
        for row in csv.DictReader(file):
            values = [float(row[key]) for key in ("force_mae", "energy_error", "spread")]
            rows[f"{row['system']}, {row['stratum']}"][row["group"], row["walk"]].append(values)
    return {
        name: [Walk(group, *np.array(values).T) for (group, _), values in found.items()]
        for name, found in rows.items()
    }


def made_up_walks(rng: np.random.Generator, settings: tuple, n: int) -> list[Walk]:
    groups, sigma, shared, noise, seen = settings
    walks = []
    for k in range(n):
        own = np.sqrt(1 - shared) * rng.normal(size=40)
        log_error = sigma * (np.sqrt(shared) * rng.normal() + own)
        level = 0.4 * (k % groups)
        error = 0.03 * np.exp(level + log_error)
        spread = 0.03 * np.exp(level + seen * log_error + noise * rng.normal(size=40))
        energy = 0.002 * (np.sqrt(shared) * rng.normal() + rng.standard_t(5, size=40))
        walks.append(Walk(f"{k % groups}", error, energy, spread))
    return walks


def audits(
    walks: list[Walk], n_walks: int, n_frames: int, rng: np.random.Generator
) -> Iterator[tuple[list[dict], list[dict]]]:
    """Rows and walks of one audit after the other; temperatures take turns."""
    by_group = defaultdict(list)
    for walk in walks:
        by_group[walk.group].append(walk)
    groups = sorted(by_group)
    while True:
        rows, visited = [], []
        for w in range(n_walks):
            group = groups[w % len(groups)]
            walk = by_group[group][rng.integers(len(by_group[group]))]
            where = {"generation": 1, "stratum": "s", "group": group, "walker": w, "exam": False}
            spread = {"all": float(walk.spread.mean())}
            visited.append({**where, "n_frames": len(walk.force), "spread": spread})
            n = n_frames // n_walks + (w < n_frames % n_walks)
            for k in rng.choice(len(walk.force), min(n, len(walk.force)), replace=False):
                rows.append(
                    {
                        **where,
                        "frame_id": f"{w}-{k}",
                        "force_mae": float(walk.force[k]),
                        "spread": float(walk.spread[k]),
                        "energy_error": float(walk.energy[k]),
                        "stress_mae": None,
                    }
                )
        yield rows, visited


def truth(walks: list[Walk]) -> tuple[float, float]:
    """Mean force MAE and mean |energy error|, each temperature with the same share."""
    groups = sorted({walk.group for walk in walks})

    def mean(values) -> float:
        each = [np.concatenate([values(w) for w in walks if w.group == g]).mean() for g in groups]
        return float(np.mean(each))

    return mean(lambda w: w.force), mean(lambda w: np.abs(w.energy))


def bootstrap_bound(rows: list[dict], rng: np.random.Generator) -> float:
    errors = np.array([row["force_mae"] for row in rows])
    means = errors[rng.integers(len(errors), size=(1000, len(errors)))].mean(axis=1)
    return float(np.quantile(means, CONFIDENCE))


def study(walks, n_walks, n_frames, repeats, rng) -> np.ndarray:
    """Whether a bound holds, and bound over truth: [repeats, 4, 2].

    The bounds are those of the whole (95 %), of a bootstrap, and of the stratum's force and energy
    (95 % together).
    """
    true_force, true_energy = truth(walks)
    found = []
    for seed, (rows, visited) in zip(
        range(repeats), audits(walks, n_walks, n_frames, rng), strict=False
    ):
        _, _, high = force_bounds(rows, visited, CONFIDENCE, seed)
        stratum = by_stratum(rows, visited, CONFIDENCE, seed, 1)["s"]
        pairs = (
            (high, true_force),
            (bootstrap_bound(rows, rng), true_force),
            (stratum["force_mae_high"] or np.inf, true_force),
            (stratum["energy_mae_high"] or np.inf, true_energy),
        )
        found.append([[bound >= true, bound / true] for bound, true in pairs])
    return np.array(found)


def report(name: str, found: np.ndarray) -> None:
    holds, width = found[:, :, 0].mean(axis=0), np.median(found[:, :, 1], axis=0)
    both = (found[:, 2, 0] * found[:, 3, 0]).mean()
    print(
        f"{name:<48} whole {holds[0]:6.1%} ×{width[0]:.2f}   "
        f"bootstrap {holds[1]:6.1%} ×{width[1]:.2f}"
        f"   stratum: force ×{width[2]:.2f}, energy ×{width[3]:.2f}, both hold {both:6.1%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400, help="audits of each kind")
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    bounds.DRAWS = 4000
    rng = np.random.default_rng(0)
    real = real_walks(given.data)
    for n_walks, n_frames in AUDITS:
        print(f"\n{n_frames} frames from {n_walks} walks")
        kinds = {name: made_up_walks(rng, s, 4000) for name, s in MADE_UP.items()} | real
        every = {}
        for name, walks in kinds.items():
            every[name] = study(walks, n_walks, n_frames, given.repeats, rng)
            report(name, every[name])
        report("mean of the made-up ones", np.concatenate([every[n] for n in MADE_UP]))
        report("mean of the real ones", np.concatenate([every[n] for n in real]))


if __name__ == "__main__":
    main()
