"""Fine-tuning: the model to start from, and what its energies are counted from.

A total energy is Σ E0 + interaction. Labels of another level of theory, or E0s that are no free
atoms (averages), move the E0s by electronvolts. If the interaction energies of the base model do
not belong to the E0s that are put under them, total energies jump by as much in the first epoch,
and the training spends itself on that. So the two sets are compared, and where they differ the
user says which one counts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from mace_core.config.campaign import Config
from mace_core.config.sections import Model, Train
from mace_core.conventions import MEV, REF_ENERGY
from mace_core.convert.reading import read_file
from mace_core.convert.select import select
from mace_core.convert.weights import to_model
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames
from mace_core.model.files import load_model
from mace_core.model.graph import batch, graph_of
from mace_core.model.model import MACE
from mace_core.train.e0s import elements_of
from mace_core.train.labelled import counts, is_isolated_atom, read_labelled
from mace_core.train.replay import labelled_by, weighted

#: eV; E0s of one level of theory agree to this, whatever the settings of its grids.
TOLERANCE = 0.05
#: Names in ``train.freeze``, and the beginnings of parameters' names.
PARTS = {
    "embedding": ("node_embedding.",),
    "interactions": ("interactions.",),
    "products": ("products.",),
    "readouts": ("readouts.",),
}


@dataclass(frozen=True)
class Start:
    """Where a fine-tuning starts.

    Attributes:
        model: with the E0s to go on with.
        replay: labelled frames that keep it what it is; empty without ``train.pt_train_file``.
        moved: whether its energies were moved to those of the new labels.
    """

    model: MACE
    replay: list[Atoms]
    moved: bool

    @property
    def E0s(self) -> dict[int, float]:
        """eV by atomic number."""
        return dict(zip(self.model.elements, self.model.E0[0].tolist(), strict=True))

    @property
    def sha256(self) -> str:
        """Hash of the model's weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def start_from(
    config: Config, frames: Sequence[Atoms], E0s: dict[int, float], dtype: torch.dtype
) -> Start | None:
    """The start of a fine-tuning; None without ``train.foundation_model``.

    Args:
        config: ``train.foundation_*``, ``train.pt_train_file`` and the model section.
        frames: training frames.
        E0s: of the new labels, eV by atomic number.
        dtype: of the model.

    Raises:
        UserError: the foundation model does not fit, or its E0s do not (:func:`choose_E0s`).
    """
    settings = config.train
    if settings.foundation_model is None:
        return None
    replay = _replay_frames(config)
    elements = sorted({*E0s, *elements_of(replay)})
    model = foundation(settings, config.model, elements, dtype)
    chosen = choose_E0s(model, E0s, frames, settings.foundation_E0s)
    moved = settings.foundation_E0s in ("data", "estimated")
    model.E0[0] = torch.tensor([chosen[z] for z in model.elements], dtype=torch.float64)
    if moved:
        counted, residuals = _residuals(model, frames)
        if len(residuals):
            added = float(np.mean(residuals / counted.sum(axis=1)))
            if config.model.model == "MACE":
                model.E0 += added
            else:
                model.scale_shift.shift += added
    if settings.pseudolabel_replay:
        replay = labelled_by(model, replay)
    return Start(model, weighted(replay, settings.weight_pt_head), moved)


def _replay_frames(config: Config) -> list[Atoms]:
    """Those of ``train.pt_train_file``, free atoms left out."""
    path = config.train.pt_train_file
    if path is None:
        return []
    if config.train.pseudolabel_replay:
        frames = [canonical(atoms) for atoms in read_frames(path)]
        frames = [atoms for atoms in frames if not is_isolated_atom(atoms)]
    else:
        keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
        frames = read_labelled(path, *keys)[0]
    if not frames:
        raise UserError("no frame to replay", where=f"train.pt_train_file: {path}")
    return frames


def foundation(
    settings: Train, architecture: Model, elements: Sequence[int], dtype: torch.dtype
) -> MACE:
    """``train.foundation_model``, reduced to the elements and the head that are needed.

    Args:
        settings: ``train`` section.
        architecture: ``model`` section, which must say what the foundation model is.
        elements: atomic numbers to keep.
        dtype: of the result.

    Raises:
        UserError: no such model, another architecture, unknown elements, or several heads and
            ``train.foundation_head`` names none.
    """
    path = Path(settings.foundation_model)
    where = f"train.foundation_model: {path}"
    base = load_model(path) if path.is_dir() else to_model(read_file(path))
    head = settings.foundation_head
    if head is None and len(base.heads) > 1:
        raise UserError(
            "the foundation model has several heads",
            where=where,
            mend=f"set train.foundation_head to one of {', '.join(base.heads)}",
        )
    base = select(base, elements, base.heads[0] if head is None else head)
    here, there = architecture.model_dump(), base.architecture.model_dump()
    other = {key: value for key, value in there.items() if here[key] != value}
    if other:
        lines = ", ".join(f"{key}: {value}" for key, value in other.items())
        raise UserError(
            "the model section describes another model than train.foundation_model",
            where=where,
            mend=f"write into the model section: {lines}",
        )
    return base if base.dtype == dtype else _converted(base, dtype)


def choose_E0s(
    base: MACE, data: dict[int, float], frames: Sequence[Atoms], choice: str
) -> dict[int, float]:
    """The E0s of a model that starts from ``base``.

    Args:
        base: with the E0s that its energies are counted from.
        data: E0s of the new labels, eV by atomic number.
        frames: labelled training frames.
        choice: ``check``: those of the data, if they are those of the base model; ``data``,
            ``foundation``, ``estimated`` (the base model's, moved so that its energies fit the
            frames best): whatever the differences.

    Returns:
        eV by atomic number, for each element of ``base``; the base model's where nothing else is
        known.

    Raises:
        UserError: ``check``, and an element differs by more than :data:`TOLERANCE`; with the
            numbers that it takes to decide.
    """
    old = dict(zip(base.elements, base.E0[0].tolist(), strict=True))
    new = {**old, **data}
    if choice == "foundation":
        return old
    if choice == "data":
        return new
    counted, residuals = _residuals(base, frames)
    estimated = dict(old)
    if len(residuals):
        moves = np.linalg.lstsq(counted, residuals, rcond=1e-8)[0]
        estimated = {z: old[z] + float(d) for z, d in zip(base.elements, moves, strict=True)}
    if choice == "estimated":
        return estimated
    differ = [z for z in data if abs(new[z] - old[z]) > TOLERANCE]
    if not differ:
        return new
    sizes = counted.sum(axis=1)

    def off(E0s: dict[int, float]) -> str:
        if not len(residuals):
            return "?"
        moved = counted @ [E0s[z] - old[z] for z in base.elements]
        return f"{round(np.mean((residuals - moved) / sizes) / MEV):+d}"

    table = "; ".join(
        f"{chemical_symbols[z]} {old[z]:.3f} in the model, {new[z]:.3f} in the data "
        f"({new[z] - old[z]:+.3f})"
        for z in differ
    )
    raise UserError(
        f"the data's E0s are not those of the foundation model: {table} eV. Its energies would "
        f"jump: on the training frames they are off by {off(old)} meV/atom with its own E0s, by "
        f"{off(new)} with the data's, by {off(estimated)} with estimated ones",
        where="train.foundation_E0s: check",
        mend="the number nearest to 0 tells which E0s belong to these labels: set "
        "train.foundation_E0s to foundation, data or estimated",
    )


def freeze(model: MACE, parts: Sequence[str]) -> None:
    """Takes the parameters of ``train.freeze`` out of the training."""
    for name, parameter in model.named_parameters():
        if any(name.startswith(start) for part in parts for start in PARTS[part]):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("every part is frozen: nothing is left to train", where="train.freeze")


def _converted(model: MACE, dtype: torch.dtype) -> MACE:
    """The same in another precision; E0s keep theirs."""
    other = MACE(
        model.architecture,
        model.elements,
        dict.fromkeys(model.elements, 0.0),
        model.avg_num_neighbors,
        dtype=dtype,
    )
    other.load_state_dict(model.state_dict())
    return other


def _residuals(model: MACE, frames: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of atoms [n_frames, n_elements], and energy labels minus predictions, eV."""
    labelled = [atoms for atoms in frames if counts(atoms, REF_ENERGY)]
    residuals = []
    for atoms in labelled:
        graph = batch([graph_of(atoms, model.r_max, model.elements, model.dtype)])
        with torch.no_grad():
            residuals.append(atoms.info[REF_ENERGY] - model(graph, forces=False).energy.item())
    counted = [[np.count_nonzero(a.numbers == z) for z in model.elements] for a in labelled]
    return np.array(counted, dtype=float).reshape(-1, len(model.elements)), np.array(residuals)
