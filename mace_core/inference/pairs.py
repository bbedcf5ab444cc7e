"""Pairs of neighbours as the kernels take them, kept while the atoms have not moved far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mace_core.model.graph import species_of
from mace_core.neighbours import neighbours_of

#: Atoms from which a frame is sorted in space, and the size of a place in it, Å.
LARGE, BIN = 1000, 4.0


@dataclass(frozen=True)
class Pairs:
    """Atoms of one or several frames sorted by element, and their pairs sorted by receiver.

    Pairs may be further apart than the cutoff: the kernels leave those out. The order of a
    receiver's pairs does not depend on how they were found, so that sums over them are the same to
    the last bit with any skin.

    Attributes:
        order: [n_atoms] sorted → caller's index.
        species: [n_atoms] index among the model's elements, sorted.
        frame: [n_atoms] sorted.
        first: [n_atoms + 1] range of pairs of each receiver.
        sender: [n_pairs] sorted index.
        shift: [n_pairs, 3] S · cell, Å.
        n_frames: number of frames.
    """

    order: np.ndarray
    species: np.ndarray
    frame: np.ndarray
    first: np.ndarray
    sender: np.ndarray
    shift: np.ndarray
    n_frames: int

    @classmethod
    def build(cls, frames: Sequence[Atoms], cutoff: float, elements: Sequence[int]) -> "Pairs":
        """All pairs within ``cutoff``, Å.

        Raises:
            UserError: an element not among ``elements``; positions or cells that make no sense.
        """
        species = species_of(np.concatenate([atoms.numbers for atoms in frames]), elements)
        frame = np.repeat(np.arange(len(frames), dtype=np.int32), [len(a) for a in frames])
        n = len(species)
        near = np.concatenate([_along_curve(atoms) for atoms in frames])
        order = np.lexsort((near, species))
        rank = np.empty_like(order)
        rank[order] = np.arange(n)
        first_atom = np.cumsum([0, *map(len, frames)])
        found = list(neighbours_of(frames, cutoff))
        receiver, sender = rank[
            np.concatenate([ij + a for (ij, _), a in zip(found, first_atom, strict=False)], axis=1)
        ]
        S = np.concatenate([S for _, S in found]).astype(np.int64)
        shift = np.concatenate(
            [S @ atoms.cell.array for (_, S), atoms in zip(found, frames, strict=True)]
        )
        by_receiver = np.argsort(_key(receiver, sender, S, n), kind="stable")
        counts = np.bincount(receiver, minlength=n)
        return cls(
            order=order.astype(np.int64),
            species=species[order].astype(np.int32),
            frame=frame[order],
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            sender=sender[by_receiver].astype(np.int32),
            shift=np.ascontiguousarray(shift[by_receiver], dtype=np.float64),
            n_frames=len(frames),
        )


def _along_curve(atoms: Atoms) -> np.ndarray:
    """[n] sorts atoms so that near ones come soon after each other: along a Morton curve.

    Only in frames so large that what a kernel gathers would not stay in the caches otherwise; for
    the others the order, and with it the last bit of the results, does not depend on positions.
    """
    if len(atoms) < LARGE:
        return np.zeros(len(atoms), np.int64)
    positions = atoms.get_positions(wrap=True)
    bins = ((positions - positions.min(axis=0)) / BIN).astype(np.int64)
    bits = np.arange(20)
    return (((bins[:, :, None] >> bits) & 1) << (3 * bits + np.arange(3)[:, None])).sum(axis=(1, 2))


def _key(receiver: np.ndarray, sender: np.ndarray, S: np.ndarray, n: int) -> np.ndarray:
    """[n_pairs] one number that sorts pairs by receiver, then sender, then unit shift."""
    key = receiver * n + sender
    for of_axis in S.T:
        low = of_axis.min(initial=0)
        key = key * (of_axis.max(initial=0) - low + 1) + (of_axis - low)
    return key


class VerletList:
    """The pairs of one frame within cutoff + skin, built again when they could miss one.

    While no atom has moved by half the skin since, no pair has come into the cutoff unseen.

    Args:
        cutoff: Å.
        elements: of the model.
        skin: Å.
    """

    def __init__(self, cutoff: float, elements: Sequence[int], skin: float):
        self.cutoff, self.elements, self.skin = cutoff, list(elements), skin
        self.pairs: Pairs | None = None
        self.n_builds = 0

    def update(self, atoms: Atoms) -> Pairs:
        """The pairs of ``atoms``; the same object as before if they still serve."""
        if self.pairs is None or not self._serves(atoms):
            self.pairs = None  # nothing is kept if the atoms are refused
            self.pairs = Pairs.build([atoms], self.cutoff + self.skin, self.elements)
            self.n_builds += 1
            self._kind, self._positions = _kind(atoms), atoms.positions.copy()
        return self.pairs

    def _serves(self, atoms: Atoms) -> bool:
        if _kind(atoms) != self._kind:
            return False
        moved = atoms.positions - self._positions
        # Not "greater": positions that are not numbers have to be looked at again.
        return bool(np.einsum("ik,ik->i", moved, moved).max() <= (self.skin / 2) ** 2)


def _kind(atoms: Atoms) -> tuple[bytes, bytes, bytes]:
    """All that pairs depend on besides positions."""
    return atoms.numbers.tobytes(), atoms.pbc.tobytes(), atoms.cell.array.tobytes()
