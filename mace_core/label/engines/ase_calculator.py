"""Any ASE calculator by import path."""

from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, SCFError

from mace_core.config.labellers.ase import ASELabeller, mentioned
from mace_core.errors import UserError
from mace_core.label.engines.base import Engine, Guess, NotConverged, Refused, Result


class ASEEngine(Engine):
    """A calculator class, or a function that returns a calculator, called anew for each attempt.

    One rung: what is gentler is the calculator's own business. It may raise
    :class:`~mace_core.label.engines.base.NotConverged` or ASE's ``SCFError``.
    """

    RUNGS: ClassVar[tuple[str, ...]] = ("default",)

    def __init__(self, settings: ASELabeller):
        self.settings = settings

    def check(self, elements: list[str]) -> None:
        self._factory()

    def other_guess(self) -> str:
        return "labeller.other_guess" if self.settings.other_guess else ""

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        kwargs = self.settings.kwargs
        if guess == Guess.OTHER:
            kwargs = _laid_over(kwargs, self.settings.other_guess)
        charge, spin = frame.info["charge"], frame.info["spin"]
        for key, value, placeholders in (
            ("charge", charge, {"$charge"}),
            ("spin", spin, {"$spin", "$multiplicity"}),
        ):
            if value and not placeholders & mentioned(kwargs):
                raise Refused(
                    f"the frame has {key} {value}, and the calculator would not know: "
                    f"write '${key}' as a value where labeller.kwargs should say it"
                )
        values = {"$charge": charge, "$spin": spin, "$multiplicity": spin + 1}
        return run_calculator(self._factory()(**_filled(kwargs, values)), frame)

    def _factory(self):
        module, _, name = self.settings.calculator.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as err:
            raise UserError(
                f"labeller.calculator: cannot import {self.settings.calculator!r}: {err}",
                mend=f"pip install the package that has {module}, or put its folder on PYTHONPATH",
            ) from err


def run_calculator(calculator: Any, frame: Atoms) -> Result:
    """Energy, forces and, where the frame is periodic and the calculator can, stress.

    The energy is ``free_energy`` where there is one: the one whose derivative the forces are.

    Raises:
        NotConverged: the calculator said so.
    """
    atoms = frame.copy()
    atoms.calc = calculator
    wanted = ["energy", "forces"]
    if atoms.pbc.all() and "stress" in getattr(calculator, "implemented_properties", ()):
        wanted.append("stress")
    try:
        try:
            calculator.calculate(atoms, wanted)
        except PropertyNotImplementedError:
            if "stress" not in wanted:
                raise
            calculator.calculate(atoms, ["energy", "forces"])
    except SCFError as err:
        raise NotConverged(str(err) or "the calculator raised SCFError") from err
    except Exception as err:
        # Calculators outside ASE have classes of their own for the same thing.
        if type(err).__name__ in ("ConvergenceError", "KohnShamConvergenceError"):
            raise NotConverged(str(err) or type(err).__name__) from err
        raise
    results = calculator.results
    computed = getattr(calculator, "atoms", None) or atoms
    stress = results.get("stress") if "stress" in wanted else None
    if stress is not None and np.shape(stress) == (3, 3):
        stress = np.asarray(stress).flat[[0, 4, 8, 5, 2, 1]]
    return Result(
        energy=results.get("free_energy", results.get("energy")),
        forces=results.get("forces"),
        stress=stress,
        numbers=computed.numbers,
        positions=computed.positions,
    )


def _laid_over(kwargs: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with changes, which reach into mappings in them."""
    changed = dict(kwargs)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(kwargs.get(key), dict)
        changed[key] = _laid_over(kwargs[key], value) if both else value
    return changed


def _filled(value: Any, values: dict[str, int]) -> Any:
    """Keyword arguments with placeholders replaced by the frame's values."""
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return values.get(value, value) if isinstance(value, str) else value
