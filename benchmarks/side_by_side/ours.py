"""maceloop's side."""

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from ase.io import read
from moves import Moves

from mace_core.calculator import MACECalculator
from mace_core.committee import Committee
from mace_core.config.sections import Train
from mace_core.inference.pairs import Pairs
from mace_core.model.files import load_model
from mace_core.train.data import Dataset
from mace_core.train.loss import Loss, Residuals
from mace_core.train.metrics import Tally, evaluate
from mace_core.train.optimizer import MovingAverage, new_optimizer
from mace_core.train.schedule import Schedule
from mace_core.train.step import WeightStep

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def gemm(dtype: str, n: int = 1024, repeats: int = 8) -> dict:
    """What one core does in plain matrix products, GFLOP/s."""
    x = torch.ones(n, n, dtype=getattr(torch, dtype))
    x @ x
    return {"GFLOP/s": 2e-6 * n**3 / min(milliseconds(lambda: x @ x) for _ in range(repeats))}


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


class MD:
    """Steps of MD with the ASE calculator; of a committee with mean and spread of the forces."""

    def __init__(self, models: list[str], frames: str, dtype: str):
        self.atoms = read(frames)
        self.atoms.calc = MACECalculator(model_paths=models, default_dtype=dtype)
        self.moves = Moves(self.atoms)
        self.several = len(models) > 1

    def step(self) -> None:
        self.moves.move(self.atoms)
        self.atoms.get_potential_energy()
        self.atoms.get_forces()
        if self.several:
            self.spread = self.atoms.calc.results["forces_std"]

    def search_again(self) -> None:
        self.atoms.calc._follower.neighbours.pairs = None
        self.step()

    def check(self) -> dict:
        found = {
            "energy": self.atoms.get_potential_energy(),
            "forces": self.atoms.get_forces().ravel().tolist(),
        }
        if self.several:
            found["spread"] = self.atoms.calc.results["forces_std"].tolist()
        return found

    def parts(self, n: int) -> dict:
        """Least of ``n`` each: a step, the native call in it, one search for neighbours."""
        calculator, positions = self.atoms.calc, self.atoms.positions
        bound, committee = calculator._follower._bound, calculator.committee
        cutoff = calculator._follower.neighbours.cutoff + calculator._follower.neighbours.skin
        work = {
            "step": self.step,
            "kernel": lambda: bound.evaluate(positions),
            "search": lambda: Pairs.build([self.atoms], cutoff, committee.elements),
        }
        return {key: min(milliseconds(do) for _ in range(n)) for key, do in work.items()}


class Training:
    """Steps of training as the training loop does them, its batches in order."""

    def __init__(self, models: list[str], frames: str, dtype: str, batch_size: int):
        self.settings = Train(
            batch_size=batch_size,
            loss="weighted",
            optimizer="adam",
            lr=0.01,
            scheduler="ReduceLROnPlateau",
        )
        self.model = load_model(models[0], getattr(torch, dtype))
        self.data = Dataset(
            read(frames, ":"), self.model.elements, self.model.r_max, self.model.dtype
        )
        n = len(self.data)
        self.batches = [range(k, k + batch_size) for k in range(0, n - batch_size + 1, batch_size)]
        self.loss = Loss(self.settings)
        optimizer = new_optimizer(self.model, self.settings)
        average = MovingAverage(self.model, self.settings.ema_decay)
        self.schedule = Schedule(optimizer, self.settings, len(self.batches))
        self.move = WeightStep(optimizer, self.settings.clip_grad, average)
        self.parameters = list(self.model.parameters())
        self.loss_sum = torch.zeros((), dtype=torch.float64)
        self.errors = Tally()
        self.n = 0

    def step(self) -> None:
        batch = self._batch()
        self._forward(*batch)
        self._backward()
        self._update(*batch)

    def _batch(self):
        self.n += 1
        return self.data.batch(self.batches[(self.n - 1) % len(self.batches)])

    def _forward(self, graph, targets) -> None:
        out = self.model(graph, forces=True, training=True)
        self.residuals = Residuals.of(out, targets)
        self.last = self.loss(self.residuals, targets)

    def _backward(self) -> None:
        self.last.backward(inputs=self.parameters)

    def _update(self, graph, targets) -> None:
        self.move()
        self.schedule.after_step()
        self.loss_sum += self.last.detach()
        self.errors.add(self.residuals, targets)

    def parts(self, n: int) -> dict:
        """Least of ``n`` each, and the largest shares of CPU time by operation."""
        found = {"batch": [], "forward, forces": [], "backward": [], "optimiser": []}
        for _ in range(n):
            batch = self._batch()
            self.n -= 1
            of_parts = (self._batch, lambda: self._forward(*batch), self._backward)  # noqa: B023
            works = (*of_parts, lambda: self._update(*batch))  # noqa: B023
            for times, work in zip(found.values(), works, strict=True):
                times.append(milliseconds(work))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(n):
                self.step()
        events = profile.key_averages()
        total = sum(event.self_cpu_time_total for event in events)
        events = sorted(events, key=lambda event: -event.self_cpu_time_total)[:16]
        return {
            **{key: min(times) for key, times in found.items()},
            "operations": {e.key: round(e.self_cpu_time_total / total, 4) for e in events},
        }

    def check(self) -> dict:
        """The losses of the first steps."""
        losses = []
        for _ in range(4):
            self.step()
            losses.append(float(self.last.detach()))
        return {"losses": losses}


class HeldOut:
    """Loss and errors on all frames, as training scores those that it holds out."""

    def __init__(self, models: list[str], frames: str, dtype: str):
        self.model = load_model(models[0], getattr(torch, dtype))
        frames = read(frames, ":")
        self.data = Dataset(frames, self.model.elements, self.model.r_max, self.model.dtype)
        self.loss = Loss(Train())

    def step(self) -> None:
        self.errors = evaluate(self.model, self.data, self.loss)

    def check(self) -> dict:
        self.step()
        return {"losses": [self.errors["loss"], self.errors["forces_mae"]]}


class Batch:
    """Several frames evaluated in one call, neighbours included: nothing is kept between calls."""

    def __init__(self, models: list[str], frames: str, dtype: str):
        self.frames = read(frames, ":")
        self.committee = Committee.load(models, dtype)

    def step(self) -> None:
        self.predictions = self.committee.predict(self.frames, batch_size=len(self.frames))

    def check(self) -> dict:
        predictions = self.committee.predict(self.frames, batch_size=len(self.frames))
        return {"forces": np.concatenate([p.forces.ravel() for p in predictions]).tolist()}
