"""One attempt of an engine, as the worker makes it, and its label against finite differences."""

import contextlib
import tempfile

import numpy as np

from mace_core.label.engines import NotConverged, Refused, engine_for
from mace_core.label.verdict import verdict


def compute(settings, frame, rung="default", folder=None):
    """The engine's result; made where we are, run in a folder of its own."""
    engine = engine_for(settings)
    with contextlib.ExitStack() as stack:
        folder = folder or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(folder))
        return engine.compute(frame, rung)


def outcome(settings, frame, rung="default", folder=None):
    """Status and reason, as the worker and its driver say them."""
    try:
        result = compute(settings, frame, rung, folder)
    except NotConverged as err:
        return "unconverged", str(err)
    except Refused as err:
        return "failed", str(err)
    return verdict(vars(result), frame)


def force_difference(settings, frame, step=0.01, seed=2):
    """Force along a random direction minus the four-point difference of the energy, eV/Å."""
    direction = np.random.default_rng(seed).normal(size=frame.positions.shape)
    direction /= np.linalg.norm(direction)

    def displaced(x):
        moved = frame.copy()
        moved.positions += x * direction
        return moved

    forces = np.asarray(compute(settings, frame).forces)
    assert np.abs(forces).max() > 0.3  # or the comparison proves nothing
    difference = float((forces * direction).sum() + _slope(settings, displaced, step))
    print(f"\n{settings.engine}: force − finite difference = {difference:.1e} eV/Å")
    return difference


def stress_difference(settings, frame, step=2e-3, seed=3):
    """Stress along a random symmetric strain minus the difference of the energy, eV/Å³."""
    strain = np.random.default_rng(seed).normal(size=(3, 3))
    strain = (strain + strain.T) / 2
    strain /= np.linalg.norm(strain)

    def displaced(x):
        moved = frame.copy()
        moved.set_cell(frame.cell[:] @ (np.eye(3) + x * strain), scale_atoms=True)
        return moved

    s = compute(settings, frame).stress
    assert np.abs(s).max() > 1e-3
    full = np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
    expected = _slope(settings, displaced, step) / frame.get_volume()
    difference = float((full * strain).sum() - expected)
    print(f"\n{settings.engine}: stress − finite difference = {difference:.1e} eV/Å³")
    return difference


def _slope(settings, displaced, step):
    energy = {n: float(compute(settings, displaced(n * step)).energy) for n in (-2, -1, 1, 2)}
    return (8 * (energy[1] - energy[-1]) - (energy[2] - energy[-2])) / (12 * step)
