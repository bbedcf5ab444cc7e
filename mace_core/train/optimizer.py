"""What moves the weights: groups of parameters, the optimiser, and their moving average."""

import copy
from typing import Any

import torch
from torch import nn

from mace_core.config.sections import Train
from mace_core.train.muon import Muon, with_matrices_apart
from mace_core.train.plain import without_compile_guards

_OPTIMIZERS = {
    "adam": without_compile_guards(torch.optim.Adam),
    "adamw": without_compile_guards(torch.optim.AdamW),
    "muon": Muon,
}


def new_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """The optimiser of ``train.optimizer`` over the parameters that train."""
    groups = parameter_groups(model, settings.weight_decay)
    if settings.optimizer == "muon":
        groups = with_matrices_apart(model, groups)
    return _OPTIMIZERS[settings.optimizer](
        groups,
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


class MovingAverage:
    """A copy of a model that follows its weights: w̄ ← d w̄ + (1 − d) w at every update.

    The decay of the n-th update is d = min(decay, (1 + n)/(10 + n)), as in mace-torch (torch-ema):
    the beginning is forgotten soon. (torch's AveragedModel does the same, at ten times the cost of
    an update.)

    Args:
        model: whose weights are followed.
        decay: of one update.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.module = copy.deepcopy(model)
        self.decay, self.updates = decay, 0
        pairs = zip(model.parameters(), self.module.parameters(), strict=True)
        #: From each weight that trains to its average.
        self.averaged = {p: mean for p, mean in pairs if p.requires_grad}

    @torch.no_grad()
    def update(self) -> None:
        """The weights have changed."""
        follow = 1 - self.next_decay()
        torch._foreach_lerp_(list(self.averaged.values()), list(self.averaged), follow)

    def next_decay(self) -> float:
        """d of an update, which is counted."""
        self.updates += 1
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]
