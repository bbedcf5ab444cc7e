"""A frame's canonical form, its identity, and reading and writing sets of frames."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mace_core.conventions import CHARGE, FRAME_ID, SPIN
from mace_core.errors import UserError
from mace_core.storage import sha256_json, write_text

#: Decimals (Å) that make a frame's identity; extxyz keeps eight, so a frame survives the disk.
DECIMALS = 6


def canonical(atoms: Atoms) -> Atoms:
    """A copy with positions and cell rounded to :data:`DECIMALS`, charge and spin explicit, an id.

    Labels are computed on this form, so that the label belongs exactly to what is stored.
    """
    frame = atoms.copy()
    frame.positions = np.round(frame.positions, DECIMALS) + 0.0
    frame.cell[:] = np.round(frame.cell[:], DECIMALS) + 0.0
    frame.info[CHARGE] = int(frame.info.get(CHARGE, 0))
    frame.info[SPIN] = int(frame.info.get(SPIN, 0))
    frame.info[FRAME_ID] = frame_id(frame)
    return frame


def frame_id(atoms: Atoms) -> str:
    """20 hex digits that name a frame by its content.

    Species, positions, cell (rounded to :data:`DECIMALS` Å), pbc, charge and spin enter, in the
    order of the atoms; nothing else does.
    """

    def ints(values):
        return np.rint(np.asarray(values) * 10**DECIMALS).astype(np.int64).tolist()

    content = [
        atoms.numbers.tolist(),
        ints(atoms.positions),
        ints(atoms.cell[:]) if atoms.pbc.any() else [],
        atoms.pbc.tolist(),
        int(atoms.info.get(CHARGE, 0)),
        int(atoms.info.get(SPIN, 0)),
    ]
    return sha256_json(content)[:20]


def read_frames(path: str | Path, index: str = ":") -> list[Atoms]:
    """All frames of an extxyz file, an empty file included.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"file not found: {path}", mend="check the path")
    if path.stat().st_size == 0:
        return []
    try:
        frames = ase.io.read(path, index, format="extxyz")
    except Exception as err:
        raise UserError(f"cannot read frames: {err}", where=str(path)) from err
    for atoms in frames:
        # ASE reads hex digits that happen to look like a number (12…, 1e9…) as one.
        if not isinstance(atoms.info.get(FRAME_ID, ""), str):
            atoms.info[FRAME_ID] = frame_id(atoms)
    return frames


def write_frames(path: str | Path, frames: Iterable[Atoms]) -> None:
    """Write frames as extxyz, whole or not at all. No frames make an empty file.

    Text in ``info`` becomes one line, and empty text is left out: extxyz cannot hold either.
    """
    buffer = io.StringIO()
    for atoms in frames:
        plain = atoms.copy()  # without its calculator: labels live in REF_*, never in results
        for key, value in atoms.info.items():
            if isinstance(value, str):
                plain.info[key] = " ".join(value.split())
                if not value.strip():
                    del plain.info[key]
        ase.io.write(buffer, plain, format="extxyz")
    write_text(path, buffer.getvalue())


def dataset_hash(frames: Sequence[Atoms]) -> str:
    """Hex SHA-256 over the frames' ids and labels, whatever the order of the frames."""
    from mace_core.conventions import REF_ENERGY, REF_FORCES, REF_STRESS

    rows = []
    for atoms in frames:
        row = [frame_id(atoms)]
        for value in (
            atoms.info.get(REF_ENERGY),
            atoms.arrays.get(REF_FORCES),
            atoms.info.get(REF_STRESS),
        ):
            row.append(None if value is None else np.round(value, 6).tolist())
        rows.append(row)
    return sha256_json(sorted(rows, key=lambda row: row[0]))
