"""Generations of several strata for tests: a model that is off by a constant for each of them."""

import numpy as np
from ase import Atoms

#: eV/atom by which the model is off for a whole stratum: what was seen of an alloy's compositions.
CONSTANT = 0.064


def generation(
    rng: np.random.Generator,
    sizes: list[int],
    constant: float = CONSTANT,
    error: float = 0.03,
    skew: float = 0.8,
    n_atoms: int = 8,
) -> list[Atoms]:
    """Perfect labels, ``sizes[k]`` of them in stratum ``s{k}``, and a committee's predictions.

    The size of a frame's errors is lognormal, as skewed as the errors of a model on its own MD are
    (a ``skew`` of 0.8 has one frame in twenty with four times the median error); the spread that
    the committee shows is that of three members with errors of that size.

    Args:
        rng: of all draws.
        sizes: numbers of frames.
        constant: eV/atom; scale of the strata's constants, of either sign.
        error: eV/Å; median size of the force errors.
        skew: standard deviation of the logarithm of that size.
        n_atoms: of each frame.
    """
    frames = []
    for stratum, n in enumerate(sizes):
        off = rng.choice([-1, 1]) * constant * rng.uniform(0.5, 1.5)
        for _ in range(n):
            atoms = Atoms(f"Cu{n_atoms}", rng.uniform(0, 8, (n_atoms, 3)))
            forces = rng.normal(0, 1.0, (n_atoms, 3))
            size = error * rng.lognormal(0, skew)
            atoms.arrays["REF_forces"] = forces
            atoms.arrays["MACE_forces"] = forces + rng.normal(0, size, forces.shape)
            members = rng.normal(0, size, (3, n_atoms, 3))
            atoms.arrays["MACE_forces_std"] = np.sqrt(
                ((members - members.mean(axis=0)) ** 2).sum(axis=(0, 2)) / 2
            )
            energy = -3.5 * n_atoms + rng.normal(0, 0.3)
            atoms.info |= {
                "frame_id": f"{rng.integers(16**15):020x}",
                "role": "audit",
                "stratum": f"s{stratum}",
                "REF_energy": energy,
                "MACE_energy": energy + n_atoms * (off + rng.normal(0, 0.3 * size)),
            }
            frames.append(atoms)
    return frames
