"""Atoms that move as in MD, the same way on every side."""

import numpy as np
from ase import Atoms, units


class Moves:
    """Each atom at the speed it has at ``temperature``, to and fro about where it was.

    What MD does to a calculator, without a trajectory that depends on the forces: atoms move a
    little each step, and neighbours have to be found again now and then.

    Args:
        atoms: where they begin.
        temperature: K.
        timestep: fs.
        amplitude: Å, of each coordinate.
        seed: of the velocities.
    """

    def __init__(
        self,
        atoms: Atoms,
        temperature: float = 300.0,
        timestep: float = 0.5,
        amplitude: float = 0.15,
        seed: int = 0,
    ):
        speed = np.sqrt(units.kB * temperature / atoms.get_masses())[:, None]
        directions = np.random.default_rng(seed).normal(size=(len(atoms), 3))
        self.step = directions * speed * timestep * units.fs
        self.home, self.amplitude = atoms.positions.copy(), amplitude

    def move(self, atoms: Atoms) -> None:
        """One step."""
        atoms.positions += self.step
        away = atoms.positions - self.home
        turned = np.abs(away) > self.amplitude
        self.step[turned] = -np.sign(away[turned]) * np.abs(self.step[turned])
