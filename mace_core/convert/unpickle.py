"""Reads a torch.save'd module as data: nothing that the file names is imported or called.

A pickle is a program: it names functions and classes, and reading it calls them. Here torch's own
weights-only unpickler reads it, whose list of callables holds what rebuilds tensors and plain
containers and nothing else. Every class of mace-torch, e3nn and torch that the file names is
replaced by a :class:`Recorded`, which keeps what it is given. So neither package is needed, and
TorchScript code inside e3nn's objects stays what it is in the file, a string of bytes.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import torch

from mace_core.errors import UserError

#: Packages whose objects a model file can hold. Any other name is refused, though it would not run.
PACKAGES = ("mace", "e3nn", "torch", "opt_einsum_fx", "numpy")
#: Packages of models that are not supported, and what to do about it.
OTHERS = {
    "cuequivariance": "convert it back with mace_cueq_to_e3nn",
    "cuequivariance_torch": "convert it back with mace_cueq_to_e3nn",
    "openequivariance": "give the file that it was converted from",
    "les": "long-range models are not supported",
    "graph_longrange": "long-range models are not supported",
}
#: Of the packages above, not in any model file, and what attacks are made of.
NEVER = ("torch.hub", "torch.utils", "torch.multiprocessing", "torch.package", "numpy.testing")


class Recorded:
    """Stands for an object of the file.

    Attributes:
        name: full name of its class, or of the function that would have made it.
        args: what it would have been made from.
        state: its attributes, as the file gives them.
    """

    name: ClassVar[str]

    def __new__(cls, *args: Any) -> "Recorded":
        obj = super().__new__(cls)
        obj.args, obj.state = args, {}
        return obj

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_pickle(path: str | Path) -> Any:
    """The object in a file that ``torch.save`` wrote.

    Args:
        path: of the file.

    Returns:
        Tensors and plain containers as they are, everything else as :class:`Recorded`. A function
        that the file names is a subclass of it.

    Raises:
        UserError: not such a file, TorchScript, or a name that no model file needs.
    """
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.split("/", 1)[-1] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as err:
        raise UserError(
            f"not a file that torch.save wrote: {err}",
            where=where,
            mend="give the .model file that mace_run_train wrote",
        ) from err
    if "constants.pkl" in names:
        raise UserError(
            "this is compiled TorchScript (as written for LAMMPS, or *_compiled.model)",
            where=where,
            mend="give the .model file that it was made from",
        )
    if "data.pkl" not in names:
        raise UserError("a zip file, but no model", where=where)
    try:
        globals_ = torch.serialization.get_unsafe_globals_in_checkpoint(where)
        for name in sorted(globals_):
            if name.split(".")[0] in OTHERS:
                package = name.split(".")[0]
                raise UserError(f"a model of {package}", where=where, mend=OTHERS[package])
        refused = sorted(name for name in globals_ if not _expected(name))
        if refused:
            raise UserError(
                f"the file names what no model needs: {', '.join(refused)}",
                where=where,
                mend="do not load this file with anything that runs pickles (torch.load, "
                "MACECalculator) unless you know where it comes from",
            )
        stand_ins = [(type(name, (Recorded,), {"name": name}), name) for name in globals_]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(where, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, IndexError) as err:
        raise UserError(f"cannot be read: {str(err).splitlines()[0]}", where=where) from err


def _expected(name: str) -> bool:
    return name.split(".")[0] in PACKAGES and not any(
        name == never or name.startswith(f"{never}.") for never in NEVER
    )
