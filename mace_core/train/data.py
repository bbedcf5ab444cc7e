"""Labelled frames as tensors: graphs built once, batches put together from them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

from mace_core.conventions import REF_ENERGY, REF_FORCES, REF_STRESS
from mace_core.model.graph import Graph, batch, graph_of
from mace_core.train.labelled import PROPERTY_WEIGHTS, config_weight, property_weight

#: Edges of a batch that is only evaluated: large enough to spare calls, small enough for caches.
_EDGES = 10_000


@dataclass(frozen=True)
class Targets:
    """Labels of a batch, zero where they are missing, and what each weighs in the loss."""

    energy: Tensor  # [n_frames] eV
    forces: Tensor  # [n_atoms, 3] eV/Å
    stress: Tensor  # [n_frames, 3, 3] eV/Å³
    n_atoms: Tensor  # [n_frames]
    weight: Tensor  # [n_frames] of the frame
    atoms_weight: Tensor  # [n_atoms, 1] of the atom's frame
    energy_weight: Tensor  # [n_frames], of the property on the frame, 0 where it is missing
    forces_weight: Tensor  # [n_atoms, 1]
    stress_weight: Tensor  # [n_frames, 1, 1]

    @classmethod
    def of(cls, atoms: Atoms, dtype: torch.dtype) -> "Targets":
        """Labels and weights of one frame."""
        n = len(atoms)
        stress = np.asarray(atoms.info.get(REF_STRESS, np.zeros(6)), dtype=float)
        if stress.size == 6:
            stress = voigt_6_to_full_3x3_stress(stress)
        of_property = {key: property_weight(atoms, key) for key in PROPERTY_WEIGHTS}
        of_frame = config_weight(atoms)
        return cls(
            energy=torch.tensor([atoms.info.get(REF_ENERGY, 0.0)], dtype=torch.float64),
            forces=torch.tensor(atoms.arrays.get(REF_FORCES, np.zeros((n, 3))), dtype=dtype),
            stress=torch.tensor(stress.reshape(1, 3, 3), dtype=dtype),
            n_atoms=torch.tensor([n], dtype=dtype),
            weight=torch.tensor([of_frame], dtype=dtype),
            atoms_weight=torch.full((n, 1), of_frame, dtype=dtype),
            energy_weight=torch.tensor([of_property[REF_ENERGY]], dtype=dtype),
            forces_weight=torch.full((n, 1), of_property[REF_FORCES], dtype=dtype),
            stress_weight=torch.full((1, 1, 1), of_property[REF_STRESS], dtype=dtype),
        )

    def total_weight(self, name: str) -> Tensor:
        """ω of a property's terms: the weight of the frame times that of the property."""
        if name == "forces":
            return self.atoms_weight * self.forces_weight
        weight = getattr(self, f"{name}_weight")
        return self.weight.view(weight.shape) * weight

    @classmethod
    def join(cls, parts: Sequence["Targets"]) -> "Targets":
        """The targets of several frames one after the other."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def to(self, device: str) -> "Targets":
        """The same on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class Dataset:
    """Frames with their graphs and targets.

    Args:
        frames: with ``REF_*`` labels, any of which may be missing.
        elements: atomic numbers of the model.
        r_max: Å, the model's cutoff.
        dtype: of positions, forces and weights.
        device: torch device on which batches lie.
        valid_batch_size: frames of a batch that is only evaluated; as many as make about 10,000
            edges when not given. It changes speed and memory only.
    """

    def __init__(
        self,
        frames: Sequence[Atoms],
        elements: Sequence[int],
        r_max: float,
        dtype: torch.dtype,
        device: str = "cpu",
        valid_batch_size: int | None = None,
    ):
        self.frames = list(frames)
        self.valid_batch_size = valid_batch_size
        self.graphs = [graph_of(atoms, r_max, elements, dtype).to(device) for atoms in frames]
        self.targets = [Targets.of(atoms, dtype).to(device) for atoms in frames]
        self.has_stress = any(bool(target.total_weight("stress").any()) for target in self.targets)

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, indices: Sequence[int]) -> tuple[Graph, Targets]:
        """The frames at ``indices`` as one graph, and their targets."""
        return (
            batch([self.graphs[i] for i in indices]),
            Targets.join([self.targets[i] for i in indices]),
        )

    @cached_property
    def large_batches(self) -> list[tuple[Graph, Targets]]:
        """All frames in order, in batches fit for evaluation."""
        groups, edges, size = [[]], 0, self.valid_batch_size
        for index, graph in enumerate(self.graphs):
            edges += graph.n_edges
            full = edges > _EDGES if size is None else len(groups[-1]) == size
            if groups[-1] and full:
                groups.append([])
                edges = graph.n_edges
            groups[-1].append(index)
        return [self.batch(group) for group in groups]

    def shuffled(self, batch_size: int, seed: int) -> list[np.ndarray]:
        """Indices of one epoch's batches: as few as ``batch_size`` allows, of nearly one size."""
        order = np.random.default_rng(seed).permutation(len(self))
        return np.array_split(order, self.steps_per_epoch(batch_size))

    def steps_per_epoch(self, batch_size: int) -> int:
        """Number of batches of one epoch."""
        return -(-len(self) // batch_size)

    @property
    def sha256(self) -> str:
        """Hash of geometries, labels and weights, in the order of the frames."""
        digest = hashlib.sha256()
        for atoms, target in zip(self.frames, self.targets, strict=True):
            for array in (atoms.numbers, atoms.positions, atoms.cell[:], atoms.pbc):
                digest.update(np.ascontiguousarray(array).tobytes())
            for field in fields(target):
                digest.update(getattr(target, field.name).cpu().numpy().tobytes())
        return digest.hexdigest()
