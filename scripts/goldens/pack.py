"""Packs what compute.py wrote into tests/goldens: one small file a case, and a few whole models.

Each file holds a model as :class:`mace_core.convert.source.Source` (its constants and couplings
were checked when the real file was read) with the frames and mace-torch's numbers.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from mace_core.convert.source import read_source
from mace_core.convert.stored import Stored
from mace_core.convert.unpickle import read_pickle
from mace_core.storage import write_bytes

#: Committed as they are, for the reader of real files.
WHOLE = ("trained", "foundation_of_few")


def pack(name: str, folder: Path, out: Path) -> int:
    """Writes OUT/NAME.safetensors; returns its size."""
    source = read_source(Stored.of(read_pickle(folder / f"{name}.model")))
    tensors = {f"model.{key}": tensor.contiguous() for key, tensor in source.tensors.items()}
    with np.load(folder / f"{name}.npz") as arrays:
        for key in arrays.files:
            tensors[f"frame.{key}"] = torch.from_numpy(np.ascontiguousarray(arrays[key]))
    # One entry: safetensors writes several in any order.
    content = save(tensors, {"source": json.dumps([source.kind, source.options])})
    write_bytes(out / f"{name}.safetensors", content)
    return len(content)


def main(folder: Path, out: Path) -> None:
    total = 0
    for path in sorted(folder.glob("*.model")):
        total += pack(path.stem, folder, out)
        if path.stem in WHOLE:
            shutil.copyfile(path, out / path.name)
            total += path.stat().st_size
    print(f"{out}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
