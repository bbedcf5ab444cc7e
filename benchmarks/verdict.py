"""Whole campaigns against the truth: is what CONVERGED says of each stratum so?

    OMP_NUM_THREADS=1 python benchmarks/verdict.py --seeds 1 2 3

Runs small campaigns of an alloy with substitutions (EMT), of two isomers and of two molecules
(GFN2-xTB), each to its end. Fresh MD of the last committee, from training frames of every stratum
and at every temperature, is then labelled by the same engine: its errors are the truth, and none
may be above the upper bound that the campaign printed for it. Prints a table and writes it beside
the campaigns; what is there is not run again, and one that was interrupted goes on.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator

from mace_core.config.campaign import Config, load_config
from mace_core.config.sections import Explore
from mace_core.conventions import (
    DISCARDED_ENDS,
    FRAME_ID,
    MACE_ENERGY,
    MACE_FORCES,
    MEV,
    UNSTABLE_ENDS,
    Outcome,
)
from mace_core.explore.run import committee_calculator
from mace_core.explore.start import start_frames
from mace_core.explore.walk import Walk, walk
from mace_core.frames import read_frames, write_frames
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore, Record
from mace_core.layout import Layout
from mace_core.storage import derived_seed, read_json, write_json, write_text

REPOSITORY = Path(__file__).parents[1]
KINDS = ("force", "energy")  # meV/Å, meV/atom

SMALL = {"r_max": 5.0, "num_channels": 16, "max_L": 1, "max_ell": 2, "correlation": 2}
BUDGET = {"max_labels": 300, "streak": 2}


def copper_gold() -> dict[str, Atoms]:
    cell = Atoms(
        "Cu2Au2",
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=[3.96, 3.96, 3.67],
        pbc=True,
    )
    return {"CuAu": cell}


def isomers() -> dict[str, Atoms]:
    """The two minima of GFN2-xTB, 0.9 eV apart."""
    along = {"hcn": ("HCN", [0.0, 1.06, 2.20]), "hnc": ("HNC", [0.0, 1.00, 2.16])}
    return {
        name: Atoms(symbols, [[0, 0, z] for z in heights])
        for name, (symbols, heights) in along.items()
    }


def molecules() -> dict[str, Atoms]:
    return {"acetamide": molecule("CH3CONH2"), "acetic_acid": molecule("CH3COOH")}


#: Structures, and settings of the campaign.
SYSTEMS: dict[str, tuple[Callable[[], dict[str, Atoms]], dict[str, dict[str, Any]]]] = {
    "alloy": (
        copper_gold,
        {
            "labeller": {"engine": "emt"},
            "seed": {
                "supercell": [2, 1, 1],
                "n_frames": 20,
                "rattle_std": [0.05, 0.1],
                "strain_max": 0.03,
                "substitutions": [
                    {"element": "Cu", "by": "Au", "fraction": 0.1},
                    {"element": "Au", "by": "Cu", "fraction": 0.1},
                ],
            },
            "data": {"valid_fraction": 0.1},
            "model": SMALL | {"radial_MLP": [16]},
            "train": {"members": 3, "max_num_epochs": 60},
            "explore": {"walkers": 4, "temperatures": [300, 600], "steps": 300, "timestep": 2.0}
            | {"save_interval": 10, "max_force_error": 1500},
            "select": {"max_frames": 12, "audit_frames": 8, "window": [10, 2000]},
            "stop": {"target_force_mae": 25, "min_audit_frames": 8},
        },
    ),
    "isomers": (
        isomers,
        {
            "labeller": {"engine": "tblite"},
            "seed": {"n_frames": 20, "rattle_std": [0.03, 0.06]},
            "data": {"valid_fraction": 0.15},
            "model": SMALL
            | {"r_max": 4.0, "num_radial_basis": 6, "MLP_irreps": "8x0e", "radial_MLP": [16, 16]},
            # The default weight leaves the difference of the isomers' energies to be learnt last.
            "train": {"members": 2, "max_num_epochs": 120, "batch_size": 4, "eval_interval": 5}
            | {"energy_weight": 100},
            "explore": {"walkers": 8, "temperatures": [300], "steps": 200, "timestep": 0.5}
            | {"save_interval": 10, "max_force_error": 4000},
            "select": {"max_frames": 8, "audit_frames": 6, "window": [20, 5000]},
            "stop": {"target_force_mae": 60, "min_audit_frames": 6},
        },
    ),
    "molecules": (
        molecules,
        {
            "labeller": {"engine": "tblite"},
            "seed": {"n_frames": 20, "rattle_std": [0.02, 0.05, 0.1]},
            "model": SMALL | {"radial_MLP": [16]},
            "train": {"members": 3, "max_num_epochs": 40},
            "explore": {"walkers": 4, "temperatures": [300, 600], "steps": 400, "timestep": 0.5}
            | {"save_interval": 10, "max_force_error": 2500},
            "select": {"max_frames": 12, "audit_frames": 8, "window": [50, 4000]},
            "stop": {"target_force_mae": 50, "min_audit_frames": 8},
        },
    ),
}


def configuration(system: str, seed: int, generations: int) -> dict[str, Any]:
    """Paths are relative to the campaign's folder."""
    structures, sections = SYSTEMS[system]
    values = {
        "campaign": {"name": system, "seed": seed, "max_generations": generations},
        "tracking": {"enabled": False},
        **sections,
    }
    values["seed"] = values["seed"] | {"structures": [f"{name}.xyz" for name in structures()]}
    values["train"] = values["train"] | {"default_dtype": "float32"}
    values["stop"] = values["stop"] | BUDGET
    return values


def run_campaign(system: str, seed: int, folder: Path, generations: int, cores: int) -> None:
    """Run a campaign in its folder to its end, or go on with it; its output is in ``log``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, atoms in SYSTEMS[system][0]().items():
        write_frames(folder / f"{name}.xyz", [atoms])
    write_text(
        folder / "config.yaml",
        yaml.safe_dump(configuration(system, seed, generations), sort_keys=False),
    )
    command = ["snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", cores]
    command += ["--configfile", "config.yaml"]
    bin_folder = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    with (folder / "log").open("a") as log:
        subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


def true_errors(
    config: Config,
    starts: Mapping[str, Sequence[Atoms]],
    calculator: Calculator,
    labels: str | Path,
    n_walks: int,
) -> dict[str, dict[str, Any]]:
    """Errors of a potential on fresh MD from the frames of each stratum.

    Walks are as long as the campaign's. They do not stop where the committee is unsure, as a user's
    MD does not; only a sanity check ends them. Temperatures count alike.

    Args:
        config: the campaign's.
        starts: frames to start from, by stratum.
        calculator: as :func:`mace_core.explore.walk.walk` needs it.
        labels: folder of a label store of its own.
        n_walks: of each stratum at each temperature.

    Returns:
        For each stratum ``force`` (eV/Å) and ``energy`` (eV/atom), mean absolute errors, each with
        ``…_sem``, its standard error over walks; ``frames``, of them ``unlabelled`` ones, which do
        not count; ``unstable``, walks that a sanity check ended. A stratum without any label is
        left out.
    """
    settings = config.explore.model_copy(update={"max_force_error": 1e9})
    places = product(starts, settings.temperatures, range(n_walks))
    walks = {
        place: _fresh(config, settings, starts[place[0]], calculator, *place) for place in places
    }
    kept = {
        place: [f for f in done.frames if f.info.get("walker_end") not in DISCARDED_ENDS]
        for place, done in walks.items()
    }
    known = _labels([f for frames in kept.values() for f in frames], config, labels)
    found = {}
    for stratum in starts:
        mine = {place: frames for place, frames in kept.items() if place[0] == stratum}
        entry: dict[str, Any] = {
            "frames": sum(map(len, mine.values())),
            "unlabelled": 0,
            "unstable": sum(walks[place].end in UNSTABLE_ENDS for place in mine),
        }
        groups: dict[float, list[list[float]]] = defaultdict(list)
        for (_, temperature, _), frames in mine.items():
            labelled = [frame for frame in frames if frame.info[FRAME_ID] in known]
            entry["unlabelled"] += len(frames) - len(labelled)
            if labelled:
                each = [_errors(frame, known[frame.info[FRAME_ID]]) for frame in labelled]
                groups[temperature].append(np.mean(each, axis=0))
        if not groups:
            continue
        for k, kind in enumerate(KINDS):
            values = [np.array(group)[:, k] for group in groups.values()]
            entry[kind] = float(np.mean([group.mean() for group in values]))
            variances = [group.var(ddof=1) / len(group) for group in values if len(group) > 1]
            entry[f"{kind}_sem"] = float(np.sqrt(sum(variances)) / len(values))
        found[stratum] = entry
    return found


def _fresh(config: Config, settings: Explore, frames, calculator, *place) -> Walk:
    rng = np.random.default_rng(derived_seed(config.campaign.seed, "verdict", *map(str, place)))
    start = frames[rng.integers(len(frames))]
    return walk(start, calculator, settings, place[1], rng)


def _labels(frames: Sequence[Atoms], config: Config, folder: str | Path) -> dict[str, Record]:
    store = LabelStore(folder, config.labeller)
    records = (outcome.record for outcome in label_frames(frames, config.labeller, store))
    return {record.frame_id: record for record in records if record.forces is not None}


def _errors(frame: Atoms, label: Record) -> tuple[float, float]:
    """Of forces and energy, as in :data:`KINDS`."""
    force = np.abs(frame.arrays[MACE_FORCES] - np.array(label.forces)).mean()
    return float(force), abs(frame.info[MACE_ENERGY] - label.energy) / len(frame)


def measure(folder: Path, n_walks: int) -> dict[str, Any]:
    """The truth of a campaign that is at its end, and what it printed."""
    with chdir(folder):
        config = load_config("config.yaml")
        layout = Layout(config.campaign.results_dir, config.campaign.name)
        g = layout.assessed_generations()[-1]
        assess, dataset = read_json(layout.assess(g)), layout.dataset(g)
        explore = config.explore
        starts = start_frames(
            read_frames(dataset / "train.extxyz"),
            explore.min_distance_factor,
            max(explore.temperatures),
            read_frames(dataset / "valid.extxyz"),
            config.model.r_max,
        )
        calculator = committee_calculator(config, layout.committee(g))
        truth = true_errors(config, starts, calculator, "truth", n_walks)
    return {
        "outcome": assess["outcome"],
        "reason": assess["reason"],
        "generations": g,
        "calls": assess["labels"]["total_calls"],
        "expected": sorted(assess["dataset"]["strata"]),
        "truth": truth,
        "printed": assess["strata"],
    }


def above(run: Mapping[str, Any]) -> list[str]:
    """Of each stratum that was asked for, what is above its printed bound or has none."""
    found = []
    for stratum in run["expected"]:
        truth, printed = run["truth"].get(stratum), run["printed"].get(stratum, {})
        for kind in KINDS:
            high = printed.get(f"{kind}_mae_high")
            if truth is None or high is None:
                found.append(f"{stratum}: {kind} not measured")
            elif truth[kind] > high:
                found.append(f"{stratum}: {kind}")
    return found


def table(runs: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    """One row per campaign and stratum, and the count of verdicts that are not true."""
    head = "| campaign | seed | outcome | generations | label calls | stratum | force MAE, true "
    head += "| printed [≤] | energy MAE, true | printed [≤] | unstable walks "
    head += "| frames without label | above |"
    lines = [head, "|" + 13 * "---|"]
    for (system, seed), run in sorted(runs.items()):
        first = [system, seed, run["outcome"], run["generations"], run["calls"]]
        wrong = above(run)
        for stratum in run["expected"]:
            truth, printed = run["truth"].get(stratum), run["printed"].get(stratum, {})
            cells = [*first, stratum]
            for kind in KINDS:
                cells.append("–" if truth is None else _pm(truth[kind], truth[f"{kind}_sem"]))
                mae, high = (printed.get(f"{kind}_mae{end}") for end in ("", "_high"))
                cells.append(f"{_mev(mae)} [{_mev(high)}]")
            cells.append("–" if truth is None else truth["unstable"])
            cells.append("–" if truth is None else truth["unlabelled"])
            its = [what.split(": ")[-1] for what in wrong if what.startswith(f"{stratum}: ")]
            cells.append(", ".join(its) or "no")
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
            first = [""] * len(first)
    ended = [run for run in runs.values() if run["outcome"] == Outcome.CONVERGED]
    false = sum(bool(above(run)) for run in ended)
    lines.append("\nforces in meV/Å, energies in meV/atom; ± standard error over walks")
    lines.append(
        f"{len(ended)} of {len(runs)} campaigns CONVERGED; {false} of these with an error of a "
        "stratum above what was printed"
    )
    return "\n".join(lines)


def _mev(value: float | None) -> str:
    return "–" if value is None else f"{value / MEV:.3g}"


def _pm(value: float, error: float) -> str:
    return f"{value / MEV:.3g} ± {error / MEV:.1g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks/results/verdict")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--generations", type=int, default=6, help="at most")
    parser.add_argument("--walks", type=int, default=8, help="per stratum and temperature")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    given = parser.parse_args()
    runs = {}
    for system in given.systems:
        for seed in given.seeds:
            folder = given.out.absolute() / f"{system}-{seed}"
            result = folder / "verdict.json"
            if not result.is_file():
                began = time.monotonic()
                run_campaign(system, seed, folder, given.generations, given.cores)
                ran = time.monotonic()
                write_json(result, measure(folder, given.walks))
                print(
                    f"{system} {seed}: campaign {ran - began:.0f} s, "
                    f"truth {time.monotonic() - ran:.0f} s",
                    flush=True,
                )
            runs[system, seed] = read_json(result)
    said = table(runs)
    write_text(given.out / "table.md", said + "\n")
    print(said)


if __name__ == "__main__":
    main()
