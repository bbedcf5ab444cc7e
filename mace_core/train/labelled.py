"""Labelled frames as users and programs write them, brought to the keys of this code base."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from mace_core.conventions import (
    CONFIG_TYPE,
    CONFIG_WEIGHT,
    FRAME_ID,
    ISOLATED_ATOM,
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
)
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames

#: Weights of one property of one frame, besides :data:`~mace_core.conventions.CONFIG_WEIGHT`.
PROPERTY_WEIGHTS = {
    REF_ENERGY: "config_energy_weight",
    REF_FORCES: "config_forces_weight",
    REF_STRESS: "config_stress_weight",
}


def read_labelled(
    path: str | Path,
    energy_key: str = REF_ENERGY,
    forces_key: str = REF_FORCES,
    stress_key: str = REF_STRESS,
) -> tuple[list[Atoms], list[Atoms]]:
    """The labelled frames of an extxyz file, and its isolated atoms apart.

    Frames come back canonical (:func:`mace_core.frames.canonical`) with their labels under
    ``REF_energy`` (eV), ``REF_forces`` (eV/Å) and ``REF_stress`` (Voigt, eV/Å³). A label may be
    missing on a frame. Bare keys such as ``energy`` are found too, where ASE puts them.

    Args:
        path: extxyz file.
        energy_key: key of the energy in ``info``.
        forces_key: key of the forces in ``arrays``.
        stress_key: key of the stress in ``info``, Voigt or 3 × 3, ASE's sign.

    Raises:
        UserError: the file cannot be read, no frame has a label under these keys, or a label is
            not finite or has a wrong shape.
    """
    frames = labelled_frames(path, energy_key, forces_key, stress_key)
    if frames and not any(has_label(frame) for frame in frames):
        seen = sorted(set(frames_keys(read_frames(path, ":1"))))
        raise UserError(
            f"no frame has a label under the keys {energy_key!r}, {forces_key!r}, {stress_key!r}",
            where=f"{path} (its first frame has: {', '.join(seen) or 'nothing'})",
            mend="set data.energy_key, data.forces_key and data.stress_key",
        )
    return (
        [frame for frame in frames if not is_isolated_atom(frame)],
        [frame for frame in frames if is_isolated_atom(frame)],
    )


def labelled_frames(
    path: str | Path, energy_key: str, forces_key: str, stress_key: str
) -> list[Atoms]:
    """All frames of an extxyz file in their order, as :func:`read_labelled` has them.

    Raises:
        UserError: the file cannot be read, or a label is not finite or has a wrong shape.
    """
    frames = []
    for number, atoms in enumerate(read_frames(path)):
        where = f"{path}, frame {number}"
        energy = _label(atoms, energy_key, "info")
        forces = _label(atoms, forces_key, "arrays")
        stress = _label(atoms, stress_key, "info")
        frame = canonical(atoms)
        frame.calc = None
        frame.info = {key: value for key, value in frame.info.items() if _kept(key)}
        for name in set(frame.arrays) - {"numbers", "positions"}:
            del frame.arrays[name]
        if energy is not None:
            frame.info[REF_ENERGY] = float(_finite(energy, (), energy_key, where))
        if forces is not None:
            frame.arrays[REF_FORCES] = _finite(forces, (len(frame), 3), forces_key, where)
        if stress is not None:
            stress = np.asarray(stress, dtype=float)
            if stress.size == 9:
                stress = full_3x3_to_voigt_6_stress(stress.reshape(3, 3))
            frame.info[REF_STRESS] = _finite(stress, (6,), stress_key, where)
        frames.append(frame)
    return frames


def is_isolated_atom(atoms: Atoms) -> bool:
    """Whether a frame is a free atom, whose energy is an E0."""
    return len(atoms) == 1 and atoms.info.get(CONFIG_TYPE) == ISOLATED_ATOM


def has_label(atoms: Atoms) -> bool:
    """Whether a frame has any label."""
    return REF_ENERGY in atoms.info or REF_FORCES in atoms.arrays or REF_STRESS in atoms.info


def frames_keys(frames: list[Atoms]) -> list[str]:
    """Keys of everything a frame carries, calculator results included."""
    return [
        key
        for atoms in frames
        for keys in (atoms.info, atoms.arrays, atoms.calc.results if atoms.calc else {})
        for key in keys
        if key not in ("numbers", "positions")
    ]


def property_weight(atoms: Atoms, key: str) -> float:
    """The weight of one label of one frame in the loss, 1 by default: 0 where it is missing."""
    if key not in (atoms.arrays if key == REF_FORCES else atoms.info):
        return 0.0
    if key == REF_STRESS and not atoms.pbc.all():
        return 0.0
    return float(atoms.info.get(PROPERTY_WEIGHTS[key], 1.0))


def config_weight(atoms: Atoms) -> float:
    """The weight of a frame in the loss, beside those of its labels."""
    return float(atoms.info.get(CONFIG_WEIGHT, 1.0))


def counts(atoms: Atoms, key: str) -> bool:
    """Whether a label of a frame is there and has a weight other than 0."""
    return config_weight(atoms) * property_weight(atoms, key) != 0


def _label(atoms: Atoms, key: str, place: str):
    """A label where the file has it, or where ASE's reader moved it to."""
    values = getattr(atoms, place)
    if key in values:
        return values[key]
    return atoms.calc.results.get(key) if atoms.calc else None


def _kept(key: str) -> bool:
    return key.startswith("config_") or key in (
        FRAME_ID,
        "charge",
        "spin",
        "role",
        "generation",
        "source",
        "walker",
        "group",
        "md_step",
        "why_picked",
        "stratum",
    )


def _finite(value, shape: tuple[int, ...], key: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise UserError(f"{key} is not a number: {value!r}", where=where) from None
    if array.shape != shape:
        raise UserError(f"{key} has shape {array.shape}, not {shape}", where=where)
    if not np.isfinite(array).all():
        raise UserError(
            f"{key} is not finite", where=where, mend="take the frame out, or only this label"
        )
    return array
