"""Reading what a user starts from, in any format that ASE or pymatgen reads."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from mace_core.conventions import CHARGE, SPIN
from mace_core.errors import UserError

#: Names of the total charge on frames that others wrote.
CHARGE_KEYS = (CHARGE, "total_charge")


def read_structures(path: str | Path, charge: int = 0, spin: int = 0) -> list[Atoms]:
    """All frames of a structure file: species, positions, cell, pbc, charge and spin, nothing else.

    ASE reads the file if it can, pymatgen otherwise.

    Args:
        path: any format that ASE or pymatgen reads.
        charge: total charge (e) of frames that do not say.
        spin: N(up) − N(down) of frames that do not say.

    Raises:
        UserError: the file is missing, cannot be read, holds no atoms, or sites that are partly
            occupied.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"structure file not found: {path}", where="seed.structures", mend="check the path"
        )
    problems = []
    for reader in (_read_ase, _read_pymatgen):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # parsers' advice on formats
                frames = reader(path)
        except UserError:
            raise
        except Exception as err:  # parsers raise anything
            problems.append(f"{reader.__name__.removeprefix('_read_')}: {_first_line(err)}")
            continue
        if frames and all(len(atoms) for atoms in frames):
            return [_plain(atoms, charge, spin) for atoms in frames]
        problems.append(f"{reader.__name__.removeprefix('_read_')}: no atoms in it")
    raise UserError(
        f"cannot read structures from {path}: " + "; ".join(problems),
        where="seed.structures",
        mend="give a file that ASE or pymatgen reads: xyz, extxyz, cif, POSCAR, json, …",
    )


def distinct_names(paths: Sequence[str | Path]) -> list[str]:
    """File names, with as many of their folders as tell files of one name apart."""
    parts = [Path(path).parts for path in paths]
    names = []
    for own in parts:
        others = [p for p in parts if p != own]
        n = next(
            n
            for n in range(1, len(own) + 1)
            if n == len(own) or own[-n:] not in [p[-n:] for p in others]
        )
        names.append(Path(*own[-n:]).as_posix())
    return names


def _read_ase(path: Path) -> list[Atoms]:
    frames = ase.io.read(path, ":")
    for atoms in frames:
        occupancy = atoms.info.get("occupancy") or {}
        if any(len(site) > 1 or min(site.values()) < 1 for site in occupancy.values()):
            raise _disordered(path)
    return frames


def _read_pymatgen(path: Path) -> list[Atoms]:
    from pymatgen.core import Molecule, Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    try:
        found = Structure.from_file(path)
    except Exception:
        found = Molecule.from_file(path)
    if not found.is_ordered:
        raise _disordered(path)
    atoms = AseAtomsAdaptor.get_atoms(found, msonable=False)
    if isinstance(found, Molecule):
        atoms.info = {CHARGE: int(found.charge), SPIN: int(found.spin_multiplicity) - 1}
    elif found._charge is not None:  # `charge` would sum the sites' formal oxidation states
        atoms.info = {CHARGE: int(found._charge)}
    return [atoms]


def _disordered(path: Path) -> UserError:
    return UserError(
        f"{path} has partly occupied sites",
        where="seed.structures",
        mend="give an ordered structure (pymatgen's OrderDisorderedStructureTransformation)",
    )


def _plain(atoms: Atoms, charge: int, spin: int) -> Atoms:
    said = next((atoms.info[key] for key in CHARGE_KEYS if key in atoms.info), charge)
    periodic = atoms.pbc.any()
    return Atoms(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell if periodic else None,
        pbc=atoms.pbc,
        info={CHARGE: int(said), SPIN: int(atoms.info.get(SPIN, spin))},
    )


def _first_line(err: Exception) -> str:
    text = str(err).strip() or type(err).__name__
    return text.splitlines()[0][:200]
