"""Forces and stress from one gradient with respect to the edge vectors.

The energy depends on positions and cell only through r_ij = r_j − r_i + S·cell, so with
D_ij = ∂E/∂r_ij the chain rule gives, for a strain r → (1 + ε) r,

    F_i = −∂E/∂r_i = Σ_j D_ij − Σ_j D_ji        σ = (1/V) ∂E/∂ε = (1/V) Σ_ij sym(r_ij ⊗ D_ij)
"""

import torch

from mace_core.model.graph import Graph


def edge_gradient(energy: torch.Tensor, vectors: torch.Tensor, training: bool) -> torch.Tensor:
    """D = ∂(Σ energy)/∂vectors, [n_edges, 3] eV/Å; ``training`` keeps the graph for the loss."""
    (gradient,) = torch.autograd.grad(energy.sum(), vectors, create_graph=training)
    return gradient


def forces(gradient: torch.Tensor, edge_index: torch.Tensor, n_atoms: int) -> torch.Tensor:
    """[n_atoms, 3] eV/Å."""
    receivers, senders = edge_index
    zero = gradient.new_zeros(n_atoms, 3)
    return zero.index_add(0, receivers, gradient).index_add(0, senders, -gradient)


def stress(gradient: torch.Tensor, vectors: torch.Tensor, graph: Graph) -> torch.Tensor:
    """[n_frames, 3, 3] eV/Å³; exactly 0 for frames that are not periodic in all directions."""
    return stress_of(virial(gradient, vectors, graph), graph)


def virial(gradient: torch.Tensor, vectors: torch.Tensor, graph: Graph) -> torch.Tensor:
    """Σ_ij r_ij ⊗ D_ij of each frame, [n_frames, 3, 3] eV."""
    receivers = graph.edge_index[0]
    per_edge = vectors.unsqueeze(2) * gradient.unsqueeze(1)
    zero = gradient.new_zeros(graph.n_frames, 3, 3)
    return zero.index_add(0, graph.frame.index_select(0, receivers), per_edge)


def stress_of(virial: torch.Tensor, graph: Graph) -> torch.Tensor:
    """:func:`stress` from virials [n_frames, 3, 3] eV."""
    symmetric = (virial + virial.transpose(1, 2)) / 2
    return symmetric / graph.volume().to(symmetric.dtype).view(-1, 1, 1)
