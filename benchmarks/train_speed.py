"""Time of a training step (energies and forces, optimiser included) on one thread.

    OMP_NUM_THREADS=1 python benchmarks/train_speed.py [--frames X.extxyz] [--configurations a c]

Batches of 5 frames of 3BPA. Configurations: a = 64x0e+64x1o, b = 128x0e+128x1o, c = 32x0e; r_max 5,
two interactions, max_ell 3, correlation 3, 8 Bessel functions, radial MLP 64-64-64. Prints
process-CPU milliseconds of a step and of its parts, on the native kernels and on plain torch in
turn, so that a slow moment of the machine falls on both; and writes them to
benchmarks/results/train_speed.json.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from ase.io import read

from mace_core.config.sections import Model, Train
from mace_core.model.model import MACE
from mace_core.ops import backend
from mace_core.train.data import Dataset
from mace_core.train.loss import Loss, Residuals
from mace_core.train.optimizer import MovingAverage, new_optimizer
from mace_core.train.step import WeightStep

HERE = Path(__file__).parent
FRAMES = HERE / "data" / "3bpa_300K_first20.extxyz"
ELEMENTS = [1, 6, 7, 8]
CONFIGURATIONS = {"a": (64, 1), "b": (128, 1), "c": (32, 0)}  # channels, max_L
BATCH = 5
PARTS = ("batch", "forward", "backward", "optimiser")


class Steps:
    """Training steps of one configuration on one back end, timed part by part."""

    def __init__(
        self, configuration: str, frames: Path, dtype: torch.dtype, on: str, optimizer: str
    ):
        channels, max_L = CONFIGURATIONS[configuration]
        architecture = Model(num_channels=channels, max_L=max_L, r_max=5.0, radial_MLP=[64, 64, 64])
        self.on = on
        self.data = Dataset(read(frames, ":20"), ELEMENTS, architecture.r_max, dtype)
        edges = sum(graph.n_edges for graph in self.data.graphs)
        neighbours = edges / sum(graph.n_atoms for graph in self.data.graphs)
        energy = sum(float(target.energy) for target in self.data.targets)
        E0s = dict.fromkeys(ELEMENTS, energy / sum(graph.n_atoms for graph in self.data.graphs))
        self.model = MACE(architecture, ELEMENTS, E0s, neighbours, dtype=dtype)
        settings = Train(batch_size=BATCH, loss="weighted", optimizer=optimizer, lr=0.01)
        self.loss = Loss(settings)
        average = MovingAverage(self.model, settings.ema_decay)
        self.move = WeightStep(new_optimizer(self.model, settings), settings.clip_grad, average)
        self.parameters = list(self.model.parameters())
        self.step = 0
        self.milliseconds: dict[str, list[float]] = {part: [] for part in (*PARTS, "step")}

    def run(self) -> None:
        """One step."""
        with backend.use(self.on):
            times = [time.process_time()]
            first = self.step * BATCH % len(self.data)
            self.step += 1
            graph, targets = self.data.batch(range(first, first + BATCH))
            times.append(time.process_time())
            out = self.model(graph, forces=True, training=True)
            loss = self.loss(Residuals.of(out, targets), targets)
            times.append(time.process_time())
            loss.backward(inputs=self.parameters)
            times.append(time.process_time())
            self.move()
            times.append(time.process_time())
        for part, start, end in zip(PARTS, times[:-1], times[1:], strict=True):
            self.milliseconds[part].append(1e3 * (end - start))
        self.milliseconds["step"].append(1e3 * (times[-1] - times[0]))

    def row(self, name: str) -> dict:
        """Minimum and median of each part."""
        return {
            "name": name,
            **{
                f"{part}_ms": {"min": min(ms), "median": statistics.median(ms)}
                for part, ms in self.milliseconds.items()
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=Path, default=FRAMES, help="labelled frames of C, H, N, O")
    parser.add_argument("--configurations", nargs="+", default=list("abc"), choices=list("abc"))
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--optimizer", default="adam", choices=["adam", "muon"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--backends", nargs="+", default=["native", "torch"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    timed = {
        (c, on): Steps(c, options.frames, dtype, on, options.optimizer)
        for c in options.configurations
        for on in options.backends
    }
    for repeat in range(options.repeats + 3):
        for steps in timed.values():
            steps.run()
            if repeat == 2:  # the first ones allocate
                for ms in steps.milliseconds.values():
                    ms.clear()
    rows = [
        steps.row(f"training step, 5 × 3BPA, {c}, {options.dtype}, {on}")
        for (c, on), steps in timed.items()
    ]
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "train_speed.json").write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(f"{row['name']:54s}", *(f"{p} {row[p + '_ms']['min']:.1f}" for p in PARTS), end="  ")
        print(f"step min {row['step_ms']['min']:.1f} median {row['step_ms']['median']:.1f} ms")


if __name__ == "__main__":
    main()
