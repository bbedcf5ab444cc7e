"""What moves the weights: groups of parameters, the optimiser, and their moving average."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mace_core.config.sections import Train

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def new_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """The optimiser of ``train.optimizer`` over the parameters that train."""
    return _OPTIMIZERS[settings.optimizer](
        parameter_groups(model, settings.weight_decay),
        lr=settings.lr,
        betas=(settings.beta, 0.999),
        amsgrad=settings.amsgrad,
        fused=True,
    )


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: decay on the linear maps of A and on the products only.

    As mace-torch does: embeddings, radial networks, self-connections and readouts are free.
    Frozen parameters are in neither group.
    """
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            linear = name.startswith("interactions.") and ".linear." in name
            (decayed if linear or name.startswith("products.") else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model that follows its weights: w̄ ← d w̄ + (1 − d) w at every update.

    The decay of the n-th update is d = min(decay, (1 + n)/(10 + n)), as in mace-torch (torch-ema):
    the beginning is forgotten soon. Its state is a part of the state dict.
    """

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], n: torch.Tensor) -> None:
        d = min(decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(averaged, current, 1 - d)

    average = AveragedModel(model, multi_avg_fn=update)
    average.n_averaged.fill_(1)  # at 0 the first update would copy the weights instead
    return average
