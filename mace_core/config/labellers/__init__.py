"""Settings of the engines that label frames: one file an engine, chosen by ``engine``."""

from typing import Annotated

from pydantic import Field

from mace_core.config.labellers.ase import ASELabeller
from mace_core.config.labellers.base import LabellerBase
from mace_core.config.labellers.command import CommandLabeller
from mace_core.config.labellers.cp2k import CP2KLabeller
from mace_core.config.labellers.emt import EMTLabeller
from mace_core.config.labellers.espresso import EspressoLabeller
from mace_core.config.labellers.gpaw import GPAWLabeller
from mace_core.config.labellers.pyscf import PySCFLabeller
from mace_core.config.labellers.tblite import TBLiteLabeller
from mace_core.config.labellers.vasp import VASPLabeller

__all__ = [
    "ASELabeller",
    "CP2KLabeller",
    "CommandLabeller",
    "EMTLabeller",
    "EspressoLabeller",
    "GPAWLabeller",
    "Labeller",
    "LabellerBase",
    "PySCFLabeller",
    "TBLiteLabeller",
    "VASPLabeller",
]

Labeller = Annotated[
    PySCFLabeller
    | TBLiteLabeller
    | EspressoLabeller
    | GPAWLabeller
    | CP2KLabeller
    | VASPLabeller
    | EMTLabeller
    | ASELabeller
    | CommandLabeller,
    Field(discriminator="engine"),
]
