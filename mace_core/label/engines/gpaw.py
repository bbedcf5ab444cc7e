"""GPAW, in plane waves."""

from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from mace_core.config.labellers import GPAWLabeller
from mace_core.errors import UserError
from mace_core.label.engines.base import (
    Engine,
    Guess,
    NotConverged,
    Refused,
    Result,
    check_electrons,
)
from mace_core.label.engines.cells import boxed, kpoint_grid


class GPAWEngine(Engine):
    """Mortensen et al., J. Chem. Phys. 160, 092503 (2024).

    The energy is the free energy, whose derivative the forces and stress are; GPAW's usual one is
    extrapolated to no smearing.
    """

    RUNGS: ClassVar[tuple[str, ...]] = ("default", "damped", "more_bands")

    def __init__(self, settings: GPAWLabeller):
        self.settings = settings

    def check(self, elements: list[str]) -> None:
        from gpaw.setup_data import SetupData
        from gpaw.xc import XC

        xc = self.settings.xc
        try:
            name = XC(xc).get_setup_name()
        except Exception as err:
            raise UserError(
                f"labeller.xc: {xc!r} is no functional that this GPAW knows ({err})",
                mend="give LDA, PBE, revPBE or RPBE, or build GPAW with libxc for the others",
            ) from err
        for element in elements:
            try:
                SetupData(element, name, self.settings.setups)
            except Exception as err:
                raise UserError(
                    f"labeller.setups: no {self.settings.setups!r} dataset of {element} for {xc}",
                    mend="pip install gpaw-data (or gpaw install-data DIR), or take an element or "
                    "functional that has one",
                ) from err

    def other_guess(self) -> str:
        return "random wave functions, and half of the starting moments where they are free"

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        from gpaw import GPAW, ConvergenceError

        if not frame.pbc.any() or self.settings.counts_electrons:
            check_electrons(frame)
        box = boxed(frame, self.settings.vacuum)
        atoms = box.copy()
        atoms.calc = GPAW(txt="gpaw.txt", **self.parameters(frame, box, rung, guess))
        try:
            atoms.get_potential_energy()
            forces = atoms.get_forces()
            stress = atoms.get_stress() if frame.pbc.all() else None
        except ConvergenceError as err:
            raise NotConverged(
                f"GPAW: SCF not converged in {self._maxiter(rung)} iterations"
            ) from err
        except FileNotFoundError as err:
            raise Refused(f"GPAW: {err}") from err
        return Result(
            energy=float(atoms.calc.results["free_energy"]),
            forces=np.asarray(forces),
            stress=stress,
            numbers=atoms.numbers,
            positions=atoms.positions - (box.positions - frame.positions),
        )

    def parameters(
        self, frame: Atoms, box: Atoms, rung: str, guess: Guess = Guess.USUAL
    ) -> dict[str, Any]:
        """GPAW's keyword arguments for a frame in its box."""
        s = self.settings
        spin = frame.info["spin"]
        kpts = s.kpts or kpoint_grid(box.cell[:], s.kspacing)
        occupations: dict[str, Any] = {"name": "fermi-dirac", "width": 0.0}
        # A free atom's levels hold whole electrons, whatever the crystal's smearing.
        if s.smearing != "none" and frame.pbc.all():
            occupations = {"name": s.smearing, "width": s.width}
        parameters: dict[str, Any] = {
            "mode": {"name": "pw", "ecut": s.ecut},
            "xc": s.xc,
            "setups": s.setups,
            "charge": frame.info["charge"],
            "kpts": {"size": tuple(kpts) if frame.pbc.all() else (1, 1, 1), "gamma": True},
            # A displaced atom has no symmetry; what a perfect crystal has must change nothing.
            "symmetry": "off",
            "convergence": {"density": s.density, "eigenstates": s.eigenstates},
            "maxiter": self._maxiter(rung),
        }
        if spin:
            occupations["fixmagmom"] = True
            start = np.array([s.magmoms.get(e, 0.0) for e in frame.get_chemical_symbols()])
            if not start.sum():
                start = np.ones(len(frame))
            parameters["magmoms"] = start * (spin / start.sum())
        elif s.spinpol and frame.pbc.all():
            parameters["magmoms"] = [s.magmoms.get(e, 0.0) for e in frame.get_chemical_symbols()]
        parameters["occupations"] = occupations
        # Only the way to the solution.
        if rung != "default":
            parameters["mixer"] = {"beta": 0.02, "nmaxold": 8, "weight": 100.0}
        if rung == "more_bands":
            parameters["nbands"] = "300%"
        if guess == Guess.OTHER:
            parameters["random"] = True
            if not spin and "magmoms" in parameters:
                parameters["magmoms"] = [m / 2 for m in parameters["magmoms"]]
        return parameters

    def _maxiter(self, rung: str) -> int:
        return self.settings.maxiter if rung == "default" else max(300, 3 * self.settings.maxiter)
