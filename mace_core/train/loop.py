"""Epochs: optimiser steps, evaluations, and the weights that were best."""

import copy
import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from mace_core.config.sections import Train
from mace_core.conventions import MEV
from mace_core.errors import UserError
from mace_core.progress import Progress
from mace_core.storage import derived_seed
from mace_core.train.checkpoint import Checkpoint
from mace_core.train.data import Dataset
from mace_core.train.loss import Residuals, squared_errors, weighted_loss

#: Errors that are reported, as :func:`absolute_errors` sums them.
_ERRORS = ("energy_mae", "forces_mae", "forces_rmse", "stress_mae")


@dataclass
class State:
    """How far a training is: plain numbers, beside the tensors of model and optimiser.

    The order of the frames is drawn from (seed, epoch), so ``epoch`` stands for the state of the
    random numbers too.
    """

    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_loss: float = math.inf
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
    ``eval_interval`` epochs and before the first one. A call that finds a checkpoint goes on from
    it, and on one thread of one machine ends with bitwise the weights of an unbroken training.

    Args:
        model: a MACE, changed in place.
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
        while True:
            training.run_epoch()
            epoch = training.state.epoch
            if epoch % settings.eval_interval == 0 or epoch == settings.max_num_epochs:
                break
        training.evaluate()
        error = training.state.history[-1]["valid_forces_mae_meV_A"]
        progress.update(epoch, f"valid F {error:.0f} meV/Å")
        checkpoint.save(training.snapshot())
    model.load_state_dict(training.best)
    return training.state


def evaluate(model: nn.Module, data: Dataset, settings: Train) -> dict[str, float]:
    """Loss and errors of a model on a data set.

    Returns:
        ``loss``; ``energy_mae`` (eV/atom), ``forces_mae`` and ``forces_rmse`` (eV/Å, over
        components), ``stress_mae`` (eV/Å³), each over what is labelled and 0 where nothing is.
    """
    sums = torch.zeros(3, dtype=torch.float64, device=settings.device)
    numbers = [0, 0, 0]
    tally = torch.zeros(8, dtype=torch.float64, device=settings.device)
    for graph, targets in data.large_batches:
        out = model(graph, forces=True, stress=data.has_stress)
        residuals = Residuals.of(out, targets)
        for index, (total, number) in enumerate(squared_errors(residuals, targets)):
            sums[index] += total.detach()
            numbers[index] += number
        tally += absolute_errors(residuals, targets)
    weights = (settings.energy_weight, settings.forces_weight, settings.stress_weight)
    loss = sum(w * s / n for w, s, n in zip(weights, sums.tolist(), numbers, strict=True) if n)
    return {"loss": loss, **means(tally)}


def absolute_errors(residuals: Residuals, targets) -> torch.Tensor:
    """[8] sums over labelled terms: |ΔE/n|, |ΔF|, ΔF², |Δσ|, then the four numbers of terms."""
    energy = residuals.energy.detach(), targets.energy_weight != 0
    forces = residuals.forces.detach(), (targets.forces_weight != 0).expand(-1, 3)
    if residuals.stress is None:
        stress = torch.zeros_like(targets.stress), torch.zeros_like(targets.stress).bool()
    else:
        stress = residuals.stress.detach(), (targets.stress_weight != 0).expand(-1, 3, 3)
    terms = [
        (energy[0].abs(), energy[1]),
        (forces[0].abs(), forces[1]),
        (forces[0].square(), forces[1]),
        (stress[0].abs(), stress[1]),
    ]
    values = [(value * labelled).sum() for value, labelled in terms]
    return torch.stack([v.double() for v in values + [labelled.sum() for _, labelled in terms]])


def means(tally: torch.Tensor) -> dict[str, float]:
    """Errors from the sums of :func:`absolute_errors`."""
    sums, numbers = tally.view(2, 4).tolist()
    errors = {
        key: total / max(1.0, number)
        for key, total, number in zip(_ERRORS, sums, numbers, strict=True)
    }
    errors["forces_rmse"] = math.sqrt(errors["forces_rmse"])
    return errors


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: decay on the linear maps of A and on the products only.

    As mace-torch does: embeddings, radial networks, self-connections and readouts are free.
    """
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        linear = name.startswith("interactions.") and ".linear." in name
        (decayed if linear or name.startswith("products.") else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


class _Training:
    """All that changes while a model trains."""

    def __init__(self, model, train: Dataset, valid: Dataset, settings: Train, seed: int):
        self.model, self.train, self.valid = model, train, valid
        self.settings, self.seed = settings, seed
        groups = parameter_groups(model, settings.weight_decay)
        self.optimizer = torch.optim.Adam(groups, lr=settings.lr, amsgrad=True, fused=True)
        self.scheduler = ReduceLROnPlateau(
            self.optimizer, factor=settings.lr_factor, patience=settings.scheduler_patience
        )
        self.average = None
        if settings.ema:
            self.average = AveragedModel(model, multi_avg_fn=self._moving_average)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.state = State()
        self.clock = time.perf_counter()
        self.best = copy.deepcopy(model.state_dict())
        self.stress = train.has_stress and settings.stress_weight > 0
        self._tally()

    def _tally(self) -> None:
        device = self.settings.device
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.error_sums = torch.zeros(8, dtype=torch.float64, device=device)
        self.n_batches = 0

    def run_epoch(self) -> None:
        """One pass over the training frames, in the order that (seed, epoch) gives."""
        self.state.epoch += 1
        seed = derived_seed(self.seed, "order", self.state.epoch)
        for indices in self.train.shuffled(self.settings.batch_size, seed):
            graph, targets = self.train.batch(indices)
            self.optimizer.zero_grad(set_to_none=True)
            out = self.model(graph, forces=True, stress=self.stress, training=True)
            residuals = Residuals.of(out, targets)
            loss = weighted_loss(residuals, targets, self.settings)
            loss.backward()
            clip_grad_norm_(self.parameters, self.settings.clip_grad, foreach=True)
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.model)
            self.loss_sum += loss.detach()
            self.error_sums += absolute_errors(residuals, targets)
            self.n_batches += 1
            self.state.steps += 1

    def _moving_average(self, averaged, current, _) -> None:
        """EMA whose decay rises to ``ema_decay`` as (1 + n)/(10 + n): it forgets the beginning."""
        n = self.state.steps
        decay = min(self.settings.ema_decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def evaluate(self) -> None:
        """Score the held-out frames, step the schedule, keep the weights if they are the best."""
        state = self.state
        model = self.average.module if self.average else self.model
        errors = evaluate(model, self.valid, self.settings)
        now = time.perf_counter()
        state.seconds, self.clock = state.seconds + now - self.clock, now
        seen = means(self.error_sums) if self.n_batches else dict.fromkeys(_ERRORS, math.nan)
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
            self.scheduler.step(errors["loss"])

    def ended(self) -> bool:
        """Whether there is nothing more to do; ``state.stop`` says why."""
        state = self.state
        if not state.stop and state.epoch >= self.settings.max_num_epochs:
            state.stop = "max_num_epochs"
        elif not state.stop and state.without_progress >= self.settings.patience:
            state.stop = "patience"
        return bool(state.stop)

    def _diverged(self) -> None:
        if not math.isfinite(self.state.best_loss):
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
            "scheduler": self.scheduler.state_dict(),
            "best": self.best,
            "state": dict(vars(self.state)),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a :meth:`snapshot`."""
        self.model.load_state_dict(snapshot["model"])
        if self.average:
            self.average.load_state_dict(snapshot["average"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scheduler.load_state_dict(snapshot["scheduler"])
        self.best = snapshot["best"]
        self.state = State(**snapshot["state"])
