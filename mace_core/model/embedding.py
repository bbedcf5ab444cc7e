"""The first node features: one vector of channels for each element (arXiv 2206.07697, eq. 7)."""

import torch

from mace_core.model.initial import FirstWeights


class NodeEmbedding(torch.nn.Module):
    """h⁰ = W_z, times 1/√n_elements (e3nn's normalisation of a linear map of a one-hot vector)."""

    def __init__(self, n_elements: int, channels: int, first: FirstWeights):
        super().__init__()
        self.weight = first.normal((n_elements, channels))

    def forward(self, species: torch.Tensor) -> torch.Tensor:
        """[n_atoms] indices of elements → [n_atoms, 1, C]: one row, l = 0."""
        features = (self.weight * len(self.weight) ** -0.5).index_select(0, species)
        return features.unsqueeze(1)
