"""Compositions that vacancies and substitutions make of a crystal: each a stratum."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from ase import Atoms

from mace_core.config.sections import Substitution
from mace_core.seed.crystals import substituted, vacancy
from mace_core.seed.perturb import without_contact

#: A crystal with a defect, and what was done to it.
Drawn = tuple[Atoms, str]


@dataclass(frozen=True)
class Defect:
    """One composition of a crystal with defects.

    Attributes:
        name: of the stratum, e.g. ``Au5Cu3 from CuAu.xyz (2×1×1)``.
        draw: a random arrangement of it.
        at: the arrangement with a vacancy at this site; None for substitutions.
    """

    name: str
    draw: Callable[[np.random.Generator], Drawn]
    at: Callable[[int], Drawn] | None = None

    @classmethod
    def vacancy(cls, name: str, atoms: Atoms, element: str) -> "Defect":
        """The crystal ``name`` without one atom of an element that it has."""
        sites = np.flatnonzero(atoms.symbols == element)

        def at(site: int) -> Drawn:
            return vacancy(atoms, site), f"{element}{site} missing from {name}"

        return cls(
            _name(vacancy(atoms, int(sites[0])), name), lambda rng: at(int(rng.choice(sites))), at
        )

    @classmethod
    def substitution(cls, name: str, atoms: Atoms, rule: Substitution, factor: float) -> "Defect":
        """The crystal ``name`` after a rule whose element it has.

        Drawing raises :class:`~mace_core.errors.UserError` where atoms come closer than ``factor``
        times the sum of their covalent radii.
        """

        def draw(rng: np.random.Generator) -> Drawn:
            frame = without_contact(
                partial(substituted, atoms, rule, rng),
                factor,
                f"{rule.by} for {rule.element} in {name}",
                "use a smaller element or fraction",
            )
            n = int((atoms.numbers != frame.numbers).sum())
            total = int((atoms.symbols == rule.element).sum())
            return frame, f"{n} of {total} {rule.element} replaced by {rule.by} in {name}"

        return cls(_name(substituted(atoms, rule, np.random.default_rng(0)), name), draw)


def _name(frame: Atoms, name: str) -> str:
    return f"{frame.get_chemical_formula(mode='hill')} from {name}"
