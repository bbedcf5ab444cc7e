"""Models on disk: ``model.safetensors`` (weights) and ``model.json`` (all else), versioned."""

from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from pydantic import ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from mace_core.config.sections import Model
from mace_core.conventions import MODEL_FORMAT
from mace_core.errors import UserError
from mace_core.model.model import MACE
from mace_core.storage import read_json, sha256_file, write_bytes, write_json

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
KEYS = {
    "format",
    "architecture",
    "elements",
    "avg_num_neighbors",
    "dtype",
    "weights_sha256",
    "metadata",
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def save_model(model: MACE, folder: str | Path, metadata: dict[str, Any] | None = None) -> None:
    """Write a model into ``folder``.

    Args:
        model: to be written; its weights keep their precision.
        folder: made if it is not there.
        metadata: anything that JSON can hold, returned by :func:`read_description`.
    """
    folder = Path(folder)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    write_bytes(folder / WEIGHTS, save_tensors(tensors))
    write_json(
        folder / DESCRIPTION,
        {
            "format": MODEL_FORMAT,
            "architecture": model.architecture.model_dump(),
            "elements": [chemical_symbols[z] for z in model.elements],
            "avg_num_neighbors": model.avg_num_neighbors,
            "dtype": str(model.dtype).removeprefix("torch."),
            "weights_sha256": sha256_file(folder / WEIGHTS),
            "metadata": metadata or {},
        },
    )


def load_model(folder: str | Path, dtype: torch.dtype | None = None, device: str = "cpu") -> MACE:
    """The model that :func:`save_model` wrote.

    Args:
        folder: with model.safetensors and model.json.
        dtype: convert to it; None keeps the precision of the file.
        device: torch device.

    Raises:
        UserError: files missing, made by a newer version, changed, or not a model.
    """
    folder = Path(folder)
    description = read_description(folder)
    if sha256_file(folder / WEIGHTS) != description["weights_sha256"]:
        raise UserError(
            f"{WEIGHTS} is not the file that {DESCRIPTION} describes",
            where=str(folder),
            mend="the two were written by different runs: write the model again",
        )
    tensors = load_tensors((folder / WEIGHTS).read_bytes())
    if description["format"] == 1 and "E0" in tensors:
        tensors["E0"] = tensors["E0"].reshape(1, -1)  # there was one head only
    elements = [chemical_symbols.index(symbol) for symbol in description["elements"]]
    try:
        architecture = Model(**description["architecture"])
    except ValidationError as err:
        wrong = ", ".join(".".join(map(str, e["loc"])) + f" ({e['msg']})" for e in err.errors())
        raise UserError(f"unknown architecture: {wrong}", where=str(folder / DESCRIPTION)) from err
    model = MACE(
        architecture,
        elements,
        dict.fromkeys(elements, 0.0),
        avg_num_neighbors=description["avg_num_neighbors"],
        dtype=dtype or DTYPES[description["dtype"]],
    )
    expected = model.state_dict()
    wrong = sorted(
        {*tensors, *expected}
        - {n for n, t in tensors.items() if n in expected and t.shape == expected[n].shape}
    )
    if wrong:
        raise UserError(
            f"weights do not fit the architecture: {', '.join(wrong)}", where=str(folder / WEIGHTS)
        )
    model.load_state_dict(tensors)
    return model.to(device)


def read_description(folder: str | Path) -> dict[str, Any]:
    """The checked content of ``model.json``.

    Raises:
        UserError: missing, made by a newer version, unknown or missing keys.
    """
    path = Path(folder) / DESCRIPTION
    for name in (DESCRIPTION, WEIGHTS):
        if not (Path(folder) / name).is_file():
            raise UserError(
                f"no model here: {name} is missing",
                where=str(folder),
                mend="give the folder that `maceloop train --out` wrote",
            )
    try:
        description = read_json(path)
    except ValueError as err:
        raise UserError(f"not JSON: {err}", where=str(path)) from err
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise UserError("not a model description: no format", where=str(path))
    if description["format"] > MODEL_FORMAT:
        raise UserError(
            f"model format {description['format']} is newer than {MODEL_FORMAT}, the newest known",
            where=str(path),
            mend="update maceloop",
        )
    unknown, missing = sorted(set(description) - KEYS), sorted(KEYS - set(description))
    if unknown:
        raise UserError(f"unknown keys: {', '.join(unknown)}", where=str(path))
    if missing:
        raise UserError(f"missing keys: {', '.join(missing)}", where=str(path))
    if description["dtype"] not in DTYPES:
        raise UserError(f"unknown dtype {description['dtype']!r}", where=str(path))
    return description
