"""Calculators that stand for a committee: cheap forces, and an uncertainty to order."""

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mace_core.config.sections import Explore


class Scripted(Calculator):
    """Every atom on a spring to its first position, plus whatever a script says.

    Args:
        spring: eV/Å².
        script: from the number of the call (the MD step) and the atoms to results that replace
            the spring's.
        uncertainty: eV/Å, where the script does not say.
    """

    implemented_properties = ("energy", "forces", "forces_std", "uncertainty")

    def __init__(
        self,
        spring: float = 2.0,
        script: Callable[[int, Atoms], dict] = lambda step, atoms: {},
        uncertainty: float = 0.1,
    ):
        super().__init__()
        self.spring, self.script, self.uncertainty = spring, script, uncertainty
        self.calls = 0
        self.wells: np.ndarray | None = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.wells is None:
            self.wells = atoms.positions.copy()
        away = atoms.positions - self.wells
        self.results = {
            "energy": 0.5 * self.spring * float((away**2).sum()),
            "forces": -self.spring * away,
            "forces_std": np.linspace(0.5, 1.0, len(atoms)) * self.uncertainty / 2,
            "uncertainty": self.uncertainty,
        }
        self.results |= self.script(self.calls, atoms)
        self.calls += 1


def explore_settings(**changes) -> Explore:
    """Explore settings in which nothing but what a test provokes ends a walk."""
    lenient = {
        "steps": 40,
        "timestep": 1.0,
        "save_interval": 10,
        "max_force_error": 1000.0,
        "max_temperature_factor": 1e9,
        "max_energy_change": 1e9,
        "fragment_factor": 4.0,
        "min_distance_factor": 0.01,
    }
    return Explore(**(lenient | changes))
