"""The frames on which a campaign's costs are measured: its own structures."""

from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.frames import canonical, read_frames
from mace_core.seed.crystals import supercell
from mace_core.seed.structures import read_structures
from mace_core.train.labelled import is_isolated_atom

#: Of a labelled file as many frames are looked at.
_LABELLED = 20


def base_frames(config: Config) -> list[Atoms]:
    """The structures as generation 0 labels them, repeated where asked; canonical.

    Where a campaign has none: frames of its labelled files.
    """
    seed, frames = config.seed, []
    for path in seed.structures:
        for atoms in read_structures(path, seed.charge, seed.spin):
            if atoms.pbc.any() and seed.supercell != (1, 1, 1):
                atoms = supercell(atoms, seed.supercell)
            frames.append(canonical(atoms))
    if not frames:
        for path in config.data.labelled:
            frames += [
                canonical(Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc, info=_state(a)))
                for a in read_frames(path, f":{_LABELLED}")
                if not is_isolated_atom(a)
            ]
    return frames


def _state(atoms: Atoms) -> dict[str, int]:
    return {key: int(atoms.info[key]) for key in ("charge", "spin") if key in atoms.info}
