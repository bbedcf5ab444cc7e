"""Reads a mace-torch file in a process of its own.

``python -m mace_core.convert.reading FILE OUT`` is that process. It reads the file as data
(:mod:`mace_core.convert.unpickle`), so there should be nothing to guard against; should there be
a mistake in a reader of untrusted bytes, it has no secrets of the environment, a time limit, and
hands back numbers and names only.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mace_core.errors import UserError
from mace_core.storage import read_json, write_bytes, write_json

TIME_LIMIT = 600.0
#: What a Python process needs; all else of the environment stays here.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL", "VIRTUAL_ENV")


def read_file(path: str | Path, time_limit: float = TIME_LIMIT):
    """The model in a file that ``torch.save`` wrote.

    Args:
        path: a mace-torch ``.model`` file.
        time_limit: seconds after which reading it is given up.

    Returns:
        :class:`mace_core.convert.source.Source`.

    Raises:
        UserError: no such file, not a model, or not supported.
    """
    from safetensors.torch import load

    from mace_core.convert.source import Source

    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    with tempfile.TemporaryDirectory(prefix="maceloop-import-") as folder:
        environment = {k: v for k, v in os.environ.items() if k in ENVIRONMENT}
        environment |= {"OMP_NUM_THREADS": "1", "HOME": folder, "TMPDIR": folder}
        command = [sys.executable, "-m", "mace_core.convert.reading", str(path.resolve()), folder]
        try:
            child = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, timeout=time_limit
            )
        except subprocess.TimeoutExpired as err:
            raise UserError(
                f"reading took longer than {time_limit:.0f} s", where=str(path)
            ) from err
        result = Path(folder) / "result.json"
        if not result.is_file():
            last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise UserError(
                f"reading ended with {child.returncode}: {' '.join(last)}", where=str(path)
            )
        found = read_json(result)
        if "refused" in found:
            raise UserError(**found["refused"])
        tensors = load((Path(folder) / "tensors.safetensors").read_bytes())
        return Source(found["kind"], found["options"], tensors, found["notes"])


def main(path: str, folder: str) -> None:
    """The child: writes what it read, or why not, into ``folder``."""
    from safetensors.torch import save

    from mace_core.convert.source import read_source
    from mace_core.convert.stored import Stored
    from mace_core.convert.unpickle import read_pickle

    try:
        source = read_source(Stored.of(read_pickle(path)))
    except UserError as err:
        where = err.where if err.where == path else f"{path}: {err.where}"
        refused = {"what": err.what, "where": where, "mend": err.mend}
        write_json(Path(folder) / "result.json", {"refused": refused})
        return
    tensors = {name: tensor.contiguous() for name, tensor in source.tensors.items()}
    write_bytes(Path(folder) / "tensors.safetensors", save(tensors))
    found = {"kind": source.kind, "options": source.options, "notes": source.notes}
    write_json(Path(folder) / "result.json", found)


if __name__ == "__main__":
    main(*sys.argv[1:])
