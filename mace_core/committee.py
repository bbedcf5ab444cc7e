"""Several models of the same data: their mean, and how far they spread."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from mace_core import conventions as keys
from mace_core.errors import UserError
from mace_core.inference.engine import Bound, Engine, supported
from mace_core.inference.pairs import Pairs, VerletList
from mace_core.model.files import DTYPES, load_model
from mace_core.model.graph import Graph, batch, graph_of
from mace_core.model.model import MACE
from mace_core.native.loader import library
from mace_core.threads import threads_or_default

#: ``native``: the compiled kernels; ``torch``: the model itself, on any device; ``auto``: native
#: where it can be.
Backend = Literal["auto", "native", "torch"]


@dataclass(frozen=True)
class Prediction:
    """What a committee of M members says about one frame.

    A spread is unbiased (M − 1) and in the unit of its quantity; with one member it is NaN.

    Attributes:
        energy: eV, mean over members.
        forces: [n, 3] eV/Å, mean.
        node_energy: [n] eV, mean.
        stress: [6] Voigt eV/Å³, mean; None if not asked for or not periodic in all directions.
        member_energy: [M] eV.
        member_forces: [M, n, 3] eV/Å.
    """

    energy: float
    forces: np.ndarray
    node_energy: np.ndarray
    stress: np.ndarray | None
    member_energy: np.ndarray
    member_forces: np.ndarray

    @property
    def energy_std(self) -> float:
        """Standard deviation of the members' energies, eV."""
        return float(_std(self.member_energy))

    @property
    def forces_std(self) -> np.ndarray:
        """[n] eV/Å: √(Σ_m |F_m − F̄|² / (M − 1)) of each atom, over the three components."""
        return np.sqrt((_std(self.member_forces) ** 2).sum(axis=-1))

    @property
    def max_forces_std(self) -> float:
        """The largest ``forces_std`` of the frame, eV/Å."""
        return float(self.forces_std.max())


class Committee:
    """Models that share elements and cutoff.

    Args:
        models: one or more; their weights are not changed any more.
        device: torch device they run on.
        backend: what evaluates energies and forces; descriptors are torch's.
        threads: of the native kernels; by default as many as
            :func:`mace_core.threads.threads_or_default` says. Torch has its own.

    Raises:
        UserError: no models, or they differ in elements, cutoff or precision; ``native`` for models
            or a device that it does not serve; no number of threads.
    """

    def __init__(
        self,
        models: Sequence[MACE],
        device: str = "cpu",
        backend: Backend = "auto",
        threads: int | None = None,
    ):
        if backend not in get_args(Backend):
            raise UserError(f"unknown backend {backend!r}", mend=", ".join(get_args(Backend)))
        if not models:
            raise UserError("a committee needs at least one model")
        self.models = [model.to(device).eval().requires_grad_(False) for model in models]
        self.device = device
        first = self.models[0]
        for name in ("elements", "r_max", "dtype"):
            values = [getattr(model, name) for model in self.models]
            if any(value != values[0] for value in values):
                raise UserError(f"the committee's models differ in {name}: {values}")
        self.elements, self.r_max, self.dtype = first.elements, first.r_max, first.dtype
        self.engine = _engine(self.models, device, backend, threads_or_default(threads))

    def __len__(self) -> int:
        return len(self.models)

    @classmethod
    def load(
        cls,
        folders: Sequence[str | Path],
        dtype: torch.dtype | str | None = None,
        device: str = "cpu",
        backend: Backend = "auto",
        threads: int | None = None,
    ) -> "Committee":
        """The committee of models in ``folders`` (see :func:`mace_core.model.files.save_model`)."""
        if isinstance(dtype, str):
            dtype = DTYPES[dtype]
        models = [load_model(folder, dtype, device) for folder in folders]
        return cls(models, device, backend, threads)

    def graph(self, atoms: Atoms) -> Graph:
        """``atoms`` as the members see it.

        Raises:
            UserError: an element that the models do not know.
        """
        return graph_of(atoms, self.r_max, self.elements, self.dtype)

    def predict(
        self, atoms_list: Sequence[Atoms], batch_size: int = 8, stress: bool = False
    ) -> list[Prediction]:
        """Mean and spread of each frame, in order.

        Args:
            atoms_list: frames.
            batch_size: frames evaluated at once.
            stress: also stress, for frames periodic in all directions.
        """
        predictions = []
        for start in range(0, len(atoms_list), batch_size):
            frames = atoms_list[start : start + batch_size]
            if self.engine is not None:
                bound = self.engine.bind(Pairs.build(frames, self.r_max, self.elements))
                predictions += _native_predictions(bound, frames, stress)
            else:
                predictions += self._predict([self.graph(atoms) for atoms in frames], stress)
        return predictions

    def descriptors(self, atoms_list: Sequence[Atoms], batch_size: int = 8) -> list[np.ndarray]:
        """[n_atoms, n_features] of each frame: the first member's invariant features."""
        found = []
        for start in range(0, len(atoms_list), batch_size):
            graphs = [self.graph(atoms) for atoms in atoms_list[start : start + batch_size]]
            features = self.models[0].descriptors(batch(graphs).to(self.device)).cpu()
            found += [part.numpy() for part in features.split([g.n_atoms for g in graphs])]
        return found

    def _predict(self, graphs: list[Graph], stress: bool) -> list[Prediction]:
        together = batch(graphs).to(self.device)
        stress = stress and bool(together.periodic.any())
        outs = [model(together, forces=True, stress=stress) for model in self.models]

        def members(name: str) -> np.ndarray:
            return torch.stack([getattr(out, name) for out in outs]).double().cpu().numpy()

        energy, forces, node_energy = members("energy"), members("forces"), members("node_energy")
        sigma = members("stress").mean(axis=0) if stress else None
        predictions, start = [], 0
        for k, graph in enumerate(graphs):
            atoms = slice(start, start + graph.n_atoms)
            start = atoms.stop
            of_frame = None
            if sigma is not None and bool(graph.periodic[0]):
                of_frame = full_3x3_to_voigt_6_stress(sigma[k])
            predictions.append(
                Prediction(
                    energy=float(energy[:, k].mean()),
                    forces=forces[:, atoms].mean(axis=0),
                    node_energy=node_energy[:, atoms].mean(axis=0),
                    stress=of_frame,
                    member_energy=energy[:, k],
                    member_forces=forces[:, atoms],
                )
            )
        return predictions


class Follower:
    """Predicts the same atoms again and again as they move: MD.

    Neighbours are searched for a skin further than the cutoff, and again only when an atom has
    moved half of it, or the atoms are others. Results do not depend on it, to the last bit.

    Args:
        committee: that predicts.
        skin: Å.
    """

    def __init__(self, committee: Committee, skin: float = 0.6):
        self.committee = committee
        self.neighbours = VerletList(committee.r_max, committee.elements, skin)
        self._bound: Bound | None = None

    def predict(self, atoms: Atoms, stress: bool = False) -> Prediction:
        """As :meth:`Committee.predict` for one frame."""
        if self.committee.engine is None:
            return self.committee.predict([atoms], stress=stress)[0]
        pairs = self.neighbours.update(atoms)
        if self._bound is None or self._bound.pairs is not pairs:
            self._bound = self.committee.engine.bind(pairs)
        return _native_predictions(self._bound, [atoms], stress)[0]


def _engine(models: Sequence[MACE], device: str, backend: Backend, threads: int) -> Engine | None:
    """The native engine, None for torch."""
    if backend == "torch":
        return None
    first = models[0]
    reason = next((reason for reason in map(supported, models) if reason is not None), None)
    if reason is None and torch.device(device).type != "cpu":
        reason = f"the native kernels run on CPUs only, not on {device}"
    if reason is None and first.default_head is None:
        reason = "it has several heads and none of them is the default"
    if reason is None and any(model.architecture != first.architecture for model in models):
        reason = "the members differ in architecture"
    if reason is None:
        return Engine(models, first.dtype, first.default_head, threads)
    if backend == "native":
        raise UserError(f"no native evaluation: {reason}", where="backend", mend="auto or torch")
    if library() is not None and torch.device(device).type == "cpu":
        warnings.warn(f"evaluated by torch, slower: {reason}", stacklevel=3)
    return None


def _native_predictions(bound: Bound, frames: Sequence[Atoms], stress: bool) -> list[Prediction]:
    """Of the frames that ``bound`` was made for, at their present positions."""
    if len(frames) == 1:
        positions = frames[0].positions
    else:
        positions = np.concatenate([atoms.positions for atoms in frames])
    out = bound.evaluate(positions)
    forces, node_energy = _mean(out.forces), _mean(out.node_energy)
    predictions, start = [], 0
    for k, atoms in enumerate(frames):
        own = slice(start, start + len(atoms))
        start = own.stop
        energy = out.node_energy[:, own].sum(axis=1)
        sigma = None
        if stress and atoms.pbc.all():
            sigma = _mean(out.virial[:, k]) / _volume(atoms.cell.array)
            sigma = ((sigma + sigma.T) / 2).ravel()[_VOIGT]
        predictions.append(
            Prediction(
                energy=float(_mean(energy)),
                forces=forces[own],
                node_energy=node_energy[own],
                stress=sigma,
                member_energy=energy,
                member_forces=out.forces[:, own],
            )
        )
    return predictions


#: Places of xx yy zz yz xz xy in a flat 3×3 matrix.
_VOIGT = np.array([0, 4, 8, 5, 2, 1])


def _mean(of_members: np.ndarray) -> np.ndarray:
    """Over the first axis. A single model's step should not pay for a mean."""
    return of_members[0] if len(of_members) == 1 else of_members.mean(axis=0)


def _volume(cell: np.ndarray) -> float:
    """Å³. In plain floats: numpy's determinant takes longer than a small system's forces may."""
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def evaluate_frames(
    committee: Committee, frames: Sequence[Atoms], batch_size: int = 8
) -> list[Atoms]:
    """Copies of ``frames`` with the committee's predictions under the ``MACE_*`` keys.

    ``MACE_stress`` is set where a frame is periodic in all directions, ``MACE_forces_std`` where
    the committee has more than one member.
    """
    evaluated = []
    predictions = committee.predict(frames, batch_size, stress=True)
    for atoms, p in zip(frames, predictions, strict=True):
        frame = atoms.copy()
        frame.info[keys.MACE_ENERGY] = p.energy
        frame.arrays[keys.MACE_FORCES] = p.forces
        if p.stress is not None:
            frame.info[keys.MACE_STRESS] = p.stress
        if len(committee) > 1:
            frame.arrays[keys.MACE_FORCES_STD] = p.forces_std
        evaluated.append(frame)
    return evaluated


def _std(values: np.ndarray) -> np.ndarray:
    """Unbiased standard deviation over the first axis; NaN for a single member."""
    if len(values) == 1:
        return np.full(values.shape[1:], np.nan)
    return values.std(axis=0, ddof=1)
