"""Screened repulsion of nuclei at short distances."""

from collections.abc import Sequence

import torch

from mace_core.model.cutoff import polynomial_cutoff
from mace_core.model.transform import radii_of

#: φ(x) = Σ_k c_k exp(−d_k x); the d_k. The c_k, a buffer, may differ between models.
DECAYS = (3.2, 0.9423, 0.4028, 0.2016)
#: e²/4πε₀ in eV Å, and the Bohr radius in Å, to the digits of mace-torch.
COULOMB, BOHR = 14.3996, 0.529


class ZBLRepulsion(torch.nn.Module):
    """Σ_j ½ Z_i Z_j e²/(4πε₀ r) φ(r/a) f_cut, a = 0.4543 a₀ / (Z_i^0.3 + Z_j^0.3).

    Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids (1985).
    The envelope ends it at the sum of the two covalent radii.

    Args:
        elements: atomic numbers in the order of the model.
        p: order of the envelope.
        dtype: of the constants.
    """

    def __init__(self, elements: Sequence[int], p: int, dtype: torch.dtype):
        super().__init__()
        self.p = p

        def constant(name: str, value, persistent: bool = True) -> None:
            value = torch.as_tensor(value, dtype=dtype)
            self.register_buffer(name, value, persistent=persistent)

        constant("c", [0.1818, 0.5099, 0.2802, 0.02817])
        constant("a_exp", 0.300)
        constant("a_prefactor", 0.4543)
        constant("covalent_radii", radii_of(elements, dtype))
        constant("atomic_numbers", list(elements), persistent=False)
        constant("decays", DECAYS, persistent=False)

    def forward(
        self, r: torch.Tensor, species: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        """Half of the repulsion of each atom's pairs.

        Args:
            r: [n_edges] Å.
            species: [n_atoms].
            edge_index: [2, n_edges], receivers first.

        Returns:
            [n_atoms] eV.
        """
        i, j = species.index_select(0, edge_index.reshape(-1)).view(2, -1)
        Z_i, Z_j = self.atomic_numbers.index_select(0, i), self.atomic_numbers.index_select(0, j)
        size = self.covalent_radii.index_select(0, i) + self.covalent_radii.index_select(0, j)
        a = self.a_prefactor * BOHR / (Z_i**self.a_exp + Z_j**self.a_exp)
        phi = torch.exp(-(r / a).unsqueeze(1) * self.decays) @ self.c
        of_edge = 0.5 * COULOMB * Z_i * Z_j / r * phi * polynomial_cutoff(r / size, self.p)
        return r.new_zeros(len(species)).index_add(0, edge_index[0], of_edge)
