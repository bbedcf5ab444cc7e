"""Epochs: optimiser steps, evaluations, and the weights that were best."""

import copy
import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mace_core.config.sections import Train
from mace_core.conventions import MEV
from mace_core.errors import UserError
from mace_core.progress import Progress
from mace_core.storage import derived_seed
from mace_core.train.checkpoint import Checkpoint
from mace_core.train.data import Dataset
from mace_core.train.loss import Loss, Residuals
from mace_core.train.metrics import Tally, evaluate
from mace_core.train.optimizer import MovingAverage, new_optimizer
from mace_core.train.schedule import Schedule
from mace_core.train.step import WeightStep


@dataclass
class State:
    """How far a training is: plain numbers, beside the tensors of model and optimiser.

    The order of the frames is drawn from (seed, epoch), so ``epoch`` stands for the state of the
    random numbers too.
    """

    last_epoch: int
    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    stage_two_epoch: int | None = None  # after which stage two began
    best_epoch: int = 0
    best_loss: float = math.inf  # of this stage
    without_progress: int = 0  # evaluations since the best one
    stop: str = ""  # why it ended: max_num_epochs, patience or diverged
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: nn.Module,
    train: Dataset,
    valid: Dataset,
    settings: Train,
    seed: int,
    checkpoint: Checkpoint,
    progress: Progress,
) -> State:
    """Train ``model``; it ends with the weights that were best on the held-out frames.

    Best is the least held-out loss of the averaged weights (``ema``), seen every
    ``eval_interval`` epochs and before the first one; with a second stage, the least since that
    began. A call that finds a checkpoint goes on from it, and on as many threads of one machine it
    ends with bitwise the weights of an unbroken training.

    Args:
        model: a MACE, changed in place. Parameters without ``requires_grad`` stay as they are.
        train: frames of the optimiser's steps.
        valid: held-out frames.
        settings: ``train`` section.
        seed: of the order of the frames.
        checkpoint: where to leave and find the state; not removed here.
        progress: told of every evaluation.

    Raises:
        UserError: the loss is not finite from the beginning.
    """
    training = _Training(model, train, valid, settings, seed)
    found = checkpoint.load(settings.device)
    if found:
        training.restore(found)
        progress.line(f"goes on after epoch {training.state.epoch}")
    else:
        training.evaluate()
    while not training.ended():
        training.run_epoch()
        if training.evaluation_is_due():
            training.evaluate()
            error = training.state.history[-1]["valid_forces_mae_meV_A"]
            progress.update(training.state.epoch, f"valid F {error:.0f} meV/Å")
            training.begin_stage_two_if_due()
            checkpoint.save(training.snapshot())
    model.load_state_dict(training.best)
    return training.state


class _Training:
    """All that changes while a model trains."""

    def __init__(self, model, train: Dataset, valid: Dataset, settings: Train, seed: int):
        self.model, self.train, self.valid = model, train, valid
        self.settings, self.seed = settings, seed
        self.loss = Loss(settings)
        self.optimizer = new_optimizer(model, settings)
        self.schedule = Schedule(
            self.optimizer, settings, train.steps_per_epoch(settings.batch_size)
        )
        self.average = MovingAverage(model, settings.ema_decay) if settings.ema else None
        self.move = WeightStep(self.optimizer, settings.clip_grad, self.average)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.state = State(last_epoch=settings.max_num_epochs)
        self.clock = time.perf_counter()
        self.best = copy.deepcopy(model.state_dict())
        self._tally()

    def _tally(self) -> None:
        device = self.settings.device
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.errors = Tally()
        self.n_batches = 0

    def run_epoch(self) -> None:
        """One pass over the training frames, in the order that (seed, epoch) gives."""
        self.state.epoch += 1
        stress = self.train.has_stress and self.loss.weights["stress"] > 0
        seed = derived_seed(self.seed, "order", self.state.epoch)
        for indices in self.train.shuffled(self.settings.batch_size, seed):
            graph, targets = self.train.batch(indices)
            out = self.model(graph, forces=True, stress=stress, training=True)
            residuals = Residuals.of(out, targets)
            loss = self.loss(residuals, targets)
            loss.backward(inputs=self.parameters)  # not also those of the positions
            self.move()
            self.schedule.after_step()
            self.loss_sum += loss.detach()
            self.errors.add(residuals, targets)
            self.n_batches += 1
            self.state.steps += 1
        self.schedule.after_epoch()

    def evaluation_is_due(self) -> bool:
        """Every ``eval_interval`` epochs, and at the end of each stage."""
        epoch = self.state.epoch
        ends = epoch == self.state.last_epoch or epoch == self.settings.stage_two_epoch
        return ends or epoch % self.settings.eval_interval == 0

    def evaluate(self) -> None:
        """Score the held-out frames, step the schedule, keep the weights if they are the best."""
        state = self.state
        model = self.average.module if self.average else self.model
        errors = evaluate(model, self.valid, self.loss)
        now = time.perf_counter()
        state.seconds, self.clock = state.seconds + now - self.clock, now
        seen = self.errors.means()
        state.history.append(
            {
                "epoch": state.epoch,
                "loss": float(self.loss_sum) / self.n_batches if self.n_batches else math.nan,
                "valid_loss": errors["loss"],
                "lr": self.optimizer.param_groups[0]["lr"],
                "train_energy_mae_meV_atom": seen["energy_mae"] / MEV,
                "train_forces_mae_meV_A": seen["forces_mae"] / MEV,
                "valid_energy_mae_meV_atom": errors["energy_mae"] / MEV,
                "valid_forces_mae_meV_A": errors["forces_mae"] / MEV,
                "seconds": state.seconds,
            }
        )
        diverged = self.n_batches and not math.isfinite(float(self.loss_sum))
        self._tally()
        if diverged or not math.isfinite(errors["loss"]):
            self._diverged()
            return
        if errors["loss"] < state.best_loss:
            state.best_loss, state.best_epoch = errors["loss"], state.epoch
            state.without_progress = 0
            self.best = copy.deepcopy(model.state_dict())
        else:
            state.without_progress += 1
        if state.epoch:
            self.schedule.after_evaluation(errors["loss"])

    def begin_stage_two_if_due(self) -> None:
        """Enter stage two after ``stage_two_epoch`` epochs, or when stage one makes no progress.

        Weights, their average and the optimiser's state go on from where they are; loss and
        learning rate are the second stage's, and the best weights are looked for anew.
        """
        state, start = self.state, self.settings.stage_two_epoch
        if start is None or state.stage_two_epoch is not None or state.stop:
            return
        if state.epoch >= start or self._out_of_patience():
            state.stage_two_epoch = state.epoch
            state.last_epoch = state.epoch + self.settings.max_num_epochs - start
            state.best_loss, state.without_progress = math.inf, 0
            self.loss = Loss(self.settings, stage_two=True)
            self.schedule.begin_stage_two()

    def ended(self) -> bool:
        """Whether there is nothing more to do; ``state.stop`` says why."""
        state = self.state
        if not state.stop and state.epoch >= state.last_epoch:
            state.stop = "max_num_epochs"
        elif not state.stop and self._out_of_patience():
            state.stop = "patience"
        return bool(state.stop)

    def _out_of_patience(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.state.without_progress >= patience

    def _diverged(self) -> None:
        if not math.isfinite(self.state.best_loss) and self.state.stage_two_epoch is None:
            raise UserError(
                f"the loss is not finite after {self.state.epoch} epochs",
                mend="look for labels with extreme forces, or lower train.lr",
            )
        self.state.stop = "diverged"
        print(
            f"training diverged in epoch {self.state.epoch}: the weights of epoch "
            f"{self.state.best_epoch} are kept (train.lr may be too high)",
            file=sys.stderr,
        )

    def snapshot(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best,
            "state": dict(vars(self.state)),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a :meth:`snapshot`."""
        self.model.load_state_dict(snapshot["model"])
        if self.average:
            self.average.load_state_dict(snapshot["average"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.schedule.load_state_dict(snapshot["schedule"])
        self.best = snapshot["best"]
        self.state = State(**snapshot["state"])
        self.loss = Loss(self.settings, stage_two=self.state.stage_two_epoch is not None)
