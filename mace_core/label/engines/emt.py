"""ASE's effective-medium potential: an engine for tests that costs nothing."""

from typing import ClassVar

from ase import Atoms

from mace_core.config.labellers import EMTLabeller
from mace_core.errors import UserError
from mace_core.label.engines.ase_calculator import run_calculator
from mace_core.label.engines.base import Engine, Guess, Refused, Result


class EMTEngine(Engine):
    """Jacobsen, Stoltze and Nørskov, Surf. Sci. 366, 394 (1996), as in ASE. No SCF: one rung."""

    RUNGS: ClassVar[tuple[str, ...]] = ("default",)

    def __init__(self, settings: EMTLabeller):
        self.settings = settings

    def check(self, elements: list[str]) -> None:
        from ase.calculators.emt import parameters

        for element in elements:
            if element not in parameters:
                raise UserError(
                    f"labeller.engine: emt knows {', '.join(parameters)}, not {element}",
                    mend="take another engine: emt is for tests",
                )

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        from ase.calculators.emt import EMT

        if frame.info["charge"] or frame.info["spin"]:
            raise Refused("EMT knows neither charge nor spin, and this frame has one")
        return run_calculator(EMT(), frame)
