"""Sanity checks of MD: each says in a sentence why a walk must not go on.

They look for what a wrong potential does, not for what an unsure one does: the calibrated
uncertainty is checked apart.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from ase import Atoms, units
from scipy.special import chdtri

from mace_core.config.sections import Explore
from mace_core.contacts import Contacts, close_contact, contacts
from mace_core.conventions import WalkerEnd
from mace_core.explore.pieces import Linked, bonded_pieces, connected

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

    Pieces at the start are those of :func:`~mace_core.explore.pieces.bonded_pieces`; later, pairs
    of up to ``factor`` times the radii's sum hold a piece together, whichever atoms bridge it, so
    that an atom that changes partners is no fragment.
    """

    end = WalkerEnd.FRAGMENTED

    def __init__(self, start: Atoms, factor: float):
        self.factor = factor
        self.pieces = bonded_pieces(start, factor)

    def __call__(self, state: State) -> str | None:
        near = state.pairs.ratio < self.factor
        now = connected(len(state.atoms), state.pairs.i[near], state.pairs.j[near])
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


class Evaporation:
    """Molecules, or other bonded pieces, that were in one cluster at the start have parted.

    A cluster is what contacts within the model's cutoff link. Beyond it the potential knows of no
    interaction: the parts move on as if each were alone, and frames of them say nothing of what
    was to be learnt. That is no error of the potential. Pieces that are further apart at the start
    may stay so. Whichever pieces link a cluster later, it counts as one.

    Args:
        start: the walk's first frame.
        bond_factor: bonds, in sums of covalent radii, at most.
        r_max: Å, the model's cutoff.
    """

    end = WalkerEnd.EVAPORATED

    def __init__(self, start: Atoms, bond_factor: float, r_max: float):
        self.r_max = r_max
        pieces = bonded_pieces(start, bond_factor)
        self.linked = Linked(pieces, r_max) if pieces.max(initial=0) and r_max < np.inf else None
        self.clusters = self.linked(start) if self.linked else np.zeros(len(start), dtype=int)

    def __call__(self, state: State) -> str | None:
        if self.linked is None or self.linked.cannot_have_parted(state.atoms):
            return None
        now = self.linked(state.atoms)
        for cluster in range(self.clusters.max() + 1):
            members = np.flatnonzero(self.clusters == cluster)
            parts = [members[now[members] == k] for k in np.unique(now[members])]
            if len(parts) > 1:
                lost = min(parts, key=len)
                formula = state.atoms[lost].get_chemical_formula()
                return (
                    f"{formula} (atom {lost[0]} …) parted from the rest by more than "
                    f"r_max {self.r_max:g} Å"
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
    r_max: float = np.inf,
) -> list[Check]:
    """All checks, in the order in which their reasons are preferred.

    Args:
        settings: factors and limits.
        start: the walk's first frame.
        temperature: K, of the thermostat.
        degrees_of_freedom: of the kinetic energy.
        start_energy: eV.
        lowest_energy: eV, of labelled frames of the same atoms; None where there are none.
        r_max: Å, the model's cutoff.
    """
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
        Evaporation(start, settings.fragment_factor, r_max),
    ]
