"""Replay: frames that keep a fine-tuned model what it was elsewhere.

Some of them, drawn anew in each epoch, are mixed among the training frames. By default their labels
are what the model says of them before its first epoch (``train.pseudolabel_replay``): these belong
to its E0s and its level of theory by construction, whatever the labels of the file are.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from mace_core.conventions import CONFIG_WEIGHT, REF_ENERGY, REF_FORCES, REF_STRESS
from mace_core.model.graph import Graph, batch, graph_of
from mace_core.model.model import MACE
from mace_core.train.data import Dataset, Targets


class Mixed:
    """Training frames and some replay frames, as :func:`mace_core.train.loop.fit` takes them.

    Args:
        train: all of them are in each epoch.
        replay: of these ``n_replay`` are, without repetition.
        n_replay: at most as many as there are; as many as training frames when None.
    """

    def __init__(self, train: Dataset, replay: Dataset, n_replay: int | None):
        self.train, self.replay = train, replay
        wanted = len(train) if n_replay is None else n_replay
        self.n_replay = min(wanted, len(replay))
        self.has_stress = train.has_stress or replay.has_stress

    def __len__(self) -> int:
        return len(self.train) + self.n_replay

    def steps_per_epoch(self, batch_size: int) -> int:
        """Number of batches of one epoch."""
        return -(-len(self) // batch_size)

    def shuffled(self, batch_size: int, seed: int) -> list[np.ndarray]:
        """Indices of one epoch's batches; those of replay frames follow the training frames'."""
        rng = np.random.default_rng(seed)
        drawn = len(self.train) + rng.permutation(len(self.replay))[: self.n_replay]
        order = rng.permutation(np.concatenate([np.arange(len(self.train)), drawn]))
        return np.array_split(order, self.steps_per_epoch(batch_size))

    def batch(self, indices: Sequence[int]) -> tuple[Graph, Targets]:
        """The frames at ``indices`` as one graph, and their targets."""
        n = len(self.train)
        sources = [(self.train, i) if i < n else (self.replay, i - n) for i in indices]
        return (
            batch([source.graphs[i] for source, i in sources]),
            Targets.join([source.targets[i] for source, i in sources]),
        )


def labelled_by(model: MACE, frames: Sequence[Atoms]) -> list[Atoms]:
    """The frames with what ``model`` says of them as their labels; stress where it is defined."""
    done = []
    for atoms in frames:
        periodic = bool(atoms.pbc.all())
        graph = graph_of(atoms, model.r_max, model.elements, model.dtype).to(model.E0.device)
        out = model(graph, stress=periodic)
        labelled = atoms.copy()
        labelled.info[REF_ENERGY] = out.energy.item()
        labelled.arrays[REF_FORCES] = _numpy(out.forces)
        labelled.info.pop(REF_STRESS, None)
        if periodic:
            labelled.info[REF_STRESS] = full_3x3_to_voigt_6_stress(_numpy(out.stress)[0])
        done.append(labelled)
    return done


def weighted(frames: Sequence[Atoms], weight: float) -> list[Atoms]:
    """Copies that weigh ``weight`` times as much in the loss."""
    copies = [atoms.copy() for atoms in frames]
    for atoms in copies:
        atoms.info[CONFIG_WEIGHT] = weight * float(atoms.info.get(CONFIG_WEIGHT, 1.0))
    return copies


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()
