"""Equivariant linear maps: channels mix, components (l, m) do not.

    y[i, (l m), :] = Σ_path x[i, (l m path), :] W[z_i, l][path, :, :]

It is trilinear in x, W and the cotangent of y, so that the gradients' gradients are sums of the
same three functions (``training_linear.h``).
"""

from collections.abc import Sequence

import numpy as np
import torch

from mace_core.ops.backend import contiguous, kernels, last_derivative, pointer, wanted


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
    """

    def __init__(
        self,
        paths_of_l: Sequence[int],
        channels_in: int,
        channels_out: int,
        n_rows: int | None = None,
        n_elements: int | None = None,
    ):
        self.paths_of_l = list(paths_of_l)
        self.channels_out = channels_out
        self.rows_of_l = [(2 * l + 1) * paths for l, paths in enumerate(paths_of_l)]
        self.fan_in = [paths * channels_in for paths in paths_of_l]
        self.n_rows = n_rows or len(self.paths_of_l) ** 2
        groups = n_elements or 1
        sizes = np.array(self.fan_in) * channels_out
        first = groups * (np.cumsum(sizes) - sizes)
        self._place = (first + np.arange(groups)[:, None] * sizes).astype(np.int64)
        self._paths = np.array(self.paths_of_l, dtype=np.int64)

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
            return _Linear.apply(x, weight, self, [len(x)] if counts is None else counts)
        return self._torch(x, weight, counts)

    def _torch(self, x, weight, counts):
        if counts is None:
            matrices = weight.split(self.fan_in)
            parts = [
                part.reshape(len(x), 2 * l + 1, len(matrix)) @ matrix
                for l, (part, matrix) in enumerate(
                    zip(x.split(self.rows_of_l, dim=1), matrices, strict=True)
                )
            ]
        else:
            present = [z for z, count in enumerate(counts) if count]
            of_element = x.split([counts[z] for z in present])
            parts = []
            for l, matrices in enumerate(weight[:, present]):
                rows = slice(l * l, (l + 1) ** 2)
                products = [x_z[:, rows] @ W for x_z, W in zip(of_element, matrices, strict=True)]
                parts.append(torch.cat(products) if products else x[:, rows])
        missing = self.n_rows - sum(part.shape[1] for part in parts)
        if missing:
            parts.append(x.new_zeros(len(x), missing, self.channels_out))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def forward(self, x, weight, counts):
        """y, by the kernel."""
        complete = self.n_rows == len(self.paths_of_l) ** 2 and all(self.paths_of_l)
        new = x.new_empty if complete else x.new_zeros
        y = new(len(x), self.n_rows, self.channels_out)
        self._run("linear_forward", x, (x, weight, y), counts)
        return y

    def of_x(self, g, weight, x, counts):
        """Gradient with respect to x, by the kernel."""
        complete = sum(self.rows_of_l) == x.shape[1]
        result = torch.empty_like(x) if complete else torch.zeros_like(x)
        self._run("linear_backward", x, (g, weight, result), counts)
        return result

    def of_weight(self, x, g, weight, counts):
        """Gradient with respect to the weight, by the kernel."""
        result = torch.zeros_like(weight)
        self._run("linear_weights", x, (x, g, result), counts)
        return result

    def _run(self, name, x, operands, counts) -> None:
        counts = np.array(counts, dtype=np.int64)
        sizes = [len(counts), len(self.paths_of_l), x.shape[2], self.channels_out]
        words = [a.ctypes.data for a in (counts, self._paths, self._place)]
        shape = np.array([*sizes, x.shape[1], self.n_rows, *words], dtype=np.int64)
        getattr(kernels(x), name)(shape.ctypes.data, *map(pointer, operands))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, linear, counts):
        x, weight = contiguous(x, weight)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.linear, ctx.counts = linear, counts
        return linear.forward(x, weight, counts)

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return (None,) * 4
        which = wanted(ctx)
        gradients = _LinearGradient.apply(*ctx.saved_tensors, g, ctx.linear, ctx.counts, which)
        return *gradients, None, None


class _LinearGradient(torch.autograd.Function):
    """Gradients with respect to x and the weight; None where not wanted."""

    @staticmethod
    def forward(ctx, x, weight, g, linear, counts, which):
        (g,) = contiguous(g)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, g)
        ctx.linear, ctx.counts = linear, counts
        of_x = linear.of_x(g, weight, x, counts) if which[0] else None
        of_weight = linear.of_weight(x, g, weight, counts) if which[1] else None
        return of_x, of_weight

    @staticmethod
    @last_derivative
    def backward(ctx, u, Q):
        x, weight, g = ctx.saved_tensors
        linear, counts = ctx.linear, ctx.counts
        u, Q = contiguous(u, Q)
        for_x, for_weight, for_g = wanted(ctx)
        of_x = of_weight = of_g = None
        if u is not None and for_weight:
            of_weight = linear.of_weight(u, g, weight, counts)
        if u is not None and for_g:
            of_g = linear.forward(u, weight, counts)
        if Q is not None and for_x:
            of_x = linear.of_x(g, Q, x, counts)
        if Q is not None and for_g:
            of_Q = linear.forward(x, Q, counts)
            of_g = of_Q if of_g is None else of_g + of_Q
        return of_x, of_weight, of_g, None, None, None
