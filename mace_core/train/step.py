"""A step of the weights: gradients clipped, the optimiser, and the moving average."""

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from mace_core.ops.backend import Kernels, kernels
from mace_core.train.optimizer import MovingAverage

#: Of the optimiser's state, in the order of ``Weight`` in native/training_step.h.
_STATE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


class WeightStep:
    """Moves the weights along their gradients, and lets these go.

    With the native kernels all of it is one call. The state stays that of torch's optimiser, which
    makes the very first step, and all of them where there are no kernels; both give the same
    weights, to rounding.

    Args:
        optimizer: Adam or AdamW over the parameters that train.
        clip_grad: largest norm of all gradients together; None leaves them as they are.
        average: follows the weights; may be None.
    """

    def __init__(
        self,
        optimizer: torch.optim.Adam,
        clip_grad: float | None,
        average: MovingAverage | None,
    ):
        self.optimizer, self.clip_grad, self.average = optimizer, clip_grad, average
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def __call__(self) -> None:
        native = kernels(*self._parameters)
        if native is not None and all(self._ready(p) for p in self._parameters):
            self._native(native)
        else:
            self._torch()
        for parameter in self._parameters:
            parameter.grad = None

    def _ready(self, parameter: torch.Tensor) -> bool:
        return parameter.grad is not None and parameter in self.optimizer.state

    def _torch(self) -> None:
        if self.clip_grad is not None:
            clip_grad_norm_(self._parameters, self.clip_grad, foreach=True)
        self.optimizer.step()
        if self.average:
            self.average.update()

    def _native(self, native: Kernels) -> None:
        follow, averaged = 0.0, {}
        if self.average:
            follow = 1 - self.average.next_decay()
            averaged = self.average.averaged
        groups, settings, words, keep = [], [], [], []
        for group in self.optimizer.param_groups:
            groups.append(len(group["params"]))
            decoupled = float(group["decoupled_weight_decay"])
            rate, decay = group["lr"], group["weight_decay"]
            settings.append([rate, *group["betas"], group["eps"], decay, decoupled])
            for parameter in group["params"]:
                state, gradient = self.optimizer.state[parameter], parameter.grad.contiguous()
                keep.append(gradient)
                average = averaged.get(parameter)
                words.append(parameter.numel())
                words += [parameter.data_ptr(), gradient.data_ptr()]
                words += [state[key].data_ptr() if key in state else 0 for key in _STATE]
                words += [0 if average is None else average.data_ptr(), state["step"].data_ptr()]
        arrays = np.array(groups), np.array(settings, dtype=np.float64), np.array(words)
        counts, numbers, weights = (array.ctypes.data for array in arrays)
        limit = -1.0 if self.clip_grad is None else self.clip_grad
        native.weight_step(len(groups), counts, numbers, weights, limit, follow)
