"""Extended tight binding by tblite, through its library interface."""

from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree, kB

from mace_core.config.labellers import TBLiteLabeller
from mace_core.errors import UserError
from mace_core.label.engines.base import (
    Engine,
    Guess,
    NotConverged,
    Refused,
    Result,
    check_electrons,
)

_GUESS = {"sad": 0, "eeq": 1}


class TBLiteEngine(Engine):
    """GFN1-xTB (Grimme 2017) and GFN2-xTB (Bannwarth 2019), energy, forces, stress.

    Every frame starts from a fresh guess, so that a label does not depend on the one before.
    """

    RUNGS: ClassVar[tuple[str, ...]] = ("default", "damped", "annealed")

    def __init__(self, settings: TBLiteLabeller):
        self.settings = settings

    def check(self, elements: list[str]) -> None:
        import tblite.interface  # noqa: F401
        from ase.data import atomic_numbers

        for element in elements:
            if atomic_numbers[element] > 86:
                raise UserError(
                    f"labeller.engine: {self.settings.method} has no parameters for {element}",
                    mend="take another engine",
                )

    def other_guess(self) -> str:
        return "charges of electronegativity equilibration instead of neutral atoms, or vice versa"

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        from tblite.exceptions import TBLiteRuntimeError

        if frame.pbc.any() and not frame.pbc.all():
            raise Refused(
                "tblite labels molecules and crystals, and this frame is periodic in part"
            )
        check_electrons(frame)
        try:
            result = self._calculator(frame, rung, guess).singlepoint()
        except TBLiteRuntimeError as err:
            if "not converged" in str(err):
                raise NotConverged(f"{err} ({rung})") from err
            raise Refused(f"tblite: {err}") from err
        stress = None
        if frame.pbc.all():
            virial = np.asarray(result.get("virial")) * Hartree
            stress = (virial / frame.get_volume()).flat[[0, 4, 8, 5, 2, 1]]
        return Result(
            energy=float(result.get("energy")) * Hartree,
            forces=-np.asarray(result.get("gradient")) * (Hartree / Bohr),
            stress=stress,
            numbers=frame.numbers,
            positions=frame.positions,
        )

    def _calculator(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL):
        from tblite.interface import Calculator

        s = self.settings
        periodic = frame.pbc.all()
        calculator = Calculator(
            s.method,
            frame.numbers,
            frame.positions / Bohr,
            charge=float(frame.info["charge"]),
            uhf=frame.info["spin"],
            lattice=frame.cell[:] / Bohr if periodic else None,
            periodic=frame.pbc if periodic else None,
        )
        temperature = s.electronic_temperature * kB / Hartree
        calculator.set("verbosity", 1)
        calculator.set("accuracy", s.accuracy)
        calculator.set("temperature", temperature)
        calculator.set("max-iter", s.max_iterations)
        if rung != "default":
            calculator.set("max-iter", 4 * s.max_iterations)
            calculator.set("mixer-damping", 0.1)
        # Labels start from neutral atoms, the later rungs from the charges of electronegativities.
        calculator.set(
            "guess", _GUESS["sad" if (rung == "default") == (guess == Guess.USUAL) else "eeq"]
        )
        if rung == "annealed":
            # Hot electrons first, then down to the temperature of the level of theory.
            calculator.set("annealing", max(5000.0 * kB / Hartree, 2 * temperature))
        return calculator
