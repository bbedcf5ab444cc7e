"""Muon: steps of matrices that are made orthogonal, beside Adam for all other weights.

K. Jordan et al. 2024 (kellerjordan.github.io/posts/muon): the gradients of a matrix are averaged,
and a step is along U Vᵀ where the average is U S Vᵀ, so all its directions are learnt alike. Scaled
so that its elements move as far as Adam's (arXiv 2502.16982, eq. 4), which lets one learning rate
serve both.
"""

import math
from typing import Any

import torch
from torch import nn

from mace_core.model.linear import ElementLinear, Linear
from mace_core.model.radial import RadialMLP
from mace_core.train.plain import without_compile_guards

#: Share of the old average of gradients at a step.
MOMENTUM = 0.95
#: a, b, c of X ← (a + b A + c A²) X with A = X Xᵀ, one after the other. Each is the polynomial that
#: brings the interval of singular values which the one before it left nearest to 1, and the first
#: begins with 0.003 to 1 (arXiv 2505.16932, without its safety factors): ends within 0.2 of 1.
POLYNOMIALS = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
#: Shorter side of what counts as a matrix.
LEAST_SIDE = 8


def matrices_of(model: nn.Module) -> dict[nn.Parameter, list[int]]:
    """Weights [..., m, n] that are maps between hidden channels → rows of their matrices.

    The rows add up to m: a weight that holds the matrices of several l is one matrix for each l.
    Embeddings, readouts and the weights of products are not among them.
    """
    found = {}
    for module in model.modules():
        if isinstance(module, Linear):
            found[module.weight] = [rows for rows in module.fan_in if rows]
        elif isinstance(module, ElementLinear):
            found[module.weight] = [module.weight.shape[-2]]
        elif isinstance(module, RadialMLP):
            found |= {weight: [len(weight)] for weight in module.weights}
    return {w: rows for w, rows in found.items() if min(*rows, w.shape[-1]) >= LEAST_SIDE}


def with_matrices_apart(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of an optimiser, each in two: ``matrices`` are the rows of those in its weights."""
    rows_of = matrices_of(model)
    parted = []
    for group in groups:
        found = [w for w in group["params"] if w in rows_of]
        others = [w for w in group["params"] if w not in rows_of]
        parted.append({**group, "params": found, "matrices": [rows_of[w] for w in found]})
        parted.append({**group, "params": others, "matrices": []})
    return parted


class Muon(without_compile_guards(torch.optim.Adam)):
    """Adam, but for groups with ``matrices``: rows of these in each weight [..., m, n].

    Their state is ``exp_avg``. Weight decay adds to gradients, as Adam's does.
    """

    @torch.no_grad()
    def step(self) -> None:
        """Move all weights that have a gradient."""
        groups = self.param_groups
        for group in groups:
            for weight, rows in zip(group["params"], group["matrices"], strict=False):
                if weight.grad is not None:
                    self._move(weight, rows, group)
        self.param_groups = [group for group in groups if not group["matrices"]]
        try:
            super().step()
        finally:
            self.param_groups = groups

    def _move(self, weight: nn.Parameter, rows: list[int], group: dict) -> None:
        state = self.state[weight]
        if not state:
            state["exp_avg"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # not counted: Adam looks for it in a state it loads
        gradient = weight.grad.add(weight, alpha=group["weight_decay"])
        mean = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        slope = gradient.lerp(mean, MOMENTUM)
        for w, X in zip(weight.split(rows, -2), slope.split(rows, -2), strict=True):
            w.sub_(orthogonal(X), alpha=group["lr"] * 0.2 * math.sqrt(max(X.shape[-2:])))


def orthogonal(X: torch.Tensor) -> torch.Tensor:
    """[..., m, n] with the singular vectors of X [..., m, n] and singular values near 1."""
    if X.shape[-2] > X.shape[-1]:
        return orthogonal(X.mT).mT
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    A = X @ X.mT
    # Bounds the largest singular value, from above and closely.
    X = X / ((A @ A).norm(dim=(-2, -1), keepdim=True) ** 0.25 + 1e-30)
    for a, b, c in POLYNOMIALS:
        A = X @ X.mT
        X = a * X + (b * A + c * A @ A) @ X
    return X
