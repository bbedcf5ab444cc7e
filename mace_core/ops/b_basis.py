"""The B-basis: symmetric polynomials of A with element-dependent coefficients.

    B[i, o, k] = Σ_t coefficients[z_i, t, k] Π_ν A[i, monomial_t, k]      (output o of term t)

This is eq. 10 and 11 of arXiv 2206.07697: with all factors equal, the sum over η of W U A⊗…⊗A is
a polynomial in A, and :mod:`mace_core.ops.coupling` lists its distinct monomials.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from mace_core.ops import b_basis_native
from mace_core.ops.backend import kernels
from mace_core.ops.coupling import coupling, dim, monomials

#: Below this a coefficient of a monomial is rounding: exact ones are at least 1e-3.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Terms:
    """A sparse polynomial's terms, all padded to the same degree ν by a constant variable.

    Attributes:
        monomials: [T, ν]; 0 is the constant 1, 1 + a is component a of A. Rows are sorted.
        outputs: [T], the component (L, M) that a term adds to.
        columns: [T, Q]: the terms' coefficients for each of the Q product weights.
        n_paths: {(L, ν): number of product weights}, in the order of ``columns``.
    """

    monomials: np.ndarray
    outputs: np.ndarray
    columns: np.ndarray
    n_paths: dict[tuple[int, int], int]

    @classmethod
    def build(cls, max_ell: int, max_L: int, correlation: int) -> "Terms":
        """Terms of all outputs up to ``max_L`` and orders up to ``correlation``."""
        rows, outputs, blocks, n_paths = [], [], [], {}
        for L in range(max_L + 1):
            for nu in range(1, correlation + 1):
                table = coupling(max_ell, L, nu)  # [2L+1, M, q]
                if table.shape[-1] == 0:
                    continue
                n_paths[L, nu] = table.shape[-1]
                kept = np.argwhere(np.abs(table).max(axis=-1, initial=0.0) > NEGLIGIBLE)
                padded = np.pad(monomials(dim(max_ell), nu) + 1, ((0, 0), (correlation - nu, 0)))
                outputs.append(L * L + kept[:, 0])
                rows.append(padded[kept[:, 1]])
                blocks.append(table[kept[:, 0], kept[:, 1]])
        columns = np.zeros((sum(len(b) for b in blocks), sum(n_paths.values())))
        t = q = 0
        for block in blocks:
            columns[t : t + block.shape[0], q : q + block.shape[1]] = block
            t, q = t + block.shape[0], q + block.shape[1]
        return cls(np.concatenate(rows), np.concatenate(outputs), columns, n_paths)


class BBasis(torch.nn.Module):
    """Evaluates the polynomial: natively twice differentiable, in torch as often as needed.

    Each term is split into a head of ν − 1 variables and a tail of one. Few different heads (with
    their output) serve all terms; the sum over tails is a matrix product for each channel and
    element. So nothing of size atoms × terms × channels is ever made. In torch, variables are
    picked by products with 0/1 matrices, whose derivatives are again matrix products.
    """

    def __init__(self, terms: Terms, n_variables: int, n_outputs: int, dtype: torch.dtype):
        super().__init__()
        heads, head_of_term, tails = split(terms.outputs, terms.monomials)
        self.n_heads, self.n_outputs = len(heads), n_outputs
        self.tables = None
        if heads.shape[1] - 1 <= b_basis_native.MAX_HEAD_VARIABLES:
            self.tables = b_basis_native.tables(heads, head_of_term, tails, n_variables, n_outputs)
        picks = np.zeros((heads.shape[1] - 1, n_variables + 1, self.n_heads))
        for k in range(len(picks)):
            picks[k, heads[:, k + 1], np.arange(self.n_heads)] = 1
        to_output = np.zeros((self.n_heads, n_outputs))
        to_output[np.arange(self.n_heads), heads[:, 0]] = 1
        place = tails * self.n_heads + head_of_term  # of a term in [variable, head]

        def constant(name, value, as_type=dtype):
            self.register_buffer(name, torch.as_tensor(value).to(as_type), persistent=False)

        constant("picks", picks)
        constant("to_output", to_output)
        constant("place", place, torch.int64)

    def forward(
        self, A: torch.Tensor, coefficients: torch.Tensor, counts: list[int]
    ) -> torch.Tensor:
        """[n_atoms, D, C], [n_elements, T, C] → [n_atoms, n_outputs, C]; see :func:`b_basis`."""
        if self.tables is not None and kernels(A, coefficients) is not None:
            return b_basis_native.BBasisNative.apply(
                A, coefficients, counts, self.tables, self.n_outputs
            )
        return b_basis(
            A, coefficients, counts, self.place, list(self.picks.unbind()), self.to_output
        )


def b_basis(
    A: torch.Tensor,
    coefficients: torch.Tensor,
    counts: list[int],
    place: torch.Tensor,
    picks: list[torch.Tensor],
    to_output: torch.Tensor,
) -> torch.Tensor:
    """The polynomial in plain torch; differentiable as often as needed.

    Args:
        A: [n_atoms, D, C], atoms sorted by element.
        coefficients: [n_elements, T, C].
        counts: number of atoms of each element; 0 where there are none.
        place: [T] where a term's coefficient stands among [D + 1 tails, n_heads].
        picks: ν − 1 matrices [D + 1, n_heads] of 0 and 1: the head's variables.
        to_output: [n_heads, n_outputs] of 0 and 1.

    Returns:
        [n_atoms, n_outputs, C].
    """
    n_atoms, n_variables, channels = A.shape
    n_heads = len(to_output)
    x = torch.cat([A.new_ones(n_atoms, 1, channels), A], dim=1)
    x = x.permute(2, 0, 1).contiguous()  # [C, n_atoms, 1 + D]
    present = [z for z, count in enumerate(counts) if count]
    tail_weights = A.new_zeros(len(present), channels, (n_variables + 1) * n_heads).index_copy(
        2, place, coefficients[present].transpose(1, 2)
    )
    of_element = x.split([counts[z] for z in present], dim=1)
    sums = torch.cat(
        [
            torch.bmm(atoms, weights.view(channels, -1, n_heads))
            for atoms, weights in zip(of_element, tail_weights, strict=True)
        ],
        dim=1,
    )  # [C, n_atoms, n_heads]
    for pick in picks:
        sums = sums * (x @ pick)
    return (sums @ to_output).permute(1, 2, 0).contiguous()


def split(outputs: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits terms into heads and tails, greedily taking the head that serves most terms.

    Returns:
        heads [n_heads, ν] (output, variables); head and tail of each term [T], [T].
    """
    serves = defaultdict(dict)  # head -> {term: its tail}
    for t, (output, row) in enumerate(zip(outputs.tolist(), rows.tolist(), strict=True)):
        for k, tail in enumerate(row):
            serves[(output, *row[:k], *row[k + 1 :])][t] = tail
    heads_of_term = defaultdict(list)
    for head, terms in serves.items():
        for t in terms:
            heads_of_term[t].append(head)
    chosen, head_of_term, tails = [], np.zeros(len(rows), int), np.zeros(len(rows), int)
    while serves:
        head = max(serves, key=lambda head: (len(serves[head]), head))
        for t, tail in list(serves[head].items()):
            head_of_term[t], tails[t] = len(chosen), tail
            for other in heads_of_term[t]:
                serves[other].pop(t)
        chosen.append(head)
        serves = {head: terms for head, terms in serves.items() if terms}
    return np.array(chosen), head_of_term, tails
