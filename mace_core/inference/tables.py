"""What the kernels have to know of a layer's equations: paths, couplings, monomials."""

import functools

import numpy as np

from mace_core.inference.structs import LayerTables, integers
from mace_core.ops.a_basis import Paths
from mace_core.ops.b_basis import Terms, split
from mace_core.ops.clebsch_gordan import clebsch_gordan
from mace_core.ops.coupling import dim


class TermOrder:
    """The monomials of a product in the kernels' order.

    Attributes:
        terms: in their own order.
        order: [T] which term comes where.
        heads: [n_heads, ν] output and all variables but one; sorted by output.
        head_start: [n_heads + 1] range of terms of each head.
        tails: [T] the one variable left.
    """

    def __init__(self, max_ell: int, lmax_out: int, correlation: int):
        self.terms = Terms.build(max_ell, lmax_out, correlation)
        heads, head_of_term, tails = split(self.terms.outputs, self.terms.monomials)
        by_output = np.lexsort(heads.T[::-1])
        rank = np.argsort(by_output)
        self.order = np.lexsort((tails, rank[head_of_term]))
        self.heads = heads[by_output]
        self.tails = tails[self.order]
        counts = np.bincount(head_of_term, minlength=len(heads))[by_output]
        self.head_start = np.concatenate([[0], np.cumsum(counts)])


@functools.lru_cache(maxsize=16)
def term_order(max_ell: int, lmax_out: int, correlation: int) -> TermOrder:
    return TermOrder(max_ell, lmax_out, correlation)


def path_order(max_ell: int, lmax_in: int) -> list[int]:
    """The kernels' order of paths, by l1, in places of the model's."""
    return [p for own in Paths.build(lmax_in, max_ell).of_l1 for p in own]


@functools.lru_cache(maxsize=16)
def layer_tables(max_ell: int, lmax_in: int, lmax_out: int, correlation: int) -> LayerTables:
    """The tables of one layer, which do not depend on weights or number of channels."""
    paths = Paths.build(lmax_in, max_ell)
    row_of_l = np.cumsum([0, *((2 * l + 1) * n for l, n in enumerate(paths.of_l3))])
    seen = [0] * (max_ell + 1)  # paths into each l3 so far
    place = []
    for _, _, l3 in paths.paths:
        place.append(seen[l3])
        seen[l3] += 1
    table, entries = [], []
    for own in paths.of_l1:
        for p in own:
            l1, l2, l3 = paths.paths[p]
            row, step = row_of_l[l3] + place[p], paths.of_l3[l3]
            table.append((l1, l3, row, step, len(entries)))
            cg = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5
            for m3 in range(2 * l3 + 1):
                for m1 in range(2 * l1 + 1):
                    entries.append([(l2 * l2 + m, c) for m, c in enumerate(cg[m1, :, m3]) if c])
    terms = term_order(max_ell, lmax_out, correlation)
    outputs = np.arange(dim(lmax_out) + 1)
    return LayerTables(
        lmax_in=lmax_in,
        lmax_out=lmax_out,
        n_paths=len(table),
        n_rows=int(row_of_l[-1]),
        n_entries=len(entries),
        paths=integers(table),
        paths_from=integers(np.cumsum([0, *map(len, paths.of_l1)])),
        entry_start=integers(np.cumsum([0, *map(len, entries)])),
        entry_component=integers([m for entry in entries for m, _ in entry]),
        entry_value=np.array([c for entry in entries for _, c in entry]),
        row_of_l=integers(row_of_l[:-1]),
        paths_of_l=integers(paths.of_l3),
        n_heads=len(terms.heads),
        n_terms=len(terms.tails),
        head_size=terms.heads.shape[1] - 1,
        output_start=integers(np.searchsorted(terms.heads[:, 0], outputs)),
        head_variables=integers(terms.heads[:, 1:]),
        head_start=integers(terms.head_start),
        term_variable=integers(terms.tails),
    )
