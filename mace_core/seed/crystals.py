"""Supercells, vacancies and substitutions of crystals, through pymatgen's transformations."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mace_core.config.sections import Substitution


def supercell(atoms: Atoms, repeats: Sequence[int]) -> Atoms:
    """The crystal repeated along its cell vectors (along the periodic ones only).

    The total charge and spin belong to the whole frame, so they are multiplied with it.
    """
    from pymatgen.transformations.standard_transformations import SupercellTransformation

    repeats = [n if periodic else 1 for n, periodic in zip(repeats, atoms.pbc, strict=True)]
    if repeats == [1, 1, 1]:
        return atoms.copy()
    frame = _transformed(atoms, SupercellTransformation(np.diag(repeats).tolist()))
    frame.info = {key: value * int(np.prod(repeats)) for key, value in atoms.info.items()}
    return frame


def vacancy(atoms: Atoms, index: int) -> Atoms:
    """The crystal without atom ``index``."""
    from pymatgen.transformations.site_transformations import RemoveSitesTransformation

    return _transformed(atoms, RemoveSitesTransformation([index]))


def vacancy_sites(atoms: Atoms, n: int, rng: np.random.Generator) -> list[int]:
    """``n`` sites to empty: one of every symmetry-distinct kind before any kind comes again."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    if atoms.pbc.all():
        kinds = SpacegroupAnalyzer(_structure(atoms)).get_symmetry_dataset().equivalent_atoms
    else:
        kinds = atoms.numbers
    queues = [list(rng.permutation(np.flatnonzero(kinds == kind))) for kind in np.unique(kinds)]
    queues = [queues[k] for k in rng.permutation(len(queues))]
    sites: list[int] = []
    while len(sites) < n:
        if not any(queues):  # fewer atoms than vacancies asked: rattled differently each time
            return sites + [int(k) for k in rng.integers(len(atoms), size=n - len(sites))]
        sites += [int(queue.pop()) for queue in queues if queue]
    return sites[:n]


def substituted(atoms: Atoms, rule: Substitution, rng: np.random.Generator) -> Atoms:
    """The crystal with a share of one element's atoms (at least one), drawn at random, replaced."""
    from pymatgen.transformations.site_transformations import ReplaceSiteSpeciesTransformation

    sites = np.flatnonzero(atoms.symbols == rule.element)
    n = max(1, round(rule.fraction * len(sites)))
    chosen = rng.choice(sites, size=n, replace=False)
    swap = ReplaceSiteSpeciesTransformation({int(k): rule.by for k in chosen})
    return _transformed(atoms, swap)


def _structure(atoms: Atoms):
    from pymatgen.core import Lattice, Structure

    lattice = Lattice(atoms.cell[:], pbc=tuple(bool(p) for p in atoms.pbc))
    return Structure(
        lattice, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )


def _transformed(atoms: Atoms, transformation) -> Atoms:
    structure = transformation.apply_transformation(_structure(atoms))
    return Atoms(
        symbols=[site.specie.symbol for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=atoms.pbc,
        info=dict(atoms.info),
    )
