"""F = −∂E/∂r, σ = (1/V) ∂E/∂ε, and the derivatives of a loss on them, against differences."""

import numpy as np
import pytest
import torch
from ase import Atoms
from mace_tools import (
    ARCHITECTURES,
    ELEMENTS,
    FRAMES,
    TOLERANCE,
    crystal,
    ethanol,
    small_cell,
    small_model,
)

from mace_core.model.graph import batch, graph_of

MODEL = small_model(3)
STEP = 1e-4


def energy(atoms: Atoms) -> float:
    return MODEL(graph_of(atoms, MODEL.r_max, ELEMENTS), forces=False).energy.item()


def central(energy_of, step: float = STEP) -> float:
    """Fourth-order central difference of a function of one number, at 0."""
    e = {k: energy_of(k * step) for k in (-2, -1, 1, 2)}
    return (8 * (e[1] - e[-1]) - (e[2] - e[-2])) / (12 * step)


@pytest.mark.parametrize("frame", FRAMES)
def test_forces_are_minus_the_gradient(frame):
    """F_i = −∂E/∂r_i."""
    atoms = FRAMES[frame](7)
    forces = MODEL(graph_of(atoms, MODEL.r_max, ELEMENTS)).forces.numpy()
    rng = np.random.default_rng(0)
    for _ in range(6):
        i, c = rng.integers(len(atoms)), rng.integers(3)

        def moved(step, i=i, c=c):
            copy = atoms.copy()
            copy.positions[i, c] += step
            return energy(copy)

        assert -central(moved) == pytest.approx(forces[i, c], abs=TOLERANCE["finite_difference"])


@pytest.mark.parametrize("make", [crystal, small_cell])
def test_stress_is_the_strain_derivative(make):
    """σ = (1/V) ∂E/∂ε."""
    atoms = make(8)
    stress = MODEL(graph_of(atoms, MODEL.r_max, ELEMENTS), stress=True).stress[0].numpy()
    np.testing.assert_allclose(stress, stress.T)
    for a in range(3):
        for b in range(a, 3):

            def strained(step, a=a, b=b):
                strain = np.zeros((3, 3))
                strain[a, b] += step / 2
                strain[b, a] += step / 2
                copy = atoms.copy()
                copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
                return energy(copy)

            numeric = central(strained) / atoms.get_volume()
            assert numeric == pytest.approx(stress[a, b], abs=TOLERANCE["finite_difference"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("frame", FRAMES)
def test_derivative_along_a_deformation(architecture, frame):
    """dE/dt = −Σ_i F_i · u_i + V σ : ε for r → (1 + t ε)(r + t u), of every architecture."""
    model = small_model(6, **ARCHITECTURES[architecture])
    atoms, rng = FRAMES[frame](6), np.random.default_rng(6)
    u, strain = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    strain = (strain + strain.T) / 2 * bool(atoms.pbc.all())
    out = model(graph_of(atoms, model.r_max, ELEMENTS), stress=True)

    def deformed(t):
        copy = atoms.copy()
        copy.positions += t * u
        copy.set_cell(atoms.cell.array @ (np.eye(3) + t * strain), scale_atoms=True)
        return model(graph_of(copy, model.r_max, ELEMENTS), forces=False).energy.item()

    work = (out.stress[0].numpy() * strain).sum() * atoms.get_volume() if strain.any() else 0.0
    work -= (out.forces.numpy() * u).sum()
    assert abs(work) > 1e-3
    assert central(deformed) == pytest.approx(work, abs=TOLERANCE["finite_difference"], rel=1e-6)


def test_sign_of_stress():
    """Compression raises the energy where −stress is a positive pressure."""
    atoms = crystal()
    stress = MODEL(graph_of(atoms, MODEL.r_max, ELEMENTS), stress=True).stress[0]
    smaller = atoms.copy()
    smaller.set_cell(atoms.cell.array * 0.9999, scale_atoms=True)
    assert np.sign(energy(smaller) - energy(atoms)) == -np.sign(stress.trace().item())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_gradient_matches_finite_differences(architecture):
    """Second derivatives: the gradient of a loss on energy, forces and stress, by the weights."""
    model = small_model(4, **(ARCHITECTURES[architecture] | {"num_channels": 2}))
    graph = batch([graph_of(make(), model.r_max, ELEMENTS) for make in (ethanol, crystal)])

    def loss() -> torch.Tensor:
        out = model(graph, forces=True, stress=True, training=True)
        interaction = out.energy - model.E0[0, graph.species].sum()
        return (
            (interaction / 1e3).square().sum()
            + out.forces.square().sum()
            + (100 * out.stress.square().sum())
        )

    loss().backward()
    rng = np.random.default_rng(1)
    for name, p in model.named_parameters():
        place = tuple(rng.integers(n) for n in p.shape)
        value = p.data[place].item()

        def changed(step, p=p, place=place, value=value):
            p.data[place] = value + step
            result = loss().item()
            p.data[place] = value
            return result

        expected = central(changed, 1e-3)
        assert p.grad[place].item() == pytest.approx(expected, rel=1e-5, abs=1e-6), name


def test_inference_leaves_no_graph():
    out = MODEL(graph_of(ethanol(), MODEL.r_max, ELEMENTS), stress=True)
    assert not any(x.requires_grad for x in (out.energy, out.node_energy, out.forces, out.stress))
    with torch.no_grad():
        again = MODEL(graph_of(ethanol(), MODEL.r_max, ELEMENTS))
    torch.testing.assert_close(again.forces, out.forces)
    assert again.stress is None


def test_training_gives_the_same_numbers():
    graph = graph_of(crystal(), MODEL.r_max, ELEMENTS)
    a, b = MODEL(graph, stress=True), MODEL(graph, stress=True, training=True)
    for name in ("energy", "node_energy", "forces", "stress"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name).detach())
        assert getattr(b, name).requires_grad
