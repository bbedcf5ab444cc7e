"""Evaluates one model or a committee by the native kernels."""

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mace_core.errors import UserError
from mace_core.inference.pack import Packer, Radial
from mace_core.inference.pairs import Pairs
from mace_core.inference.splines import TOLERANCE, Knots, knots_for
from mace_core.inference.structs import Frames, Results, array_of, integers
from mace_core.model.model import MACE
from mace_core.native.loader import fits, library

#: What the kernels have room for (``native/tables.h``, ``native/shared.h``).
MAX_ELL, MAX_L, MAX_LAYERS = 4, 3, 8
#: Of a thread, in atoms × :attr:`Packer.atom_work`: some 0.2 ms. With less it gains nothing.
LEAST_WORK = 30_000


def supported(model: MACE) -> str | None:
    """Why the kernels cannot evaluate ``model``; None if they can."""
    a = model.architecture
    if library() is None:
        return "there are no native kernels"
    if not fits(library()):
        return "the native kernels are of another version; `make install` builds them again"
    if a.max_ell > MAX_ELL or a.max_L > MAX_L or a.num_interactions > MAX_LAYERS:
        return f"more than max_ell {MAX_ELL}, max_L {MAX_L} or {MAX_LAYERS} layers"
    return None


@dataclass(frozen=True)
class Evaluated:
    """Members' results, float64, for the atoms in the caller's order.

    Attributes:
        node_energy: [M, n_atoms] eV.
        forces: [M, n_atoms, 3] eV/Å.
        virial: [M, n_frames, 3, 3] Σ_ij r_ij ⊗ ∂E/∂r_ij, eV: volume · stress, not yet symmetric.
    """

    node_energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class Engine:
    """Models of one architecture, packed for the kernels.

    Radial functions become splines (:mod:`mace_core.inference.splines`) whose error is below
    :data:`mace_core.inference.splines.TOLERANCE` of their largest value.

    Weights are packed for the elements that were seen: with many elements in the model and a
    few in the atoms this saves memory. They are copied: a model that is trained on needs a new
    engine.

    Args:
        models: one or more, alike in everything but weights.
        dtype: precision of the kernels.
        head: which of the models' energies.
        threads: that share the atoms of a call; fewer where they would have less than
            :data:`LEAST_WORK`. One number gives bitwise the same results every time, another
            number the same to rounding.

    Raises:
        UserError: a model is not :func:`supported`, or they differ.
    """

    def __init__(self, models: Sequence[MACE], dtype: torch.dtype, head: int = 0, threads: int = 1):
        reason = supported(models[0])
        if reason is not None:
            raise UserError(f"the native engine cannot evaluate this model: {reason}")
        if any(m.architecture != models[0].architecture for m in models):
            raise UserError("the models differ in architecture")
        self.models, self.dtype, self.head = list(models), dtype, head
        self.threads = threads
        self.lock = threading.Lock()  # calls share their memory
        self.r_max, self.elements = models[0].r_max, models[0].elements
        self.species: list[int] = []  # those packed so far
        self.knots: Knots | None = None
        kernels = library()
        name = str(dtype).removeprefix("torch.")
        self._evaluate = getattr(kernels, f"maceloop_evaluate_{name}")
        self._evaluate.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] + [ctypes.c_void_p] * 2
        kernels.maceloop_memory_new.restype = ctypes.c_void_p
        kernels.maceloop_memory_free.argtypes = [ctypes.c_void_p]
        self._memory = kernels.maceloop_memory_new()
        self._free = kernels.maceloop_memory_free

    def __del__(self):
        if getattr(self, "_memory", None):
            self._free(self._memory)
            self._memory = None

    def __len__(self) -> int:
        return len(self.models)

    def __reduce__(self):
        """Copies and pickles pack their own weights: addresses mean nothing elsewhere."""
        return Engine, (self.models, self.dtype, self.head, self.threads)

    def bind(self, pairs: Pairs) -> "Bound":
        """Ready to evaluate atoms with these pairs at any positions."""
        present = np.unique(pairs.species).tolist()
        if not set(present) <= set(self.species):
            self._pack(sorted({*present, *self.species}))
        return Bound(self, pairs)

    def _pack(self, species: list[int]) -> None:
        radials = [Radial(model, species) for model in self.models]
        functions = [f for radial in radials for f in radial.all_functions()]
        self.knots = knots_for(functions, self.r_max, TOLERANCE[self.dtype])
        packer = Packer(self.models[0], self.dtype, species)
        self.architecture = packer.architecture(self.r_max, self.knots, radials[0])
        self.atom_work = packer.atom_work
        self.members = array_of(
            [
                packer.member(model, radial, self.knots, self.head)
                for model, radial in zip(self.models, radials, strict=True)
            ]
        )
        self.species = species


class Bound:
    """An engine with the pairs of some atoms: what one call needs besides positions."""

    def __init__(self, engine: Engine, pairs: Pairs):
        self.engine, self.pairs = engine, pairs
        self.architecture, self.members = engine.architecture, engine.members
        n_atoms = len(pairs.order)
        worth = n_atoms * engine.atom_work // LEAST_WORK
        place = np.full(len(engine.elements), -1)
        place[engine.species] = np.arange(len(engine.species))
        self._frames = Frames(
            n_atoms=n_atoms,
            n_frames=pairs.n_frames,
            n_pairs=len(pairs.sender),
            n_threads=max(1, min(engine.threads, n_atoms, worth)),
            order=pairs.order,
            species=integers(place[pairs.species]),
            frame=pairs.frame,
            first=pairs.first,
            sender=pairs.sender,
            shift=pairs.shift,
        )

    def __reduce__(self):
        return Engine.bind, (self.engine, self.pairs)

    def evaluate(self, positions: np.ndarray) -> Evaluated:
        """Energies, forces and virials.

        Args:
            positions: [n_atoms, 3] Å, frames one after the other.

        Raises:
            MemoryError: there is not enough, or no thread can be started.
        """
        positions = np.ascontiguousarray(positions, dtype=np.float64)
        members, n, frames = len(self.engine), len(self.pairs.order), self.pairs.n_frames
        out = Evaluated(
            np.empty((members, n)), np.empty((members, n, 3)), np.empty((members, frames, 3, 3))
        )
        results = Results(node_energy=out.node_energy, forces=out.forces, virial=out.virial)
        with self.engine.lock:
            self._frames.positions = positions.ctypes.data
            failed = self.engine._evaluate(
                self.engine._memory,
                ctypes.byref(self.architecture),
                self.members,
                members,
                ctypes.byref(self._frames),
                ctypes.byref(results),
            )
        if failed:
            raise MemoryError("no memory or no thread for the native engine")
        return out
