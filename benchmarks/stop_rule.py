"""How often CONVERGED is true: campaigns with a known truth, simulated through the real stop rule.

    python benchmarks/stop_rule.py

Each campaign has one to four strata whose force and energy errors fall from generation to
generation to a floor, below or above the target, each stratum with a ratio of error to spread and
an energy offset of its own, all of which wander. Walkers are dealt over strata and audit frames
over walks as in a real campaign; the frames' errors are drawn either from a lognormal with an
effect of the walk, or from walks whose true errors are known
(``benchmarks/data/audit_errors.csv``, made by ``audit_walks.py``), scaled to the truth of the
moment. ``decide`` is asked after each generation.

Counted are the campaigns that end CONVERGED with a stratum whose true error is above what was
printed for it, and how many converge where the truth is half the target.
"""

import argparse
import csv
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mace_core.assess import bounds
from mace_core.assess.decide import decide
from mace_core.assess.parts import by_part, elements_of, force_bounds, group_of
from mace_core.assess.strata import stratum_errors
from mace_core.config.campaign import parse_config
from mace_core.conventions import Outcome

DATA = Path(__file__).parent / "data" / "audit_errors.csv"
CONFIG = {
    "campaign": {"name": "simulated", "max_generations": 12},
    "labeller": {"engine": "emt"},
    "seed": {"structures": ["none.xyz"]},
    "explore": {"walkers": 4, "temperatures": [300, 600], "steps": 1000},
    "stop": {"target_force_mae": 30.0},
}
GROUPS = ("300K", "600K")
QUANTITIES = ("force", "energy", "spread")
HOT = 1.4  # error at the second temperature over that at the first


@dataclass
class Walk:
    """A walk's visited frames: force MAE, signed energy error, spread, each with mean 1 on average
    over walks of its stratum and temperature (energy: mean |error|)."""

    force: np.ndarray
    energy: np.ndarray
    spread: np.ndarray


def lognormal_walk(rng, _stratum, _group) -> Walk:
    """log error = log spread + ratio; both with an effect of the walk."""
    n, ratio, icc, spread = 40, 0.35, 0.3, 0.35
    log_u = spread * (np.sqrt(icc) * rng.normal() + np.sqrt(1 - icc) * rng.normal(size=n))
    log_r = ratio * (np.sqrt(icc) * rng.normal() + np.sqrt(1 - icc) * rng.normal(size=n))
    energy = np.sqrt(icc) * rng.normal() + np.sqrt(1 - icc) * rng.standard_t(5, size=n) / 1.29
    return Walk(
        np.exp(log_u + log_r - (ratio**2 + spread**2) / 2),
        energy,
        np.exp(log_u - spread**2 / 2),
    )


class RealWalks:
    """Walks of systems with known true errors, each quantity in units of its mean."""

    def __init__(self, path: Path):
        walks = defaultdict(lambda: defaultdict(list))
        with path.open() as file:
            for row in csv.DictReader(file):
                walks[row["system"], row["stratum"], row["group"]][row["walk"]].append(
                    [float(row[key]) for key in ("force_mae", "energy_error", "spread")]
                )
        self.pools = []
        for _, found in sorted(walks.items()):
            every = np.concatenate([np.array(rows) for rows in found.values()])
            offset = every[:, 1].mean()
            scatter = every[:, 1].std()
            mean = every.mean(axis=0)
            self.pools.append(
                [
                    Walk(
                        np.array(rows)[:, 0] / mean[0],
                        (np.array(rows)[:, 1] - offset) / scatter,
                        np.array(rows)[:, 2] / mean[2],
                    )
                    for rows in found.values()
                ]
            )

    def __call__(self, rng, stratum, group) -> Walk:
        pool = self.pools[(stratum * 2 + group) % len(self.pools)]
        return pool[rng.integers(len(pool))]


class Campaign:
    """One simulated campaign.

    Args:
        seed: of all draws.
        draw: makes a walk.
        floor: what the force error falls to, in targets; the same for every stratum if ``even``.
        even: every stratum has the same errors, and the energy error is half the target too.
    """

    def __init__(self, seed: int, draw, floor: float, even: bool = False, n_strata: int = 0):
        self.rng = np.random.default_rng(seed)
        rng = self.rng
        n = n_strata or int(rng.integers(1, 5))
        self.strata = [f"stratum {k}" for k in range(n)]
        # Pools of real walks are drawn anew for each campaign.
        self.places = rng.integers(1000, size=n)
        self.draw, self.floor, self.even = draw, floor, even
        self.level = np.ones(n) if even else np.exp(rng.normal(scale=0.4, size=n))
        self.ratio = np.exp(rng.normal(scale=0.3, size=n))
        self.offset = rng.uniform(0.0, 1.0, size=n)  # share of the energy error that is an offset
        self.energy_level = 0.5 if even else float(np.exp(rng.normal(-0.9, 0.6)))
        self.pool: dict[int, np.ndarray] = {}
        self.decay = rng.uniform(0.35, 0.6)
        self.config = parse_config(CONFIG, "benchmark")

    def run(self) -> dict:
        history = [
            {
                "generation": 0,
                "outcome": "continue",
                "labels": {"total_calls": 30},
                "start": {"frames": 30},
            }
        ]
        exam, calls = False, 30
        while True:
            g = len(history)
            record, truth = self.generation(g, exam)
            calls += 20 + len(record["audit_frames"])
            record["labels"] = {"total_calls": calls}
            history.append(record)
            decision = decide(history, self.config)
            record["checks"] = [check.to_json() for check in decision.checks]
            if decision.outcome is not Outcome.CONTINUE:
                break
            exam = decision.exam
        printed = stratum_errors(history, self.config)
        return {
            "outcome": str(decision.outcome),
            "generations": g,
            "calls": calls,
            "truth": truth,
            "printed": printed,
            "reason": decision.reason,
        }

    def truths(self, g: int) -> dict[str, tuple[float, float, float, float]]:
        """Per stratum: force error (eV/Å), mean |energy error|, offset, its scatter (eV/atom)."""
        target = 0.030
        found = {}
        for k, name in enumerate(self.strata):
            shape = self.floor + (6.0 - self.floor) * self.decay**g if g < 30 else self.floor
            wander = 1.0 if self.even else float(np.exp(self.rng.normal(scale=0.1)))
            force = target * shape * self.level[k] * wander
            energy = force / 4 * (1.0 if self.even else 2 * self.energy_level)
            offset = energy * self.offset[k] * self.rng.choice((-1, 1))
            # mean |offset + scatter·x| is wanted: found by trial, x having unit variance
            scatter = energy * max(0.05, np.sqrt(max(1 - self.offset[k] ** 2, 0.0)) * 1.25)
            found[name] = (force, energy, offset, scatter)
        return found

    def generation(self, g: int, exam: bool):
        rng, config = self.rng, self.config
        truths = self.truths(g)
        n_strata, n_groups = len(self.strata), len(GROUPS)
        walks, frames = [], []
        cast = [
            ((w // n_groups + w % n_groups + (g - 1) * 2) % n_strata, w % n_groups, False)
            for w in range(config.explore.walkers)
        ]
        cast += [(k, n_groups - 1, True) for k in range(n_strata)] if exam else []
        walked = sorted({k for k, _, long in cast if not long})
        share = {k: 0 for k in walked}
        for a in range(config.select.audit_frames):
            share[walked[(a + g) % len(walked)]] += 1
        queue = {k: [w for w, c in enumerate(cast) if c[0] == k and not c[2]] for k in walked}
        asked = defaultdict(int)
        for k, n in share.items():
            for a in range(n):
                asked[queue[k][a % len(queue[k])]] += 1
        for w, (k, group, long) in enumerate(cast):
            name = self.strata[k]
            force, _, offset, scatter = truths[name]
            parts = [self.draw(rng, int(self.places[k]), group) for _ in range(10 if long else 1)]
            made = Walk(*(np.concatenate([getattr(part, q) for part in parts]) for q in QUANTITIES))
            segments = np.repeat(np.arange(len(parts)), [len(part.force) for part in parts])
            hot = (HOT if group else 1.0) * 2 / (1 + HOT)
            errors = made.force * force * hot
            spreads = made.spread * force * hot / self.ratio[k]
            energies = offset + scatter * made.energy
            n = config.stop.exam_frames if long else asked[w]
            walks.append(
                {
                    "generation": g,
                    "stratum": name,
                    "group": GROUPS[group],
                    "walker": w,
                    "exam": long,
                    "n_frames": len(errors),
                    "spread": {"all": float(spreads.mean()), "X": float(spreads.mean())},
                    "end": "completed",
                    "steps_done": 1000,
                    "steps_asked": 1000,
                }
            )
            for i in self._drawn(len(errors), n, long):
                row = {"force_mae": float(errors[i]), "spread": float(spreads[i])}
                frames.append(
                    {
                        "frame_id": f"{g}-{w}-{i}",
                        "generation": g,
                        "stratum": name,
                        "group": GROUPS[group],
                        "walker": w,
                        "exam": long,
                        "segment": int(segments[i]),
                        "displacement": 0.3,
                        "energy_error": float(energies[i]),
                        "stress_mae": None,
                        "by_element": {"X": {**row, "n": 10}},
                        **row,
                    }
                )
        confidence = config.stop.confidence
        mae, low, high = force_bounds(frames, walks, confidence, g)
        audit = {
            "n_frames": len(frames),
            "force_mae": mae,
            "force_mae_low": low,
            "force_mae_high": high,
            "by_element": by_part(frames, walks, confidence, g, elements_of),
            "by_group": by_part(frames, walks, confidence, g, group_of),
        }
        record = {
            "generation": g,
            "outcome": "continue",
            "audit": audit,
            "audit_frames": frames,
            "walks": walks,
            "quarantine": [],
            "dataset": {"strata": {name: {} for name in self.strata}, "elements": ["X"]},
            "walkers": {
                "n": len(walks),
                "groups": list(GROUPS),
                "stable_fraction": 1.0,
                "ends": {"completed": len(walks)},
                "steps_asked": 1000 * len(walks),
                "steps_done": 1000 * len(walks),
                "time_fs": 500.0 * len(walks),
            },
            "selection": {"candidates": 20, "picked": 20, "audit": len(frames), "exam": 0},
        }
        return record, {
            name: (t[0], self._energy(k, t)) for k, (name, t) in enumerate(truths.items())
        }

    def _drawn(self, visited: int, n: int, long: bool) -> list[int]:
        """Frames drawn at random; of a long walk one from each of n equal parts."""
        if not long:
            return self.rng.choice(visited, size=min(n, visited), replace=False).tolist()
        return [int(self.rng.choice(part)) for part in np.array_split(np.arange(visited), n)]

    def _energy(self, k: int, truth) -> float:
        """True mean |energy error| of a stratum, from many walks."""
        _, _, offset, scatter = truth
        if k not in self.pool:
            rng = np.random.default_rng(1)
            place = int(self.places[k])
            walks = [self.draw(rng, place, g).energy for g in (0, 1) for _ in range(100)]
            self.pool[k] = np.concatenate(walks)
        return float(np.abs(offset + scatter * self.pool[k]).mean())


def one(job):
    kind, seed, floor, even, n_strata = job
    bounds.DRAWS = 4000
    draw = lognormal_walk if kind == "lognormal" else _real()
    return Campaign(seed, draw, floor, even, n_strata).run()


_REAL = []


def _real() -> RealWalks:
    if not _REAL:
        _REAL.append(RealWalks(DATA))
    return _REAL[0]


def wrong(run: dict) -> list[str]:
    """Strata whose true error is above what was printed for it."""
    found = []
    for name, (force, energy) in run["truth"].items():
        printed = run["printed"].get(name, {})
        for kind, true in (("force", force), ("energy", energy)):
            high = printed.get(f"{kind}_mae_high")
            if high is None or true > high:
                found.append(f"{name} {kind} {true * 1e3:.1f} > {(high or 0) * 1e3:.1f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=300, help="of each kind")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", default=["lognormal", "real"])
    given = parser.parse_args()
    with ProcessPoolExecutor(given.processes) as pool:
        for kind in given.kinds:
            floors = np.random.default_rng(1).uniform(0.2, 1.5, size=given.campaigns)
            jobs = [(kind, seed, float(floor), False, 0) for seed, floor in enumerate(floors)]
            runs = list(pool.map(one, jobs, chunksize=4))
            ended = [run for run in runs if run["outcome"] == "converged"]
            false = [run for run in ended if wrong(run)]
            print(
                f"{kind}: {len(ended)} of {len(runs)} CONVERGED, {len(false)} of them with a "
                f"stratum above what was printed ({len(false) / max(1, len(ended)):.1%})"
            )
            for run in false[:5]:
                print("   ", "; ".join(wrong(run)), f"generation {run['generations']}")
            for n in (1, 2, 3):
                jobs = [(kind, 10_000 + seed, 0.5, True, n) for seed in range(given.campaigns // 3)]
                runs = list(pool.map(one, jobs, chunksize=4))
                ended = [run for run in runs if run["outcome"] == "converged"]
                false = [run for run in ended if wrong(run)]
                calls = np.median([run["calls"] for run in ended]) if ended else float("nan")
                g = np.median([run["generations"] for run in ended]) if ended else float("nan")
                print(
                    f"{kind}, truth half the target, {n} strata: {len(ended) / len(runs):.0%} "
                    f"CONVERGED (median {g:g} generations, {calls:g} calls), {len(false)} wrong",
                    flush=True,
                )
                if len(ended) < 0.8 * len(runs):
                    print(
                        "   e.g.",
                        next(r["reason"] for r in runs if r["outcome"] != "converged")[:900],
                    )


if __name__ == "__main__":
    main()
