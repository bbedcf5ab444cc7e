"""The programs that compute labels, behind one interface."""

from mace_core.config.labellers import (
    ASELabeller,
    CommandLabeller,
    CP2KLabeller,
    EMTLabeller,
    EspressoLabeller,
    GPAWLabeller,
    LabellerBase,
    PySCFLabeller,
    TBLiteLabeller,
    VASPLabeller,
)
from mace_core.label.engines.ase_calculator import ASEEngine
from mace_core.label.engines.base import Engine, Guess, NotConverged, Refused, Result
from mace_core.label.engines.command import CommandEngine
from mace_core.label.engines.cp2k import CP2KEngine
from mace_core.label.engines.emt import EMTEngine
from mace_core.label.engines.espresso import EspressoEngine
from mace_core.label.engines.gpaw import GPAWEngine
from mace_core.label.engines.pyscf import PySCFEngine
from mace_core.label.engines.tblite import TBLiteEngine
from mace_core.label.engines.vasp import VASPEngine

__all__ = ["Engine", "Guess", "NotConverged", "Refused", "Result", "engine_for"]

_ENGINES = {
    PySCFLabeller: PySCFEngine,
    TBLiteLabeller: TBLiteEngine,
    EspressoLabeller: EspressoEngine,
    GPAWLabeller: GPAWEngine,
    EMTLabeller: EMTEngine,
    ASELabeller: ASEEngine,
    CommandLabeller: CommandEngine,
    CP2KLabeller: CP2KEngine,
    VASPLabeller: VASPEngine,
}


def engine_for(settings: LabellerBase) -> Engine:
    """The engine that a labeller's settings ask for; imports no program yet."""
    return _ENGINES[type(settings)](settings)
