"""The files that a configuration names: structures, labelled frames, the frozen test set."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings, Frames, listed
from mace_core.contacts import close_contact
from mace_core.conventions import ISOLATED_ATOM
from mace_core.errors import UserError
from mace_core.frames import read_frames
from mace_core.seed.structures import read_structures
from mace_core.storage import sha256_file
from mace_core.train.labelled import frames_keys, is_isolated_atom

#: Arrays of three columns that are no forces.
_NOT_FORCES = {"positions", "momenta", "velocities", "initial_magmoms"}


def structures(config: Config, base: Path, found: Findings, frames: Frames) -> None:
    """Read the structures."""
    for k, path in enumerate(config.seed.structures):
        key = f"seed.structures.{k}"
        try:
            read = read_structures(base / path, config.seed.charge, config.seed.spin)
        except UserError as err:
            found.problem(key, path, err.what, err.mend or "give an ordered structure")
            continue
        frames.structures += [(path, atoms) for atoms in read]
        formulas = sorted({atoms.get_chemical_formula() for atoms in read})
        found.good.append(f"structure {path}: {len(read)} frame(s) of {', '.join(formulas[:4])}")
        for atoms in read:
            wrong = close_contact(atoms, config.explore.min_distance_factor)
            if wrong:
                found.problem(
                    key, path, wrong, "mend the structure, or lower explore.min_distance_factor"
                )
            if atoms.pbc.all() and abs(atoms.cell.volume) < 1e-6:
                found.problem(key, path, "periodic, but its cell has no volume", "give a cell")


def labelled(config: Config, base: Path, found: Findings, frames: Frames) -> None:
    """Look at the labelled files and at the frozen test set."""
    data = config.data
    hashes = {}
    for key, path, elements in (
        *((f"data.labelled.{k}", path, frames.labelled) for k, path in enumerate(data.labelled)),
        *([("data.frozen_test", data.frozen_test, frames.frozen)] if data.frozen_test else []),
    ):
        atoms = _first_frame(key, path, base, found)
        if atoms is None:
            continue
        digest = sha256_file(base / path)
        if digest in hashes:
            mend = "take one of them out" + (
                ": a test set that trains tests nothing" if key == "data.frozen_test" else ""
            )
            found.problem(key, path, f"the same content as {hashes[digest]}", mend)
        hashes[digest] = key
        for is_free_atom, some in _elements_in(base / path):
            elements |= some
            if is_free_atom and elements is frames.labelled:
                frames.isolated |= some
        carried = set(frames_keys([atoms]))
        _label_keys(config, key, path, atoms, carried, found)
        found.good.append(f"{key} {path}: {', '.join(sorted(carried & _keys(data)))}")


def _label_keys(
    config: Config, key: str, path: str, atoms: Atoms, carried: set[str], found: Findings
) -> None:
    """Whether a frame has labels under the names given; one kind may be missing."""
    data = config.data
    missing = [o for o in ("energy_key", "forces_key") if getattr(data, o) not in carried]
    for option in missing:
        name = getattr(data, option)
        if option == "forces_key" and is_isolated_atom(atoms):
            continue
        if len(missing) == 2 or _other_name(option, atoms, _keys(data)):
            found.problem(
                key,
                path,
                f"its first frame has no {name!r} (it has {listed(carried) or 'no labels'})",
                f"set data.{option} to the name that the file uses",
            )
        else:
            found.notes.append(
                f"{key}: {path!r}: its first frame has no {name!r}: it weighs nothing"
            )


def _other_name(option: str, atoms: Atoms, known: set[str]) -> bool:
    """Whether a frame seems to have this kind of label under another name."""
    everything = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc else {})}
    others = {k: v for k, v in everything.items() if k not in known | _NOT_FORCES}
    if option == "energy_key":
        return any("energ" in name.lower() for name in others)
    return any(np.shape(value) == (len(atoms), 3) for value in others.values())


def _keys(data) -> set[str]:
    return {data.energy_key, data.forces_key, data.stress_key}


def _first_frame(key: str, path: str, base: Path, found: Findings) -> Atoms | None:
    if not (base / path).is_file():
        found.problem(
            key, path, "no such file", "check the path; it starts from the working folder"
        )
        return None
    try:
        read = read_frames(base / path, "0:1")
    except UserError as err:
        found.problem(key, path, err.what, "give an extxyz file")
        return None
    if not read or not len(read[0]):
        found.problem(key, path, "holds no frame", "take it out of the configuration")
        return None
    return read[0]


def count_frames(path: str | Path) -> int:
    """Frames of an extxyz file."""
    return sum(1 for _ in _elements_in(Path(path)))


def _elements_in(path: Path) -> Iterator[tuple[bool, set[str]]]:
    """Whether each frame of an extxyz file is a free atom, and its elements.

    Read as text: building every frame of a large file would take longer than all else here.
    """
    with open(path, encoding="utf-8", errors="replace") as handle:
        while (line := handle.readline()).strip().isdigit():
            size, comment = int(line), handle.readline()
            rows = [handle.readline().split() for _ in range(size)]
            column = _species_column(comment)
            elements = {row[column] for row in rows if len(row) > column}
            yield size == 1 and ISOLATED_ATOM in comment, elements


def _species_column(comment: str) -> int:
    properties = re.search(r'Properties="?([^\s"]+)', comment)
    column = 0
    if properties:
        parts = properties[1].split(":")
        for name, width in zip(parts[::3], parts[2::3], strict=False):
            if name == "species":
                return column
            column += int(width)
    return 0
