"""The physics that holds for every model: symmetries, locality, smoothness."""

from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from mace_tools import (
    ARCHITECTURES,
    E0S,
    ELEMENTS,
    FRAMES,
    TOLERANCE,
    crystal,
    ethanol,
    orthogonal,
    small_model,
    wigner_up_to,
)

from mace_core.config.sections import Model
from mace_core.model.graph import batch, graph_of

MODELS = {
    f"{name}, {dtype}": small_model(1, getattr(torch, dtype), **changes)
    for name, changes in ARCHITECTURES.items()
    for dtype in ("float64", "float32")
}
every_model = pytest.mark.parametrize("architecture", MODELS)
every_frame = pytest.mark.parametrize("frame", FRAMES)


def predict(model, atoms, stress=True):
    return model(graph_of(atoms, model.r_max, ELEMENTS, model.dtype), stress=stress)


def close(model, a, b, tolerance="symmetry"):
    limit = TOLERANCE[tolerance if model.dtype == torch.float64 else "float32"]
    torch.testing.assert_close(a.double(), b.double(), atol=limit, rtol=0)


def test_every_kind_is_among_the_architectures():
    """A new kind of block, basis or transform cannot be forgotten here."""
    for name, field in Model.model_fields.items():
        if field.annotation is bool:
            kinds = {True, False}
        elif get_origin(field.annotation) is Literal:
            kinds = set(get_args(field.annotation))
        else:
            continue
        assert {a.get(name, field.default) for a in ARCHITECTURES.values()} == kinds, name


@every_model
@every_frame
@given(seed=st.integers(0, 2**32 - 1), improper=st.booleans())
@settings(max_examples=2)
def test_O3(architecture, frame, seed, improper):
    """E(Q r) = E(r), F(Q r) = Q F(r), σ(Q r) = Q σ(r) Qᵀ for Q in O(3)."""
    model, atoms = MODELS[architecture], FRAMES[frame](seed % 100)
    Q = orthogonal(seed, improper)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ Q.T)
    turned.positions = atoms.positions @ Q.T
    a, b, Q = predict(model, atoms), predict(model, turned), torch.tensor(Q)
    close(model, b.energy, a.energy)
    close(model, b.forces, a.forces.double() @ Q.T)
    close(model, b.stress, Q @ a.stress.double() @ Q.T)
    assert a.forces.abs().max() > 1e-3  # there is something to turn


@every_model
@given(seed=st.integers(0, 2**32 - 1), improper=st.booleans())
@settings(max_examples=3)
def test_features_turn_with_the_frame(architecture, seed, improper):
    """h(Q r) = D(Q) h(r) after each layer."""
    model, atoms, Q = MODELS[architecture], ethanol(3), orthogonal(seed, improper)
    graph = graph_of(atoms, model.r_max, ELEMENTS, model.dtype)
    vectors = graph.vectors()
    before = model.features(graph, vectors)
    after = model.features(graph, vectors @ torch.tensor(Q, dtype=model.dtype).T)
    for h, turned in zip(before, after, strict=True):
        D = wigner_up_to(round(h.shape[1] ** 0.5) - 1, Q)
        close(model, turned, torch.einsum("ab,nbk->nak", D, h.double()))
        assert (h.abs().amax(dim=(0, 2)) > 1e-6).all()  # no component is dead


@every_model
@every_frame
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=1)
def test_permutation(architecture, frame, seed):
    """E(P r) = E(r), F(P r) = P F(r)."""
    model, atoms = MODELS[architecture], FRAMES[frame]()
    order = np.random.default_rng(seed).permutation(len(atoms))
    a, b = predict(model, atoms), predict(model, atoms[order])
    close(model, b.energy, a.energy)
    close(model, b.forces, a.forces[order])
    close(model, b.node_energy, a.node_energy[order])


@every_model
@every_frame
@given(shift=st.tuples(*[st.floats(-20, 20)] * 3))
@settings(max_examples=1)
def test_translation(architecture, frame, shift):
    """E(r + t) = E(r), Σ_i F_i = 0; an atom may stand for any of its images."""
    model, atoms = MODELS[architecture], FRAMES[frame]()
    moved = atoms.copy()
    moved.translate(shift)
    a, b = predict(model, atoms), predict(model, moved)
    close(model, b.energy, a.energy)
    close(model, b.forces, a.forces)
    close(model, a.forces.sum(dim=0), torch.zeros(3))
    moved.wrap()
    close(model, predict(model, moved).energy, a.energy)


@every_model
@pytest.mark.parametrize("frame, repeats", [("crystal", (1, 2, 1)), ("small cell", (2, 1, 3))])
def test_supercell(architecture, frame, repeats):
    """E(n cells) = n E(cell), with the same forces and stress."""
    model, atoms = MODELS[architecture], FRAMES[frame]()
    a, b = predict(model, atoms), predict(model, atoms.repeat(repeats))
    n = int(np.prod(repeats))
    close(model, b.energy / n, a.energy)
    close(model, b.forces, a.forces.repeat(n, 1))
    close(model, b.stress, a.stress)


@every_model
def test_separated_fragments_add_up(architecture):
    """E(A + B) = E(A) + E(B) beyond the cutoff."""
    model, a, b = MODELS[architecture], ethanol(1), ethanol(2)
    b.translate([60.0, 0, 0])
    both, alone = predict(model, a + b), [predict(model, a), predict(model, b)]
    close(model, both.energy, alone[0].energy + alone[1].energy)
    close(model, both.forces, torch.cat([alone[0].forces, alone[1].forces]))


@every_model
def test_batch_is_its_frames(architecture):
    """Frames side by side, with a lone atom among them, do not see each other."""
    frames = [make(5) for make in FRAMES.values()] + [Atoms("O")]
    model = MODELS[architecture]
    graphs = [graph_of(atoms, model.r_max, ELEMENTS, model.dtype) for atoms in frames]
    together, alone = model(batch(graphs), stress=True), [model(g, stress=True) for g in graphs]
    close(model, together.energy, torch.cat([out.energy for out in alone]))
    close(model, together.forces, torch.cat([out.forces for out in alone]))
    close(model, together.stress, torch.cat([out.stress for out in alone]))
    assert together.node_energy.sum().item() == pytest.approx(together.energy.sum().item())


@every_model
def test_smooth_at_the_cutoff(architecture):
    """E and F are continuous where an atom crosses r_max: f_cut(r_max) = f_cut'(r_max) = 0."""
    model, cluster = MODELS[architecture], ethanol(4)
    furthest = cluster.positions[cluster.positions[:, 0].argmax()]

    def approached_by_oxygen(distance):
        # Along x from the furthest atom, so that this pair is the only one at the cutoff.
        return cluster + Atoms("O", [furthest + np.array([distance, 0, 0])])

    frames = [approached_by_oxygen(model.r_max + step) for step in (-1e-6, 1e-6)]
    inside, outside = (predict(model, atoms, stress=False) for atoms in frames)
    n_edges = [graph_of(atoms, model.r_max, ELEMENTS).n_edges for atoms in frames]
    assert n_edges[0] == n_edges[1] + 2
    close(model, inside.energy, outside.energy, "smooth")
    close(model, inside.forces, outside.forces, "smooth")
    close(model, outside.forces[-1], torch.zeros(3))
    near = predict(model, approached_by_oxygen(0.6 * model.r_max), stress=False)
    assert (near.energy - outside.energy).abs() > 1e-4  # it does interact when it is near


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("z", ELEMENTS)
def test_isolated_atom(architecture, z):
    """E0, and what the readouts make of the atom's own self-connections: a constant of z.

    As in mace-torch a residual first layer gives a lone atom an interaction energy; without
    self-connections and shift its energy is E0 exactly.
    """
    model = small_model(2, shift=0.0, **ARCHITECTURES[architecture])
    atoms = Atoms(numbers=[z])
    out = predict(model, atoms)
    assert not out.forces.any()
    moved = predict(model, Atoms(numbers=[z], positions=[[3.0, -2, 9]]))
    assert out.energy.item() == moved.energy.item() == out.node_energy.item()
    with torch.no_grad():
        for interaction in model.interactions:
            if interaction.residual:
                interaction.skip.weight.zero_()
    assert predict(model, atoms).energy.item() == E0S[z]


def test_crystal_has_stress_and_molecule_none():
    model = MODELS["two layers, float64"]
    assert predict(model, crystal()).stress.abs().max() > 1e-4
    assert not predict(model, ethanol()).stress.any()
    assert predict(model, crystal(), stress=False).stress is None
