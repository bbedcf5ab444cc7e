"""From the A-basis to the next node features: many-body products and update.

arXiv 2206.07697, eq. 10 to 12: B = Σ_η U_η A ⊗ … ⊗ A, m = Σ W_z B, h' = W m + W_z h.
"""

import torch

from mace_core.model.initial import normal
from mace_core.model.linear import Linear
from mace_core.ops.b_basis import BBasis, Terms
from mace_core.ops.coupling import dim


class Product(torch.nn.Module):
    """Symmetric contraction with weights of each element, a linear map, the residual.

    ``weights["L1_nu3"]`` [n_elements, n_paths, C] are mace-torch's product weights for that L and
    correlation order, its columns in the same order.

    Args:
        max_ell: largest l of A.
        lmax_out: largest L of the output.
        correlation: largest ν.
        channels: C.
        n_elements: Z.
        generator: source of the first weights.
        dtype: of the weights.
    """

    def __init__(
        self,
        *,
        max_ell: int,
        lmax_out: int,
        correlation: int,
        channels: int,
        n_elements: int,
        generator: torch.Generator,
        dtype: torch.dtype,
    ):
        super().__init__()
        terms = Terms.build(max_ell, lmax_out, correlation)
        self.weights = torch.nn.ParameterDict(
            {
                f"L{L}_nu{nu}": normal((n_elements, n, channels), generator, dtype, std=1 / n)
                for (L, nu), n in terms.n_paths.items()
            }
        )
        self.register_buffer("columns", torch.tensor(terms.columns, dtype=dtype), persistent=False)
        self.basis = BBasis(terms, dim(max_ell), dim(lmax_out), dtype)
        self.linear = Linear([1] * (lmax_out + 1), channels, generator, dtype)

    def coefficients(self) -> torch.Tensor:
        """[n_elements, T, C]: the polynomial's coefficients Σ_η U_η W_z,η."""
        return self.columns @ torch.cat(list(self.weights.values()), dim=1)

    def forward(
        self, A: torch.Tensor, self_connection: torch.Tensor, counts: list[int]
    ) -> torch.Tensor:
        """[n_atoms, D, C], [n_atoms, D_out, C] → [n_atoms, D_out, C]; atoms sorted by element."""
        return self.linear(self.basis(A, self.coefficients(), counts)) + self_connection
