import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mace_tools import FRAMES, ethanol
from matscipy.neighbours import neighbour_list

from mace_core.errors import UserError
from mace_core.model.graph import batch, graph_of
from mace_core.neighbours import neighbours


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.floats(1.5, 4.5),
    st.booleans(),
)
@settings(max_examples=60)
def test_same_pairs_as_matscipy(seed, n, pbc, r_max, no_cell):
    """Random triclinic cells, also smaller than the cutoff, with any periodic directions."""
    rng = np.random.default_rng(seed)
    cell = rng.normal(0, 1.2, (3, 3)) + np.diag(rng.uniform(1.5, 5, 3))
    assume(abs(np.linalg.det(cell)) > 4)
    positions = rng.uniform(-2, 2, (n, 3)) @ cell  # also outside the cell
    given_cell = np.where(np.array(pbc)[:, None] | (not no_cell), cell, 0.0)
    atoms = Atoms(f"C{n}", positions=positions, cell=given_cell, pbc=pbc)
    edge_index, S = neighbours(atoms, r_max)

    # The oracle needs a cell; outside of periodic directions it must only be there.
    i, j, shifts = neighbour_list("ijS", positions=positions, cell=cell, pbc=pbc, cutoff=r_max)
    ours = sorted(map(tuple, np.c_[edge_index.T, S].tolist()))
    assert ours == sorted(map(tuple, np.c_[i, j, shifts].tolist()))
    assert (np.diff(edge_index[0]) >= 0).all()


@pytest.mark.parametrize("name", FRAMES)
def test_edge_vectors(name):
    """r_ij = r_j − r_i + S·cell; each edge has its reverse."""
    atoms = FRAMES[name]()
    graph = graph_of(atoms, 3.5, [1, 6, 8])
    vectors = graph.vectors().numpy()
    i, j = graph.edge_index.numpy()
    expected = (
        atoms.positions[j] - atoms.positions[i] + graph.unit_shifts.numpy() @ atoms.cell.array
    )
    np.testing.assert_allclose(vectors, expected, atol=1e-12)
    assert (np.linalg.norm(vectors, axis=1) < 3.5).all()
    forward = sorted(map(tuple, np.c_[i, j, vectors.round(6) + 0.0].tolist()))
    assert forward == sorted(map(tuple, np.c_[j, i, -vectors.round(6) + 0.0].tolist()))


def test_one_atom_without_edges():
    graph = graph_of(Atoms("O"), 5.0, [1, 8])
    assert (graph.n_atoms, graph.n_edges, graph.n_frames) == (1, 0, 1)
    assert graph.species.tolist() == [1]


def test_batch_keeps_frames_apart():
    frames = [make() for make in FRAMES.values()] + [Atoms("O")]
    graphs = [graph_of(atoms, 3.5, [1, 6, 8]) for atoms in frames]
    together = batch(graphs)
    assert together.n_frames == len(frames)
    assert together.atoms_per_frame().tolist() == [len(atoms) for atoms in frames]
    assert together.periodic.tolist() == [bool(atoms.pbc.all()) for atoms in frames]
    i, j = together.edge_index
    assert torch.equal(together.frame[i], together.frame[j])
    torch.testing.assert_close(together.vectors(), torch.cat([g.vectors() for g in graphs]))
    assert batch(graphs[:1]) is graphs[0]


def test_volume_is_infinite_without_three_periodic_directions():
    volumes = [graph_of(make(), 3.5, [1, 6, 8]).volume().item() for make in FRAMES.values()]
    assert np.isinf(volumes).tolist() == [not make().pbc.all() for make in FRAMES.values()]
    assert volumes[1] == pytest.approx(FRAMES["crystal"]().get_volume())


def test_unknown_elements_are_named():
    with pytest.raises(UserError, match=r"does not know N, Fe\n.*made for H, C, O"):
        graph_of(Atoms("CFeNHN", positions=np.eye(5, 3) * 9), 5.0, [1, 6, 8])


def test_periodic_direction_without_lattice_vector():
    atoms = molecule("H2O")
    atoms.pbc = True
    with pytest.raises(UserError, match="periodic in a direction without a lattice vector"):
        graph_of(atoms, 5.0, [1, 8])


def test_positions_that_are_not_numbers():
    atoms = ethanol()
    atoms.positions[3, 1] = np.nan
    with pytest.raises(UserError, match="not finite: atoms 3"):
        graph_of(atoms, 5.0, [1, 6, 8])


def test_dtype():
    graph = graph_of(ethanol(), 3.5, [1, 6, 8], torch.float32)
    assert graph.positions.dtype == graph.cell.dtype == graph.vectors().dtype == torch.float32
