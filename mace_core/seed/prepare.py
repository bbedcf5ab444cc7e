"""Generation 0: all that is labelled before any model exists."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from mace_core.config.campaign import Config
from mace_core.contacts import close_contact
from mace_core.conventions import (
    CHARGE,
    FRAME_ID,
    GENERATION,
    ROLE,
    SPIN,
    STRATUM,
    WHY_PICKED,
    FrameRole,
)
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.label.isolated import isolated_atoms
from mace_core.seed.cheap_md import cheap_md
from mace_core.seed.crystals import supercell, vacancy_sites
from mace_core.seed.defects import Defect
from mace_core.seed.perturb import perturbed
from mace_core.seed.structures import distinct_names, read_structures
from mace_core.storage import derived_seed
from mace_core.strata import one_line


def prepare_seed(config: Config, labelled: Iterable[str | Path], out: str | Path) -> list[Atoms]:
    """Write generation 0's frames.

    The structures themselves, rattled (and strained) copies, vacancies, substitutions, frames of
    cheap MD, and an isolated atom of every element, also of those in the user's labelled data.
    Every frame is canonical and says where it comes from; all but isolated atoms name their
    stratum (:mod:`mace_core.strata`).

    Args:
        config: the campaign's, frozen.
        labelled: extxyz files of labelled frames that the user has.
        out: extxyz file to write.

    Returns:
        The frames written; no frame_id twice.

    Raises:
        UserError: a structure cannot be read or used, or no sane copy of it can be drawn.
    """
    bases = list(base_structures(config))
    frames = unique(seed_frames(config, bases))
    if config.data.E0s == "isolated":
        elements = {str(symbol) for frame in frames for symbol in frame.symbols}
        for path in labelled:
            elements |= {str(symbol) for frame in read_frames(path) for symbol in frame.symbols}
        frames = unique([*frames, *isolated_frames(config, elements)])
    write_frames(out, frames)
    return frames


def base_structures(config: Config) -> Iterator[tuple[str, Atoms]]:
    """Each structure with its name, repeated where asked; raises :class:`UserError`.

    The name is that of its stratum.
    """
    seed = config.seed
    for path, file_name in zip(seed.structures, distinct_names(seed.structures), strict=True):
        structures = read_structures(path, seed.charge, seed.spin)
        for k, atoms in enumerate(structures):
            name = file_name + (f" frame {k}" if len(structures) > 1 else "")
            _check_electrons(atoms, name, config)
            if atoms.pbc.any() and seed.supercell != (1, 1, 1):
                atoms = supercell(atoms, seed.supercell)
                name += f" ({'×'.join(map(str, seed.supercell))})"
            problem = close_contact(atoms, config.explore.min_distance_factor)
            if problem:
                raise UserError(
                    f"{name}: {problem}",
                    where="seed.structures",
                    mend="mend the structure, or lower explore.min_distance_factor",
                )
            yield one_line(name), atoms


def seed_frames(config: Config, bases: list[tuple[str, Atoms]]) -> Iterator[Atoms]:
    """Everything but the isolated atoms, in a fixed order."""
    for name, atoms in bases:
        yield _described(atoms, f"as given in {name}", name)
    if not bases:
        return
    crystals = [(name, atoms) for name, atoms in bases if atoms.pbc.any()]
    if not crystals and (config.seed.vacancies or config.seed.substitutions):
        key = "vacancies" if config.seed.vacancies else "substitutions"
        raise UserError(
            "vacancies and substitutions need a periodic structure",
            where=f"seed.{key}",
            mend="remove the key, or give a crystal",
        )
    defects = [*_vacancies(config, crystals), *_substitutions(config, crystals)]
    yield from _rattled(config, bases, [defect for defect, _ in defects])
    yield from (frame for _, frame in defects)
    yield from _md(config, bases)


def _rattled(config: Config, bases, defects: list[Defect]) -> Iterator[Atoms]:
    """Copies dealt out in turn over all strata: the structures, and the compositions of defects.

    Each copy of a composition is another random arrangement of it, so that the model learns the
    composition and not one order of its atoms.
    """
    seed = config.seed
    origins = [*bases, *{defect.name: defect for defect in defects}.values()]
    for k in range(seed.n_frames):
        origin = origins[k % len(origins)]
        std = seed.rattle_std[k // len(origins) % len(seed.rattle_std)]
        if isinstance(origin, Defect):
            stratum = origin.name
            atoms, source = origin.draw(_rng(config, "arrangement", k))
        else:
            stratum, atoms = origin
            source = stratum
        frame = perturbed(
            atoms,
            std,
            seed.strain_max,
            config.explore.min_distance_factor,
            _rng(config, "rattle", k),
            f"rattling {source} by {std:g} Å",
        )
        strain = " and strained" if atoms.pbc.any() and seed.strain_max else ""
        yield _described(frame, f"rattled {std:g} Å{strain} from {source}", stratum)


def _vacancies(config: Config, crystals) -> Iterator[tuple[Defect, Atoms]]:
    n = config.seed.vacancies
    for b, (name, atoms) in enumerate(crystals):
        count = len(range(b, n, len(crystals)))
        if count and len(atoms) < 2:
            raise UserError(
                f"{name} has one atom: nothing is left without it",
                where="seed.vacancies",
                mend="set seed.supercell",
            )
        for k, site in enumerate(vacancy_sites(atoms, count, _rng(config, "vacancy", b))):
            defect = Defect.vacancy(name, atoms, str(atoms.symbols[site]))
            yield defect, _defect(config, defect, *defect.at(site), k, "vacancy", b)


def _substitutions(config: Config, crystals) -> Iterator[tuple[Defect, Atoms]]:
    for s, rule in enumerate(config.seed.substitutions):
        where = f"seed.substitutions.{s}"
        for element in (rule.element, rule.by):
            if element not in atomic_numbers or element == "X":
                raise UserError(f"{element!r} is not an element", where=where)
        hosts = [(name, atoms) for name, atoms in crystals if rule.element in atoms.symbols]
        if not hosts:
            raise UserError(
                f"no periodic structure has {rule.element}", where=where, mend="mend `element`"
            )
        for b, (name, atoms) in enumerate(hosts):
            defect = Defect.substitution(name, atoms, rule, config.explore.min_distance_factor)
            drawn = defect.draw(_rng(config, "substitution", s, b))
            yield defect, _defect(config, defect, *drawn, b, "substitution", s)


def _defect(config: Config, defect: Defect, atoms: Atoms, why: str, k: int, *place) -> Atoms:
    """A crystal with a defect, rattled: its neighbours have to leave their lattice sites."""
    stds = config.seed.rattle_std
    std = stds[k % len(stds)]
    rng = _rng(config, "defect", *place, k)
    frame = perturbed(atoms, std, 0.0, config.explore.min_distance_factor, rng, why)
    return _described(frame, f"{why}, rattled {std:g} Å", defect.name)


def _md(config: Config, bases) -> Iterator[Atoms]:
    md = config.seed.md
    if md is None:
        return
    for b, (name, atoms) in enumerate(bases):
        count = len(range(b, md.n_frames, len(bases)))
        rng = _rng(config, "md", b)
        for step, frame in cheap_md(
            atoms, md, count, config.explore.min_distance_factor, rng, name
        ):
            how = f"MD at {md.temperature:g} K by {md.labeller.engine}"
            yield _described(frame, f"{how}, step {step}, of {name}", name)


def isolated_frames(config: Config, elements: Iterable[str]) -> list[Atoms]:
    """A free atom of each element, with the spin that the campaign's engine gives it."""
    return [
        _described(
            atoms, f"isolated {atoms.symbols[0]}: its energy is E0", None, FrameRole.ISOLATED
        )
        for atoms in isolated_atoms(elements, config.labeller)
    ]


def unique(frames: Iterable[Atoms]) -> list[Atoms]:
    """The first frame of each frame_id."""
    kept: dict[str, Atoms] = {}
    for frame in frames:
        kept.setdefault(frame.info[FRAME_ID], frame)
    return list(kept.values())


def _described(
    atoms: Atoms, why: str, stratum: str | None, role: FrameRole = FrameRole.SEED
) -> Atoms:
    frame = canonical(atoms)
    frame.info[ROLE] = str(role)
    frame.info[WHY_PICKED] = why
    frame.info[GENERATION] = 0
    if stratum is not None:
        frame.info[STRATUM] = stratum
    return frame


def _rng(config: Config, *place: int | str) -> np.random.Generator:
    return np.random.default_rng(derived_seed(config.campaign.seed, 0, "seed", *place))


def _check_electrons(atoms: Atoms, name: str, config: Config) -> None:
    """PySCF refuses an odd number of electrons with an even spin: say so before anything runs."""
    electrons = int(atoms.numbers.sum()) - atoms.info[CHARGE]
    if config.labeller.engine == "pyscf" and (electrons - atoms.info[SPIN]) % 2:
        raise UserError(
            f"{name}: {electrons} electrons cannot have N(up) − N(down) = {atoms.info[SPIN]}",
            where="seed.structures",
            mend="set seed.charge and seed.spin, or charge and spin in the file's info",
        )
