"""Time of an MD step, of a committee's, of its merged model's, and of a training step, one thread.

    OMP_NUM_THREADS=1 python benchmarks/model_speed.py

Prints a table and writes benchmarks/results/latest.json: rows of name, ms (min, median). The
measurements alternate, so that a slow moment of the machine falls on all of them.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from ase.io import read

from mace_core.calculator import MACECalculator
from mace_core.config.sections import Model
from mace_core.model.files import save_model
from mace_core.model.graph import batch, graph_of
from mace_core.model.merge import merged
from mace_core.model.model import MACE

HERE = Path(__file__).parent
FRAMES = HERE.parent / "config" / "data" / "rmd17_ethanol_test200.extxyz"
ELEMENTS = [1, 6, 8]
REPEATS = 20
MEMBERS = 4


def new_model(dtype: torch.dtype, seed: int) -> MACE:
    """The default architecture with first weights."""
    return MACE(
        Model(),
        ELEMENTS,
        dict.fromkeys(ELEMENTS, 0.0),
        avg_num_neighbors=8.0,
        dtype=dtype,
        seed=seed,
    )


def works(folder: Path) -> dict:
    """What is timed: name → function without arguments."""
    frames = read(FRAMES, ":5")
    timed = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        models = [new_model(dtype, seed) for seed in range(MEMBERS)]
        paths = [folder / name / str(seed) for seed in range(MEMBERS)]
        for model, path in zip(models, paths, strict=True):
            save_model(model, path)
        whole = folder / name / "merged"
        save_model(merged(models), whole)
        sides = {
            "one model": paths[:1],
            f"committee of {MEMBERS}": paths,
            "the same merged": [whole],
        }
        for label, members in sides.items():
            atoms = frames[0].copy()
            atoms.calc = MACECalculator(model_paths=members, default_dtype=name)

            def md_step(atoms=atoms):
                atoms.positions[0, 0] += 1e-4
                atoms.get_forces()

            timed[f"MD step, ethanol, {label}, {name}"] = md_step
        graph = batch([graph_of(atoms, Model().r_max, ELEMENTS, dtype) for atoms in frames])

        def training_step(model=models[0], graph=graph):
            out = model(graph, training=True)
            (out.forces.square().sum() + out.energy.sum()).backward()

        timed[f"training step, 5 × ethanol, {name}"] = training_step
    return timed


def main() -> None:
    torch.set_num_threads(1)
    results = HERE / "results"
    timed = works(results / "models")
    milliseconds: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(REPEATS + 3):
        for name, work in timed.items():
            start = time.process_time()
            work()
            if repeat >= 3:  # the first ones compile and allocate
                milliseconds[name].append(1e3 * (time.process_time() - start))
    rows = [
        {"name": name, "ours_ms": {"min": min(ms), "median": statistics.median(ms)}}
        for name, ms in milliseconds.items()
    ]
    (results / "latest.json").write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        ms = row["ours_ms"]
        print(f"{row['name']:45s} min {ms['min']:7.2f}  median {ms['median']:7.2f} ms")


if __name__ == "__main__":
    main()
