"""A step of the weights: gradients clipped, the optimiser, and the moving average."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from mace_core.ops.backend import Kernels, kernels
from mace_core.train.muon import MOMENTUM
from mace_core.train.optimizer import MovingAverage

#: Of the optimiser's state, in the order of ``Weight`` in native/training_step.h.
_STATE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
#: Columns of ``Weight`` with the addresses of value and gradient.
_VALUE, _GRADIENT = 1, 2


def _blocks(group: dict[str, Any]) -> Iterator[tuple[torch.Tensor, int, int, int, int]]:
    """Weight, how many numbers, where the first one stands, rows and columns of their matrices.

    A weight that is no matrix is one block without rows and columns.
    """
    matrices = group.get("matrices") or [[]] * len(group["params"])
    for weight, rows_of in zip(group["params"], matrices, strict=True):
        if not rows_of:
            yield weight, weight.numel(), 0, 0, 0
        first = 0
        for rows in rows_of:
            n = weight.numel() * rows // sum(rows_of)
            yield weight, n, first, rows, weight.shape[-1]
            first += n


class WeightStep:
    """Moves the weights along their gradients, and lets these go.

    With the native kernels all of it is one call. The state stays that of torch's optimiser, which
    makes the very first step, and all of them where there are no kernels; both give the same
    weights, to rounding.

    Args:
        optimizer: Adam, AdamW or Muon over the parameters that train.
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
        groups = self.optimizer.param_groups
        blocks = [list(_blocks(group)) for group in groups]
        self._counts = np.array([len(of_group) for of_group in blocks])
        blocks = [block for of_group in blocks for block in of_group]
        averaged = self.average.averaged if self.average else {}
        words = []
        for weight, n, first, rows, columns in blocks:
            own, begin = state[weight], first * weight.element_size()
            tensors = [own.get(key) for key in _STATE] + [averaged.get(weight), own.get("step")]
            addresses = [0 if x is None else x.data_ptr() + begin for x in tensors]
            words.append([n, weight.data_ptr() + begin, 0, *addresses, rows, columns])
        self._words = np.array(words, dtype=np.int64)
        which = {p: k for k, p in enumerate(self._parameters)}
        self._gradient_of = np.array([which[block[0]] for block in blocks])
        self._begin = self._words[:, _VALUE] - [block[0].data_ptr() for block in blocks]
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
        settings = []
        for group in self.optimizer.param_groups:
            decoupled = float(group["decoupled_weight_decay"])
            rate, decay = group["lr"], group["weight_decay"]
            settings.append([rate, *group["betas"], group["eps"], decay, decoupled, MOMENTUM])
        gradients = [g.contiguous() for g in gradients]
        addresses = np.array([g.data_ptr() for g in gradients])
        self._words[:, _GRADIENT] = addresses[self._gradient_of] + self._begin
        arrays = self._counts, np.array(settings, dtype=np.float64), self._words
        counts, numbers, weights = (array.ctypes.data for array in arrays)
        limit = -1.0 if self.clip_grad is None else self.clip_grad
        native.weight_step(len(settings), counts, numbers, weights, limit, follow)
