"""Both directions of a pair of atoms share what depends on their distance alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mace_tools import ELEMENTS, FRAMES, TOLERANCE, small_model

from mace_core.model.graph import batch, graph_of, reverse_edges

R_MAX = 3.5


def graphs(dtype=torch.float64):
    return {name: graph_of(frame(), R_MAX, ELEMENTS, dtype) for name, frame in FRAMES.items()}


@pytest.mark.parametrize("name", FRAMES)
def test_reverse_is_the_same_pair_from_the_other_end(name):
    graph = graphs()[name]
    back = graph.reverse
    assert torch.equal(back[back], torch.arange(graph.n_edges))
    assert torch.equal(graph.edge_index[:, back], graph.edge_index.flip(0))
    assert torch.equal(graph.unit_shifts[back], -graph.unit_shifts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_directions_are_bitwise_opposite(dtype):
    graph = batch(list(graphs(dtype).values()))
    vectors = graph.vectors()
    assert torch.equal(vectors[graph.reverse], -vectors)


def test_pairs_of_a_batch():
    graph = batch(list(graphs().values()))
    first, pair = graph.pairs()
    assert 2 * len(first) == graph.n_edges
    assert torch.equal(pair[first], torch.arange(len(first)))
    assert torch.equal(pair[graph.reverse], pair)


def test_an_edge_without_reverse():
    assert reverse_edges(np.array([[0, 1, 1], [1, 0, 2]]), np.zeros((3, 3), dtype=int)) is None
    assert batch([graphs()["molecule"], replace(graphs()["slab"], reverse=None)]).reverse is None


@pytest.mark.parametrize("block", ["", "Density"])
def test_results_do_not_depend_on_sharing(block):
    name = f"RealAgnostic{block}ResidualInteractionBlock"
    model = small_model(interaction=name, interaction_first=name, distance_transform="Agnesi")
    graph = batch(list(graphs().values()))
    alone = replace(graph, reverse=None)
    for one, other in zip(
        vars(model(graph, stress=True)).values(),
        vars(model(alone, stress=True)).values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=TOLERANCE["symmetry"], rtol=0)
