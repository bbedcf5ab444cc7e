"""What tests of the model share: tolerances, small models, frames, elements of O(3)."""

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from e3nn import o3
from hypothesis import settings

from mace_core.config.sections import Model
from mace_core.model.model import MACE

# A loaded machine is not a failing test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

#: The one tolerance table. Absolute, in the unit of the quantity; quantities are of order 1.
TOLERANCE = {
    "exact": 1e-12,  # the same sums in another order
    "symmetry": 1e-10,  # rotations, translations, permutations, batching; float64
    "finite_difference": 1e-6,  # central differences against autograd
    "smooth": 1e-5,  # change over 1e-6 Å at the cutoff
    "float32": 5e-4,  # float32 against float64
}

ELEMENTS = [1, 6, 8]
E0S = {1: -13.6, 6: -1030.0, 8: -2040.0}
SMALL = {
    "r_max": 3.5,
    "num_channels": 4,
    "max_ell": 2,
    "correlation": 3,
    "max_L": 1,
    "radial_MLP": [16],
    "MLP_irreps": "4x0e",
}


_FIRST, _RESIDUAL, _DENSITY, _DENSITY_RESIDUAL = (
    f"RealAgnostic{kind}InteractionBlock" for kind in ("", "Residual", "Density", "DensityResidual")
)
#: Between them all kinds of blocks, bases and transforms; a test holds this to be so.
ARCHITECTURES = {
    "two layers": {},
    "scalars only": {"max_L": 0, "max_ell": 3},
    "three layers, L = 2": {"num_interactions": 3, "max_L": 2, "correlation": 2},
    "one layer, ν = 4": {"num_interactions": 1, "correlation": 4, "max_ell": 1},
    "max_L above max_ell": {"max_ell": 1, "max_L": 2, "correlation": 2},
    "the paper's first layer": {"interaction_first": _FIRST, "max_ell": 3, "correlation": 2},
    "no residuals, no scale, repulsion": {
        "interaction_first": _FIRST,
        "interaction": _FIRST,
        "model": "MACE",
        "pair_repulsion": True,
        "num_interactions": 3,
        "correlation": 2,
    },
    "foundation": {
        "interaction_first": _DENSITY,
        "interaction": _DENSITY_RESIDUAL,
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
        "correlation": 2,
    },
    "density in both layers, Chebyshev": {
        "interaction_first": _DENSITY_RESIDUAL,
        "interaction": _DENSITY,
        "radial_type": "chebyshev",
        "distance_transform": "Agnesi",
        "correlation": 2,
    },
    "soft distances, Gaussians, two heads": {
        "radial_type": "gaussian",
        "distance_transform": "Soft",
        "heads": ["other", "Default"],
        "correlation": 2,
    },
}


def small_model(seed: int = 0, dtype=torch.float64, scale=1.3, shift=-0.4, **changes) -> MACE:
    """A small random model of H, C and O."""
    architecture = Model(**(SMALL | changes))
    return MACE(architecture, ELEMENTS, E0S, 5.0, scale, shift, dtype, seed)


def rattled(atoms: Atoms, seed: int, std: float = 0.1) -> Atoms:
    """A copy with normal displacements."""
    copy = atoms.copy()
    copy.positions += np.random.default_rng(seed).normal(0, std, (len(atoms), 3))
    return copy


def ethanol(seed: int = 0) -> Atoms:
    """A molecule without cell."""
    return rattled(molecule("CH3CH2OH"), seed)


def crystal(seed: int = 0) -> Atoms:
    """A triclinic crystal of C and O, periodic in all directions."""
    atoms = bulk("CO", "rocksalt", a=4.3).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.arange(9).reshape(3, 3) / 8), True)
    return rattled(atoms, seed, 0.15)


def slab(seed: int = 0) -> Atoms:
    """Periodic in two directions; the third has no lattice vector."""
    atoms = rattled(molecule("CH3OH"), seed)
    atoms.set_cell([[4.1, 0.3, 0], [0.5, 4.4, 0], [0, 0, 0]])
    atoms.pbc = [True, True, False]
    return atoms


def small_cell(seed: int = 0) -> Atoms:
    """A cell much smaller than the cutoff: atoms are neighbours of their own images."""
    cell = [[2.0, 0, 0], [0.4, 2.3, 0], [0.1, 0.3, 2.6]]
    return rattled(Atoms("CO", [[0, 0, 0], [1.2, 1.1, 1.4]], cell=cell, pbc=True), seed)


FRAMES = {"molecule": ethanol, "crystal": crystal, "slab": slab, "small cell": small_cell}


def orthogonal(seed: int, improper: bool) -> np.ndarray:
    """A random rotation, with the inversion if ``improper``."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * (np.sign(np.linalg.det(q)) * (-1 if improper else 1))


def wigner(l: int, Q: np.ndarray) -> torch.Tensor:
    """D with Y_l(Q r) = D Y_l(r) for Q in O(3), by least squares over random r; Y by e3nn.

    (e3nn's own D_from_matrix is good to 1e-7 only.)
    """
    r = torch.tensor(np.random.default_rng(0).normal(size=(8 * l + 8, 3)))
    Q = torch.tensor(Q)
    before, after = (
        o3.spherical_harmonics(l, x, normalize=True, normalization="component")
        for x in (r, r @ Q.T)
    )
    return torch.linalg.lstsq(before, after).solution.T


def wigner_up_to(lmax: int, Q: np.ndarray) -> torch.Tensor:
    """Block-diagonal D of 0e + 1o + 2e + … ."""
    return torch.block_diag(*[wigner(l, Q) for l in range(lmax + 1)])
