"""Numbers that a model takes from its training set before it is trained."""

from dataclasses import dataclass

import numpy as np

from mace_core.conventions import REF_ENERGY, REF_FORCES
from mace_core.train.data import Dataset
from mace_core.train.labelled import counts


@dataclass(frozen=True)
class Statistics:
    """What normalises a new model."""

    avg_num_neighbors: float  # mean over the atoms that have any; 1 where none has
    scale: float  # of the interaction energy, eV
    shift: float  # eV/atom: mean over frames of the interaction energy per atom; 0 without energies

    @classmethod
    def of(
        cls, data: Dataset, E0s: dict[int, float], scaling: str = "rms_forces_scaling"
    ) -> "Statistics":
        """Statistics of the labelled frames of a training set, as mace-torch takes them.

        Args:
            data: the training set. A frame whose label is missing or weighs nothing does not
                count for it.
            E0s: eV by atomic number.
            scaling: ``rms_forces_scaling``: the scale is the root mean square of the force
                components (eV/Å); ``std_scaling``: the standard deviation over frames of the
                interaction energy per atom (eV); ``no_scaling``: scale 1 and shift 0. A scale
                that would be 0 is 1.
        """
        receivers = sum(len(graph.edge_index[0].unique()) for graph in data.graphs)
        edges = sum(graph.n_edges for graph in data.graphs)
        energies = [
            (atoms.info[REF_ENERGY] - sum(E0s[int(z)] for z in atoms.numbers)) / len(atoms)
            for atoms in data.frames
            if counts(atoms, REF_ENERGY)
        ]
        forces = [atoms.arrays[REF_FORCES] for atoms in data.frames if counts(atoms, REF_FORCES)]
        scale, shift = 1.0, float(np.mean(energies)) if energies else 0.0
        if scaling == "rms_forces_scaling" and forces:
            scale = np.sqrt(np.mean(np.concatenate(forces) ** 2))
        elif scaling == "std_scaling" and len(energies) > 1:
            scale = np.std(energies, ddof=1)
        elif scaling == "no_scaling":
            shift = 0.0
        return cls(edges / receivers if receivers else 1.0, float(scale) or 1.0, shift)
