"""Numbers that must not move: what mace-torch 0.3.16 gives for the same weights and frames.

The energies and forces were computed with mace-torch's ScaleShiftMACE (e3nn 0.4.4, float64), its
weights set to those of :func:`golden_model`; it agrees with ours to 1e-12 eV and 1e-14 eV/Å.
"""

import pytest
import torch
from ase import Atoms
from mace_tools import ELEMENTS, small_model

from mace_core.model.graph import graph_of
from mace_core.model.model import MACE

FRAMES = {
    "molecule": Atoms(
        "CHOH", [[0, 0, 0], [1.1, 0.1, -0.2], [-0.4, 1.2, 0.3], [-1.2, 1.1, 0.9]], cell=[0, 0, 0]
    ),
    "crystal": Atoms(
        "CO",
        [[0, 0, 0], [1.3, 1.2, 1.5]],
        cell=[[2.4, 0, 0], [0.3, 2.6, 0], [0.2, 0.1, 2.9]],
        pbc=1,
    ),
}
#: Energy (eV), force on the first atom (eV/Å), and σ_xx, σ_yz (eV/Å³) of the crystal.
GOLDEN = {
    "molecule": (
        -3100.6994688606396,
        [0.00313294262538244, 0.06692362380540864, -0.000891166438579432],
        [0.0, 0.0],
    ),
    "crystal": (
        -3071.4653372003836,
        [0.030999017318918982, 0.04502217121237075, -0.020315038974131533],
        [0.007049876296251981, 0.0006423634657563652],
    ),
}


def golden_model() -> MACE:
    """Two layers, L = 1, ν = 3, with weights from a formula, not from a random generator."""
    model = small_model(max_ell=3)
    with torch.no_grad():
        for k, (name, p) in enumerate(model.named_parameters()):
            i = torch.arange(p.numel())
            uniform = ((7919 * i * i + 104729 * k) % 2003).double() / 1001 - 1
            p.copy_(uniform.view(p.shape) * (0.4 if ".weights.L" in name else 1.7))
    return model


@pytest.mark.parametrize("name", FRAMES)
def test_numbers_of_mace_torch(name):
    model = golden_model()
    out = model(graph_of(FRAMES[name], model.r_max, ELEMENTS), stress=True)
    energy, force, stress = GOLDEN[name]
    assert out.energy.item() == pytest.approx(energy, abs=1e-9, rel=0)
    assert out.forces[0].tolist() == pytest.approx(force, abs=1e-10)
    assert [out.stress[0, 0, 0].item(), out.stress[0, 1, 2].item()] == pytest.approx(
        stress, abs=1e-10
    )
