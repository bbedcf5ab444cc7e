"""A step of the weights: gradients clipped, the optimiser, and the moving average."""

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from mace_core.ops.backend import Kernels, kernels
from mace_core.train.optimizer import MovingAverage

#: Of the optimiser's state, in the order of ``Weight`` in native/training_step.h.
_STATE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
#: Column of ``Weight`` in which the gradient's address stands.
_GRADIENT = 2


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
        self._state, self._found, self._words = None, None, None

    def __call__(self) -> None:
        native = kernels(*self._parameters)
        gradients = [p.grad for p in self._parameters]
        if native is not None and all(g is not None for g in gradients) and self._find_state():
            self._native(native, gradients)
        else:
            self._torch()
        for parameter in self._parameters:
            parameter.grad = None

    def _find_state(self) -> bool:
        """Write down where weights, states and averages are; False before torch's first step."""
        state = self.optimizer.state
        found = [p.data_ptr() for p in self._parameters], len(state)
        if state is self._state and found == self._found:
            return True
        self._state = None
        if not all(p in state for p in self._parameters):
            return False
        averaged = self.average.averaged if self.average else {}
        words = []
        for parameter in self._parameters:
            own, average = state[parameter], averaged.get(parameter)
            tensors = [own.get(key) for key in _STATE] + [average, own["step"]]
            words.append([parameter.numel(), parameter.data_ptr(), 0])
            words[-1] += [0 if x is None else x.data_ptr() for x in tensors]
        self._words = np.array(words, dtype=np.int64)
        self._state, self._found = state, found
        return True

    def _torch(self) -> None:
        if self.clip_grad is not None:
            clip_grad_norm_(self._parameters, self.clip_grad, foreach=True)
        self.optimizer.step()
        if self.average:
            self.average.update()

    def _native(self, native: Kernels, gradients: list[torch.Tensor]) -> None:
        follow = 1 - self.average.next_decay() if self.average else 0.0
        groups, settings = [], []
        for group in self.optimizer.param_groups:
            groups.append(len(group["params"]))
            decoupled = float(group["decoupled_weight_decay"])
            rate, decay = group["lr"], group["weight_decay"]
            settings.append([rate, *group["betas"], group["eps"], decay, decoupled])
        gradients = [g.contiguous() for g in gradients]
        self._words[:, _GRADIENT] = [g.data_ptr() for g in gradients]
        arrays = np.array(groups), np.array(settings, dtype=np.float64), self._words
        counts, numbers, weights = (array.ctypes.data for array in arrays)
        limit = -1.0 if self.clip_grad is None else self.clip_grad
        native.weight_step(len(groups), counts, numbers, weights, limit, follow)
