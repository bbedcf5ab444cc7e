"""Training one model of the committee: from files to files."""

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from mace_core.config.campaign import Config, load_settings
from mace_core.errors import UserError
from mace_core.frames import dataset_hash
from mace_core.model.files import DTYPES, load_model, save_model
from mace_core.model.model import MACE
from mace_core.progress import Progress
from mace_core.storage import derived_seed, read_json, sha256_file, sha256_json, write_json
from mace_core.tables import write_table
from mace_core.threads import threads_or_default
from mace_core.train.checkpoint import Checkpoint
from mace_core.train.data import Dataset
from mace_core.train.e0s import atomic_energies, elements_of
from mace_core.train.foundation import Start, freeze, start_from
from mace_core.train.labelled import read_labelled
from mace_core.train.loop import fit
from mace_core.train.loss import Loss
from mace_core.train.metrics import evaluate
from mace_core.train.refit import refit
from mace_core.train.replay import Mixed
from mace_core.train.split import TRAIN, VALID, split_frames
from mace_core.train.statistics import Statistics


@dataclass
class _Data:
    """What a model is trained on."""

    train: list[Atoms]
    valid: list[Atoms]
    E0s: dict[int, float]  # eV by atomic number
    sha256: str


def train_member(
    train_file: str | Path,
    settings_file: str | Path,
    out: str | Path,
    *,
    valid_file: str | Path | None = None,
    seed: int = 0,
    member: int = 0,
    warm_start: str | Path | None = None,
) -> dict[str, Any]:
    """Train one model and write ``model.safetensors``, ``model.json``, ``metrics.json``, history.

    A killed call leaves ``checkpoint.pt`` in ``out``, from which the same call goes on; it ends
    with bitwise the same weights.

    Args:
        train_file: extxyz. With a ``dataset.json`` beside it (as ``build-dataset`` writes), E0s
            come from there; else from the frames and ``data.E0s``.
        settings_file: YAML configuration, or a generation's ``plan.json``, whose campaign seed,
            generation and ``member`` then give the seed, and whose ``warm_start`` counts.
        out: folder to write to.
        valid_file: held-out frames; a share of ``train_file`` when not given.
        seed: without a plan, every draw follows from it and ``member``.
        member: number in the committee.
        warm_start: folder of a model of the same architecture and elements to start from.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: files, labels or settings are wrong, or the model to start from does not fit.
    """
    torch.set_num_threads(threads_or_default())
    config = load_settings(settings_file)
    plan = read_json(settings_file) if Path(settings_file).suffix == ".json" else None
    if plan:
        seed = derived_seed(config.campaign.seed, plan["generation"], "train", member)
        name = f"gen {plan['generation']} · member {member}"
    else:
        seed = derived_seed(seed, "train", member)
        name = f"member {member}"
    settings, out = config.train, Path(out)
    dtype, device = DTYPES[settings.default_dtype], _device(settings.device)
    data = _read(Path(train_file), valid_file, config, seed)
    start = start_from(config, data.train, data.E0s, dtype)
    if start:
        data.E0s = start.E0s
    parent = _parent(warm_start, plan, member, config, list(data.E0s))
    if parent:
        settings = settings.model_copy(update={"lr": settings.lr * settings.warm_start_lr_factor})

    sets = [
        Dataset(
            frames, list(data.E0s), config.model.r_max, dtype, device, settings.valid_batch_size
        )
        for frames in (data.train, data.valid, start.replay if start else [])
    ]
    model = _model(config, data, sets[0], dtype, seed, parent, start)
    freeze(model, settings.freeze)
    *sets, replay = sets
    training = Mixed(sets[0], replay, settings.num_samples_pt) if len(replay) else sets[0]
    key = {
        "data": [part.sha256 for part in sets],
        "E0s": [[z, energy] for z, energy in data.E0s.items()],
        "model": config.model.model_dump(),
        "train": settings.model_dump(exclude={"members", "warm_start", "warm_start_lr_factor"}),
        "seed": seed,
        "parent": sha256_file(parent / "model.safetensors") if parent else None,
        "foundation": [start.sha256, replay.sha256] if start else None,
        "torch": torch.__version__,
    }
    checkpoint = Checkpoint(out / "checkpoint.pt", sha256_json(key))
    with Progress(name, settings.max_num_epochs, "epoch") as progress:
        state = fit(model, training, sets[1], settings, seed, checkpoint, progress)
    refitted = refit(model, sets[0], settings.refit)
    loss = Loss(settings, stage_two=state.stage_two_epoch is not None)
    metrics = {
        "stop": state.stop,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "stage_two_epoch": state.stage_two_epoch,
        "steps": state.steps,
        "seconds": state.seconds,
        "seed": seed,
        "member": member,
        "warm_start": str(parent) if parent else None,
        "dataset": data.sha256,
        "n_train": len(data.train),
        "n_valid": len(data.valid),
        "n_replay": len(replay),
        "foundation_model": settings.foundation_model,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "avg_num_neighbors": model.avg_num_neighbors,
        "scale": _plain(model.scale_shift.scale),
        "shift": _plain(model.scale_shift.shift),
        "refit": refitted,
        "train": evaluate(model, sets[0], loss),
        "valid": evaluate(model, sets[1], loss),
    }
    write_table(pd.DataFrame(state.history), out / "history")
    write_json(out / "metrics.json", metrics)
    provenance = ("seed", "member", "dataset", "n_train", "n_valid", "best_epoch", "refit")
    save_model(model, out, {key: metrics[key] for key in provenance})
    checkpoint.remove()
    return metrics


def _read(train_file: Path, valid_file, config: Config, seed: int) -> _Data:
    """Frames and E0s."""
    described = train_file.with_name("dataset.json")
    summary = read_json(described) if described.is_file() else None
    keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
    train, isolated = read_labelled(train_file, *([] if summary else keys))
    if valid_file is None:
        sides = split_frames(train, config.data.valid_fraction, seed).sides
        valid = [frame for frame, side in zip(train, sides, strict=True) if side == VALID]
        train = [frame for frame, side in zip(train, sides, strict=True) if side == TRAIN]
    else:
        valid, more = read_labelled(valid_file, *([] if summary else keys))
        isolated += more
    if not train or not valid:
        raise UserError(
            f"{len(train)} frames to train on and {len(valid)} held out",
            where=str(train_file if not train or valid_file is None else valid_file),
            mend="give at least two labelled frames, or one in each of --train and --valid",
        )
    both = train + valid
    if summary is None:
        e0s = atomic_energies(config.data.E0s, both, isolated)
        return _Data(train, valid, e0s, dataset_hash(both + isolated))
    given = {atomic_numbers[symbol]: energy for symbol, energy in summary["E0s"].items()}
    missing = [chemical_symbols[z] for z in elements_of(both) if z not in given]
    if missing:
        raise UserError(
            f"no E0 for {', '.join(missing)}",
            where=str(described),
            mend="it belongs to another data set: move the frames to a folder of their own",
        )
    return _Data(train, valid, dict(sorted(given.items())), summary["sha256"])


def _parent(
    asked: str | Path | None, plan: dict | None, member: int, config: Config, elements: list[int]
) -> Path | None:
    """The folder of the model to start from, or None."""
    planned = (plan or {}).get("warm_start") if config.train.warm_start else None
    if asked is None and not planned:
        return None
    if asked is None and member >= len(planned):
        return None  # the committee has grown
    folder = Path(asked or planned[member])
    parent = load_model(folder)
    ours, theirs = config.model.model_dump(), parent.architecture.model_dump()
    other = [key for key in ours if ours[key] != theirs[key]]
    if other:
        changes = ", ".join(f"{key}: {theirs[key]} there, {ours[key]} here" for key in other)
        raise UserError(
            f"cannot start from a model of another architecture ({changes})",
            where=str(folder),
            mend="set train.warm_start: false, or take the model section back",
        )
    if parent.elements != elements:
        known, needed = (
            " ".join(chemical_symbols[z] for z in numbers)
            for numbers in (parent.elements, elements)
        )
        what = f"{folder} knows {known}, the data have {needed}"
        if asked is not None:
            raise UserError(
                f"cannot start from a model of other elements: {what}",
                mend="start without --warm-start",
            )
        print(f"no warm start: {what}", file=sys.stderr)
        return None
    return folder


def _model(
    config: Config,
    data: _Data,
    train: Dataset,
    dtype: torch.dtype,
    seed: int,
    parent: Path | None,
    start: Start | None,
) -> MACE:
    """The model before its first epoch: a new one, or that of a fine-tuning's start, or a parent's.

    A warm start takes weights, scale, shift and the mean number of neighbours from the parent and
    E0s from the data. Where these changed, the constants are fitted anew: they absorb it.
    """
    if parent is None and start is not None:
        return copy.deepcopy(start.model).to(config.train.device)
    if parent is None:
        statistics = Statistics.of(train, data.E0s, config.train.scaling)
        old = None
    else:
        old = load_model(parent, dtype)
        statistics = Statistics(
            old.avg_num_neighbors, _plain(old.scale_shift.scale), _plain(old.scale_shift.shift)
        )
    model = MACE(
        config.model,
        list(data.E0s),
        data.E0s,
        avg_num_neighbors=statistics.avg_num_neighbors,
        scale=statistics.scale,
        shift=statistics.shift,
        dtype=dtype,
        seed=seed,
    ).to(config.train.device)
    if old is not None:
        new_E0 = model.E0.clone()
        model.load_state_dict(old.state_dict())
        changed = not torch.equal(model.E0, new_E0)
        model.E0.copy_(new_E0)
        if changed:
            which = "shift" if config.train.refit == "none" else config.train.refit
            refit(model, train, which)
    return model


def _plain(values: torch.Tensor) -> float | list[float]:
    """A number, or one for each of several heads."""
    return values.item() if values.numel() == 1 else values.tolist()


def _device(name: str) -> str:
    """The device, if this machine has it."""
    try:
        torch.zeros((), device=name)
    except (RuntimeError, AssertionError) as err:
        raise UserError(
            f"train.device: {name!r} cannot be used ({str(err).splitlines()[0]})",
            mend="set train.device: cpu",
        ) from None
    return name
