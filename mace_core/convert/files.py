"""Model files from and to mace-torch."""

import io
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mace_core.convert.reading import TIME_LIMIT, read_file
from mace_core.convert.recipe import write_recipe
from mace_core.convert.select import select
from mace_core.convert.weights import from_model, to_model
from mace_core.errors import UserError
from mace_core.model.files import DESCRIPTION, WEIGHTS, load_model, read_description, save_model
from mace_core.model.model import MACE
from mace_core.storage import sha256_file, write_bytes

#: The folder in which a file that was exported here keeps the model that it was made from.
INSIDE = "maceloop"
#: Loads a file and saves the module as mace-torch would. Runs in another Python, on its own.
SAVE_AGAIN = """
import sys
import mace.modules
import torch
model = torch.load(sys.argv[1], map_location="cpu", weights_only=False)
torch.save(model, sys.argv[2])
"""


def import_model(
    path: str | Path,
    out: str | Path,
    elements: Sequence[int] | None = None,
    head: str | None = None,
) -> tuple[MACE, list[str]]:
    """A mace-torch file as one of our models. Nothing that the file names is run.

    Args:
        path: ``.model`` file that mace-torch or :func:`export_model` wrote.
        out: folder to write to.
        elements: atomic numbers to keep; all by default.
        head: the one to keep; all by default.

    Returns:
        The model, also written to ``out``; and what its reader should know.

    Raises:
        UserError: not a model file, or a model that is not supported, saying by what.
    """
    path, out = Path(path), Path(out)
    notes, metadata = [], {}
    inside = _inside(path)
    if inside:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in inside.items():
                write_bytes(Path(folder) / name, content)
            model = load_model(folder)
            metadata = read_description(folder)["metadata"]
    else:
        source = read_file(path)
        model, notes = to_model(source), source.notes
    if elements is not None or head is not None:
        model = select(model, elements, head)
    origin = {"file": path.name, "sha256": sha256_file(path), "notes": notes}
    save_model(model, out, {**metadata, "imported": origin})
    return model, notes


def export_model(folder: str | Path, out: str | Path, mace_python: str | None = None) -> None:
    """One of our models as a file for mace-torch 0.3.16.

    Args:
        folder: of the model.
        out: file to write.
        mace_python: a Python that has mace-torch. With it the file holds the module itself, as
            ``torch.save`` of mace-torch writes it; without, what makes the module when it is
            loaded (:mod:`mace_core.convert.recipe`).

    Raises:
        UserError: mace-torch cannot hold the model, or did not load what was written.
    """
    folder, out = Path(folder), Path(out)
    model = load_model(folder)
    content = write_recipe(from_model(model))
    if mace_python is not None:
        content = _saved_again(content, mace_python)
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].split("/")[0]  # torch reads no archive with two of them
        for name in (WEIGHTS, DESCRIPTION):
            archive.writestr(f"{root}/{INSIDE}/{name}", (folder / name).read_bytes())
    write_bytes(out, buffer.getvalue())


def _inside(path: Path) -> dict[str, bytes]:
    """The files of our model in a file that was exported here; none in others."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {
                name.rsplit("/", 1)[1]: archive.read(name)
                for name in archive.namelist()
                if name.split("/")[1:] in ([INSIDE, WEIGHTS], [INSIDE, DESCRIPTION])
            }
    except (OSError, zipfile.BadZipFile):
        return {}
    return found if len(found) == 2 else {}


def _saved_again(content: bytes, python: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        recipe, saved = Path(folder) / "recipe.model", Path(folder) / "saved.model"
        recipe.write_bytes(content)
        try:
            done = subprocess.run(
                [python, "-c", SAVE_AGAIN, str(recipe), str(saved)],
                env={**os.environ, "PYTHONPATH": ""},
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
            )
        except (OSError, subprocess.TimeoutExpired) as err:
            raise UserError(f"cannot be run: {err}", where=python) from err
        if done.returncode or not saved.is_file():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise UserError(
                f"mace-torch did not load the model: {last}",
                where=python,
                mend="give a Python with mace-torch 0.3.16",
            )
        return saved.read_bytes()
