"""The learning rate over a training, and when its second stage begins."""

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau

from mace_core.config.sections import Train


class Schedule:
    """Changes the optimiser's learning rate in stage one; that of stage two is constant.

    Args:
        optimizer: whose learning rate changes.
        settings: ``train`` section.
        steps_per_epoch: optimiser steps.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Train, steps_per_epoch: int):
        self.optimizer, self.name = optimizer, settings.scheduler
        self.stage_two_lr = settings.stage_two_lr
        if self.name == "ReduceLROnPlateau":
            self.scheduler = ReduceLROnPlateau(
                optimizer, factor=settings.lr_factor, patience=settings.scheduler_patience
            )
        elif self.name == "ExponentialLR":
            self.scheduler = ExponentialLR(optimizer, gamma=settings.lr_scheduler_gamma)
        else:
            epochs = settings.stage_two_epoch or settings.max_num_epochs
            self.scheduler = LambdaLR(optimizer, cosine(epochs * steps_per_epoch))
        self.stage_two = False

    def after_step(self) -> None:
        """An optimiser step was made."""
        if self.name == "CosineAnnealingLR" and not self.stage_two:
            self.scheduler.step()

    def after_epoch(self) -> None:
        """An epoch has ended."""
        if self.name == "ExponentialLR" and not self.stage_two:
            self.scheduler.step()

    def after_evaluation(self, loss: float) -> None:
        """The held-out frames were scored."""
        if self.name == "ReduceLROnPlateau" and not self.stage_two:
            self.scheduler.step(loss)

    def begin_stage_two(self) -> None:
        """Stage two begins, as mace-torch's SWALR with one epoch of annealing does it: at once."""
        self.stage_two = True
        for group in self.optimizer.param_groups:
            group["lr"] = self.stage_two_lr

    def state_dict(self) -> dict[str, Any]:
        return {"scheduler": self.scheduler.state_dict(), "stage_two": self.stage_two}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state["scheduler"])
        self.stage_two = state["stage_two"]


def cosine(n_steps: int):
    """Factor of the learning rate at a step, from 1 to 0 (arXiv 1608.03983, eq. 5)."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step, n_steps) / n_steps))
