"""Equivariant linear maps: channels mix, components (l, m) do not.

    y[i, (l m), :] = f_l Σ_path x[i, (l m path), :] W[z_i, l][path, :, :]

It is trilinear in x, W and the cotangent of y, so that the gradients' gradients are sums of the
same three functions (``training_linear.h``).
"""

from collections.abc import Sequence

import numpy as np
import torch

from mace_core.ops.backend import (
    Gradient,
    Struct,
    contiguous,
    empty_like,
    kernels,
    last_derivative,
    pointers,
    wanted,
)


class LinearMap:
    """Where the matrices of a linear map stand, and how to apply them.

    The weight is [Σ_l paths · C_in, C_out], rows ordered (l, path, channel); with elements it is
    [l, Z, C_in, C_out], and each l has one path.

    Args:
        paths_of_l: how many features of C_in channels stand for each l in the input, in rows
            ordered (l, m, path).
        channels_in: C_in.
        channels_out: C_out.
        n_rows: of the output; those beyond the l in ``paths_of_l`` are zero. Default: none beyond.
        n_elements: Z, if each element has matrices of its own.
        factors: that multiply the matrices of each l. Default: 1.
    """

    def __init__(
        self,
        paths_of_l: Sequence[int],
        channels_in: int,
        channels_out: int,
        n_rows: int | None = None,
        n_elements: int | None = None,
        factors: Sequence[float] | None = None,
    ):
        self.paths_of_l = list(paths_of_l)
        self.channels_in, self.channels_out = channels_in, channels_out
        self.factors = [1.0] * len(self.paths_of_l) if factors is None else list(factors)
        self.rows_of_l = [(2 * l + 1) * paths for l, paths in enumerate(paths_of_l)]
        self.fan_in = [paths * channels_in for paths in paths_of_l]
        self.n_rows = n_rows or len(self.paths_of_l) ** 2
        groups = n_elements or 1
        sizes = np.array(self.fan_in) * channels_out
        first = groups * (np.cumsum(sizes) - sizes)
        self._place = (first + np.arange(groups)[:, None] * sizes).astype(np.int64)
        self._paths = np.array(self.paths_of_l, dtype=np.int64)
        self._factors = np.array(self.factors, dtype=np.float64)
        self._shapes: dict[tuple[int, tuple[int, ...]], Struct] = {}
        self.size = int(groups * sizes.sum())

    def __call__(
        self, x: torch.Tensor, weight: torch.Tensor, counts: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The map; natively twice differentiable.

        Args:
            x: [n, rows, C_in]; with elements, sorted by element, and with rows of more l where they
                are to be left out.
            weight: the matrices.
            counts: with elements, how many atoms each has.

        Returns:
            [n, n_rows, C_out].
        """
        if kernels(x, weight) is not None:
            return _Linear.apply(x, weight, self, (len(x),) if counts is None else tuple(counts))
        return self._torch(x, weight, counts)

    def _torch(self, x, weight, counts):
        if counts is None:
            matrices = weight.split(self.fan_in)
            parts = [
                part.reshape(len(x), 2 * l + 1, len(matrix)) @ (matrix * self.factors[l])
                for l, (part, matrix) in enumerate(
                    zip(x.split(self.rows_of_l, dim=1), matrices, strict=True)
                )
            ]
        else:
            present = [z for z, count in enumerate(counts) if count]
            of_element = x.split([counts[z] for z in present])
            parts = []
            for l, matrices in enumerate(weight[:, present]):
                matrices = matrices * self.factors[l]
                rows = slice(l * l, (l + 1) ** 2)
                products = [x_z[:, rows] @ W for x_z, W in zip(of_element, matrices, strict=True)]
                parts.append(torch.cat(products) if products else x[:, rows])
        missing = self.n_rows - sum(part.shape[1] for part in parts)
        if missing:
            parts.append(x.new_zeros(len(x), missing, self.channels_out))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def shape(self, rows: int, counts: tuple[int, ...]) -> Struct:
        """``LinearShape`` for features of so many rows, and atoms of each element."""
        key = rows, counts
        found = self._shapes.get(key)
        if found is None:
            rows_read, rows_made = sum(self.rows_of_l), len(self.paths_of_l) ** 2
            complete = self.n_rows == rows_made and all(self.paths_of_l)
            sizes = [len(counts), len(self.paths_of_l), self.channels_in, self.channels_out]
            sizes += [rows, self.n_rows, rows > rows_read, not complete]
            sizes += [sum(counts), self.size]
            arrays = [np.array(counts, dtype=np.int64), self._paths, self._place, self._factors]
            if len(self._shapes) > 4096:
                self._shapes.clear()
            found = self._shapes[key] = Struct([int(n) for n in sizes], arrays)
        return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, linear, counts):
        x, weight = contiguous(x, weight)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.kernels, ctx.shape = kernels(x, weight), linear.shape(x.shape[1], counts)
        ctx.size = len(x), linear.n_rows, linear.channels_out
        y = x.new_empty(ctx.size)
        ctx.kernels.linear_forward(ctx.shape.address, *pointers(x, weight, y))
        return y

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return (None,) * 4
        how = ctx.kernels, ctx.shape, wanted(ctx)
        return *_LinearGradient.of(*ctx.saved_tensors, g, *how), None, None


class _LinearGradient(Gradient):
    """Gradients with respect to x and the weight; None where not wanted."""

    @staticmethod
    def forward(ctx, x, weight, g, native, shape, which):
        g = g.contiguous()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, g)
        ctx.kernels, ctx.shape = native, shape
        of_x, of_weight = empty_like(which, x, weight)
        if of_x is not None:
            native.linear_backward(shape.address, *pointers(g, weight, of_x))
        if of_weight is not None:
            native.linear_weights(shape.address, *pointers(x, g, of_weight))
        return of_x, of_weight

    @staticmethod
    @last_derivative
    def backward(ctx, u, Q):
        x, weight, g = ctx.saved_tensors
        run, shape = ctx.kernels, ctx.shape.address
        u, Q = contiguous(u, Q)
        for_x, for_weight, for_g = wanted(ctx)
        of_x = of_weight = of_g = None
        if u is not None and for_weight:
            of_weight = torch.empty_like(weight)
            run.linear_weights(shape, *pointers(u, g, of_weight))
        if u is not None and for_g:
            of_g = torch.empty_like(g)
            run.linear_forward(shape, *pointers(u, weight, of_g))
        if Q is not None and for_x:
            of_x = torch.empty_like(x)
            run.linear_backward(shape, *pointers(g, Q, of_x))
        if Q is not None and for_g:
            of_Q = torch.empty_like(g)
            run.linear_forward(shape, *pointers(x, Q, of_Q))
            of_g = of_Q if of_g is None else of_g + of_Q
        return of_x, of_weight, of_g, None, None, None
