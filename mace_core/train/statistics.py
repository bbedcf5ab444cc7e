"""Numbers that a model takes from its training set before, and once after, it is trained."""

from dataclasses import dataclass

import numpy as np
import torch

from mace_core.conventions import REF_ENERGY, REF_FORCES
from mace_core.train.data import Dataset
from mace_core.train.labelled import property_weight


@dataclass(frozen=True)
class Statistics:
    """What normalises a new model."""

    avg_num_neighbors: float
    scale: float  # eV/Å: root mean square of the force components; 1 without forces
    shift: float  # eV/atom: mean interaction energy per atom; 0 without energies

    @classmethod
    def of(cls, data: Dataset, E0s: dict[int, float]) -> "Statistics":
        """Statistics of the labelled frames of a training set; ``E0s`` in eV by atomic number."""
        n_atoms = sum(len(atoms) for atoms in data.frames)
        edges = sum(graph.n_edges for graph in data.graphs)
        forces = [a.arrays[REF_FORCES] for a in data.frames if property_weight(a, REF_FORCES)]
        energies = [
            (atoms.info[REF_ENERGY] - sum(E0s[int(z)] for z in atoms.numbers)) / len(atoms)
            for atoms in data.frames
            if property_weight(atoms, REF_ENERGY)
        ]
        rms = np.sqrt(np.mean(np.concatenate(forces) ** 2)) if forces else 0.0
        return cls(
            avg_num_neighbors=edges / n_atoms or 1.0,
            scale=float(rms) or 1.0,
            shift=float(np.mean(energies)) if energies else 0.0,
        )


def refit_shift(model, data: Dataset) -> float:
    """Set the model's shift to its optimum on the training energies; returns the change (eV/atom).

    The loss is quadratic in the shift, so its optimum is closed: shift += Σ ω r / Σ ω, with r
    the label minus the prediction of a frame's energy per atom and ω the frame's weight. The
    shift is a buffer, not a parameter, and with a large forces weight the readouts learn a
    constant last: without this, mace-torch's energies stay off by a constant for hundreds of
    epochs while the forces are right long before.
    """
    weights, residuals = [], []
    with torch.no_grad():
        for graph, targets in data.large_batches:
            energy = model(graph, forces=False).energy
            residuals.append((targets.energy - energy) / targets.n_atoms)
            weights.append(targets.energy_weight)
        weight = torch.cat(weights).double()
        if not weight.any():
            return 0.0
        change = float((weight * torch.cat(residuals).double()).sum() / weight.sum())
        model.scale_shift.shift += change
    return change
