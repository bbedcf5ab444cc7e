"""From the A-basis to the next node features: many-body products and update.

arXiv 2206.07697, eq. 10 to 12: B = Σ_η U_η A ⊗ … ⊗ A, m = Σ W_z B, h' = W m + W_z h.
"""

import torch

from mace_core.model.initial import FirstWeights
from mace_core.model.layer import Layer
from mace_core.model.linear import Linear
from mace_core.ops.b_basis import BBasis, Terms
from mace_core.ops.coupling import dim


class Product(torch.nn.Module):
    """Symmetric contraction with weights of each element, a linear map, the residual.

    ``weights["L1_nu3"]`` [n_elements, n_paths, C] are mace-torch's product weights for that L and
    correlation order, its columns in the same order.

    Args:
        layer: sizes.
        correlation: largest ν.
        first: source of the first weights.
    """

    def __init__(self, layer: Layer, correlation: int, first: FirstWeights):
        super().__init__()
        terms = Terms.build(layer.max_ell, layer.lmax_out, correlation)
        self.weights = torch.nn.ParameterDict(
            {
                f"L{L}_nu{nu}": first.normal((layer.n_elements, n, layer.channels), std=1 / n)
                for (L, nu), n in terms.n_paths.items()
            }
        )
        columns = torch.tensor(terms.columns, dtype=first.dtype)
        self.register_buffer("columns", columns, persistent=False)
        self.basis = BBasis(terms, dim(layer.max_ell), dim(layer.lmax_out), first.dtype)
        self.linear = Linear([1] * (layer.lmax_out + 1), layer.channels, first)

    def coefficients(self, elements: list[int] | None = None) -> torch.Tensor:
        """[n_elements, T, C]: the polynomial's coefficients Σ_η U_η W_z,η.

        Args:
            elements: indices of those wanted; all by default.
        """
        weights = torch.cat(list(self.weights.values()), dim=1)
        if elements is not None and len(elements) < len(weights):
            weights = weights[elements]
        return self.columns @ weights

    def forward(
        self, A: torch.Tensor, self_connection: torch.Tensor | None, counts: list[int]
    ) -> torch.Tensor:
        """The next features.

        Args:
            A: [n_atoms, D, C], atoms sorted by element.
            self_connection: [n_atoms, D_out, C], or None.
            counts: atoms of each element.

        Returns:
            [n_atoms, D_out, C].
        """
        present = [z for z, count in enumerate(counts) if count]
        B = self.basis(A, self.coefficients(present), [counts[z] for z in present])
        message = self.linear(B)
        return message if self_connection is None else message + self_connection
