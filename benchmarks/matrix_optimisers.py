"""An optimiser that sees weights as matrices, to be tried beside Adam (``optimisers.py``).

A weight [..., m, n] is a stack of matrices [m, n]; all stacks of one shape move together.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

#: Quintic that drives singular values towards 1 (Muon, five Newton–Schulz steps).
QUINTIC = 3.4445, -4.7750, 2.0315


class Stacks:
    """Parameters by the shape of their matrices."""

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self.of_shape = defaultdict(list)
        for p in parameters:
            self.of_shape[(1, 1, *p.shape)[-2:]].append(p)

    def gradients(self, shape: tuple[int, int]) -> torch.Tensor:
        """[stack, m, n]."""
        return torch.cat([p.grad.reshape(-1, *shape) for p in self.of_shape[shape]])

    def move(self, shape: tuple[int, int], step: torch.Tensor, lr: float) -> None:
        """Weights −= lr · step, [stack, m, n]."""
        parts = step.split([p.numel() // math.prod(shape) for p in self.of_shape[shape]])
        for p, part in zip(self.of_shape[shape], parts, strict=True):
            p.sub_(part.view_as(p), alpha=lr)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal, in steps as large as Adam's.

    Scaled as in arXiv 2502.16982, equation 4.

    Embeddings, readouts, products and matrices with a side below eight have Adam.

    Args:
        model: all of its weights.
        lr: learning rate.
        beta: of the momentum (Nesterov's).
    """

    def __init__(self, model, lr, beta=0.95):
        super().__init__(model.parameters(), {"lr": lr})
        matrices, others = [], []
        for name, p in model.named_parameters():
            other = any(part in name for part in ("embedding", "readout", ".weights.L"))
            small = min((1, 1, *p.shape)[-2:]) < 8
            (others if other or small else matrices).append(p)
        self.stacks, self.beta, self.momenta = Stacks(matrices), beta, {}
        self.adam = torch.optim.Adam(others, lr=lr, amsgrad=True, fused=True)

    @torch.no_grad()
    def step(self) -> None:
        lr = self.adam.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        self.adam.step()
        for shape in self.stacks.of_shape:
            G = self.stacks.gradients(shape)
            momentum = self.momenta.setdefault(shape, torch.zeros_like(G))
            momentum.lerp_(G, 1 - self.beta)
            step = orthogonal(G.lerp(momentum, self.beta))
            self.stacks.move(shape, step, 0.2 * math.sqrt(max(shape)) * lr)


def orthogonal(X: torch.Tensor) -> torch.Tensor:
    """[stack, m, n] with the singular vectors of X and singular values near 1."""
    if X.shape[-2] > X.shape[-1]:
        return orthogonal(X.mT).mT
    a, b, c = QUINTIC
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    for _ in range(5):
        A = X @ X.mT
        X = a * X + (b * A + c * A @ A) @ X
    return X
