"""Sanity checks of MD: each says in a sentence why a walk must not go on.

They look for what a wrong potential does, not for what an unsure one does: the calibrated
uncertainty is checked apart.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from ase import Atoms, units
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import chdtri

from mace_core.config.sections import Explore
from mace_core.contacts import Contacts, close_contact, contacts
from mace_core.conventions import WalkerEnd

#: Bonds of the start frame: up to this times the sum of covalent radii (stretched by heat).
BOND_FACTOR = 1.3
#: Chance that a sane walk's instantaneous temperature passes the limit at one step.
FALSE_ALARM = 1e-9


@dataclass
class State:
    """One step of MD as the committee saw it."""

    step: int
    atoms: Atoms  # positions now; the walk's own object, not a copy
    energy: float  # eV
    forces: np.ndarray  # [n_atoms, 3] eV/Å
    forces_std: np.ndarray  # [n_atoms] eV/Å
    uncertainty: float  # eV/Å, calibrated
    temperature: float  # K, instantaneous
    reach: float  # largest factor of covalent radii that a check asks pairs for

    @cached_property
    def pairs(self) -> Contacts:
        """Pairs of atoms, computed once for all checks."""
        return contacts(self.atoms, self.reach)


class Check(Protocol):
    """A reason to stop: ``end`` is its code."""

    end: WalkerEnd

    def __call__(self, state: State) -> str | None:
        """Why the walk must stop here, or None."""


class NotANumber:
    """Positions, energy, forces or their spread are not finite."""

    end = WalkerEnd.NOT_A_NUMBER

    def __call__(self, state: State) -> str | None:
        for name, value in (
            ("positions", state.atoms.positions),
            ("energy", state.energy),
            ("forces", state.forces),
            ("uncertainty", state.forces_std),
            ("uncertainty", state.uncertainty),
            ("temperature", state.temperature),
        ):
            if not np.isfinite(value).all():
                return f"{name} not finite"
        return None


class CloseContact:
    """Two atoms nearer than ``factor`` times the sum of their covalent radii."""

    end = WalkerEnd.CLOSE_CONTACT

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, state: State) -> str | None:
        return close_contact(state.atoms, self.factor, state.pairs)


class Fragmentation:
    """Atoms that were in one bonded piece at the start have parted.

    Pieces at the start are connected by bonds of up to :data:`BOND_FACTOR` times the radii's sum;
    later, pairs of up to ``factor`` times it hold a piece together, whichever atoms bridge it, so
    that an atom that changes partners is no fragment.
    """

    end = WalkerEnd.FRAGMENTED

    def __init__(self, start: Atoms, factor: float):
        self.factor = factor
        self.pieces = _pieces(len(start), contacts(start, min(BOND_FACTOR, factor)), factor)

    def __call__(self, state: State) -> str | None:
        now = _pieces(len(state.atoms), state.pairs, self.factor)
        for piece in range(self.pieces.max() + 1):
            members = np.flatnonzero(self.pieces == piece)
            parts = [members[now[members] == k] for k in np.unique(now[members])]
            if len(parts) > 1:
                lost = min(parts, key=len)
                formula = state.atoms[lost].get_chemical_formula()
                return (
                    f"{formula} (atom {lost[0]} …) parted from its {len(members)}-atom piece "
                    f"by more than {self.factor:g} times the sum of covalent radii"
                )
        return None


class TemperatureRunaway:
    """Instantaneous temperature above ``factor`` times the thermostat's.

    Few degrees of freedom fluctuate widely (χ² distributed): the limit is never below the
    temperature that a sane walk passes with probability :data:`FALSE_ALARM` at one step. A start
    that relaxes downhill is hot for a while: what it can release comes on top.

    Args:
        temperature: K, of the thermostat.
        factor: of the limit over the thermostat's.
        degrees_of_freedom: of the kinetic energy.
        released: eV, potential energy of the start above the lowest known of the same atoms.
    """

    end = WalkerEnd.TEMPERATURE

    def __init__(
        self, temperature: float, factor: float, degrees_of_freedom: int, released: float = 0.0
    ):
        self.temperature = temperature
        thermal = chdtri(degrees_of_freedom, FALSE_ALARM) / degrees_of_freedom
        self.limit = temperature * max(factor, thermal)
        self.limit += 2 * max(0.0, released) / (degrees_of_freedom * units.kB)

    def __call__(self, state: State) -> str | None:
        if state.temperature <= self.limit:
            return None
        return (
            f"{state.temperature:.0f} K, limit {self.limit:.0f} K at a thermostat of "
            f"{self.temperature:g} K"
        )


class EnergyRunaway:
    """Potential energy changed by more than a share for each atom beyond the thermal one.

    A harmonic solid or molecule that starts in its minimum gains up to kT/2 · χ²(3N) of potential
    energy from the thermostat (3/2 NkT on average): the ceiling is that much higher, with the χ²
    that a sane walk passes with probability :data:`FALSE_ALARM` at one step. A strained or rattled
    start relaxes downhill: the floor lies below the lowest known energy of the same atoms, not only
    below the start's.

    Args:
        start_energy: eV.
        lowest_energy: eV, of labelled frames of the same atoms; None where there are none.
        n_atoms: in the frame.
        temperature: K, of the thermostat.
        max_change: eV/atom.
    """

    end = WalkerEnd.ENERGY

    def __init__(
        self,
        start_energy: float,
        lowest_energy: float | None,
        n_atoms: int,
        temperature: float,
        max_change: float,
    ):
        self.start_energy, self.n_atoms = start_energy, n_atoms
        thermal = 0.5 * units.kB * temperature * chdtri(3 * n_atoms, FALSE_ALARM)
        self.ceiling = start_energy + thermal + n_atoms * max_change
        lowest = start_energy if lowest_energy is None else min(start_energy, lowest_energy)
        self.floor = lowest - n_atoms * max_change

    def __call__(self, state: State) -> str | None:
        if self.floor <= state.energy <= self.ceiling:
            return None
        change = (state.energy - self.start_energy) / self.n_atoms
        limit = self.ceiling if state.energy > self.ceiling else self.floor
        return (
            f"potential energy changed by {change:+.2f} eV/atom since the start, "
            f"limit {(limit - self.start_energy) / self.n_atoms:+.2f}"
        )


def sanity_checks(
    settings: Explore,
    start: Atoms,
    temperature: float,
    degrees_of_freedom: int,
    start_energy: float,
    lowest_energy: float | None,
) -> list[Check]:
    """All checks, in the order in which their reasons are preferred."""
    return [
        NotANumber(),
        CloseContact(settings.min_distance_factor),
        Fragmentation(start, settings.fragment_factor),
        TemperatureRunaway(
            temperature,
            settings.max_temperature_factor,
            degrees_of_freedom,
            0.0 if lowest_energy is None else start_energy - lowest_energy,
        ),
        EnergyRunaway(
            start_energy, lowest_energy, len(start), temperature, settings.max_energy_change
        ),
    ]


def _pieces(n_atoms: int, pairs: Contacts, factor: float) -> np.ndarray:
    """[n_atoms] number of the connected piece of each atom."""
    near = pairs.ratio < factor
    ones = np.ones(near.sum())
    graph = coo_array((ones, (pairs.i[near], pairs.j[near])), shape=(n_atoms, n_atoms))
    return connected_components(graph, directed=False)[1]
