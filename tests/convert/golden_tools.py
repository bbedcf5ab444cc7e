"""Reads tests/goldens: models and what the real mace-torch said of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from ase import Atoms
from safetensors import safe_open

from mace_core.convert.source import Source

FOLDER = Path(__file__).parents[1] / "goldens"
NAMES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


@dataclass(frozen=True)
class Golden:
    """A model in mace-torch's terms, frames, and its numbers: by frame, head and quantity."""

    source: Source
    frames: list[Atoms]
    numbers: dict[tuple[int, int, str], torch.Tensor]


def golden(name: str) -> Golden:
    """The file ``name``."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        kind, options = json.loads(file.metadata()["source"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")}
    fields, numbers = {}, {}
    for key, tensor in tensors.items():
        match key.split("."):
            case ["frame", k, field]:
                fields.setdefault(int(k), {})[field] = tensor.numpy()
            case ["frame", k, head, quantity]:
                numbers[int(k), int(head), quantity] = tensor
    frames = [Atoms(**fields[k]) for k in sorted(fields)]
    return Golden(Source(kind, options, weights), frames, numbers)
