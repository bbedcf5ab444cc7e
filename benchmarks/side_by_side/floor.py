"""How much arithmetic energies and forces take: the counted floor.

Counted is what grows with channels, for one evaluation of energy and forces in the formulation of
the native engine: radial functions as splines of six weights, couplings summed over the harmonics
once for each edge and not for each channel, symmetrised products as sums over heads of sums over
tails. A multiply-add counts as two operations. Not counted: harmonics, couplings, splines' weights,
the readout's network, moving data.
"""

from dataclasses import dataclass

from mace_core.inference.tables import layer_tables
from mace_core.model.model import MACE
from mace_core.ops.coupling import dim

SPLINE = 6


@dataclass(frozen=True)
class Work:
    """Millions of operations: along edges, in products, in matrices."""

    edges: float
    products: float
    matrices: float

    @property
    def total(self) -> float:
        return self.edges + self.products + self.matrices


def count(model: MACE, n_atoms: int, n_edges: int) -> Work:
    """Operations of one evaluation of energy and forces, in millions."""
    a = model.architecture
    edges = products = matrices = 0
    for t in range(a.num_interactions):
        last = t == a.num_interactions - 1
        lmax_in, lmax_out = a.max_L if t > 0 else 0, 0 if last else a.max_L
        tables = layer_tables(a.max_ell, lmax_in, lmax_out, a.correlation)
        paths, rows, entries = tables.n_paths, tables.n_rows, tables.n_entries
        forward = SPLINE * paths + entries + rows
        to_radial = 2 * SPLINE * paths + entries + rows + paths
        to_direction = 2 * (entries + rows)  # two angles
        to_features = entries + rows if t > 0 else 0
        edges += forward + to_radial + to_direction + to_features
        factors = tables.head_size  # products that make a head
        forward = tables.n_terms + tables.n_heads * factors
        products += 3 * forward  # and its derivative by each factor: twice as much
        # Linear maps of A, of the messages, of their input, by-pass; there and back.
        maps = rows + dim(lmax_out) + (dim(lmax_in) if t > 0 else 0)
        if t > 0:
            maps += dim(min(lmax_in, lmax_out))
        matrices += 2 * maps
    C = a.num_channels
    unit = 2e-6  # a multiply-add, in millions of operations
    return Work(
        unit * edges * n_edges * C, unit * products * n_atoms * C, unit * matrices * n_atoms * C * C
    )
