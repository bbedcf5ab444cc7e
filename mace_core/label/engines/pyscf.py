"""Molecular DFT by PySCF, without its ASE interface."""

import os
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree

from mace_core.config.labellers import PySCFLabeller
from mace_core.errors import UserError
from mace_core.label.engines.base import (
    Engine,
    Guess,
    NotConverged,
    Refused,
    Result,
    check_electrons,
)

#: Orbitals of Hückel's method instead of densities of atoms, from which every rung starts. The bare
#: core Hamiltonian ("1e") is farther off: it ends in excited states where nothing is wrong.
_OTHER = "huckel"


class PySCFEngine(Engine):
    """RKS, or UKS where spin is not 0, with analytical gradients.

    Sun et al., J. Chem. Phys. 153, 024109 (2020). With ``grid_response`` the gradient is the
    exact derivative of the energy on the moving integration grid (Johnson, Gill and Pople,
    J. Chem. Phys. 98, 5612 (1993)).
    """

    RUNGS: ClassVar[tuple[str, ...]] = ("default", "damped", "second_order")

    def __init__(self, settings: PySCFLabeller):
        self.settings = settings

    def check(self, elements: list[str]) -> None:
        from pyscf import dft, gto

        # PySCF takes a dispersion suffix off the functional's name by itself.
        try:
            dft.libxc.parse_xc(self.settings.xc)
        except (KeyError, ValueError) as err:
            raise UserError(
                f"labeller.xc: {self.settings.xc!r} is no functional that PySCF knows",
                mend="give a name of pyscf.dft.libxc, e.g. pbe, b3lyp, wb97m-v",
            ) from err
        for element in elements or ["H"]:
            try:
                gto.basis.load(self.settings.basis, element)
            except (KeyError, RuntimeError) as err:
                raise UserError(
                    f"labeller.basis: PySCF has no {self.settings.basis!r} for {element}",
                    mend="give a name of pyscf.gto.basis, e.g. def2-svp, 6-31g*, cc-pvdz",
                ) from err

    def other_guess(self) -> str:
        return f"init_guess {_OTHER}"

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        if frame.pbc.any():
            raise Refused("PySCF labels molecules only, and this frame is periodic")
        check_electrons(frame)
        scf = self._scf(frame, rung, guess)
        energy = scf.kernel()
        if not scf.converged:
            raise NotConverged(f"SCF not converged after {scf.max_cycle} cycles ({rung})")
        gradient = scf.nuc_grad_method()
        gradient.grid_response = self.settings.grid_response
        return Result(
            energy=float(energy) * Hartree,
            forces=-np.asarray(gradient.kernel()) * (Hartree / Bohr),
            stress=None,
            numbers=frame.numbers,
            positions=frame.positions,
        )

    def _scf(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL):
        """The self-consistent field of one rung, not yet run."""
        from pyscf import dft, gto, lib

        s = self.settings
        lib.param.TMPDIR = os.getcwd()  # this attempt's own folder
        molecule = gto.M(
            # In Bohr, because PySCF's own Å is that of another CODATA year than ASE's.
            atom=[
                (chemical_symbols[z], r)
                for z, r in zip(frame.numbers, (frame.positions / Bohr).tolist(), strict=True)
            ],
            unit="Bohr",
            basis=s.basis,
            ecp=_core_potentials(s.basis, set(frame.get_chemical_symbols())),
            charge=frame.info["charge"],
            spin=frame.info["spin"],
            max_memory=s.max_memory,
            symmetry=False,
            verbose=4,
        )
        scf = (dft.UKS if molecule.spin else dft.RKS)(molecule, xc=s.xc)
        if s.density_fit:
            scf = scf.density_fit()
        scf.grids.level = s.grid_level
        scf.conv_tol = s.conv_tol
        scf.max_cycle = s.max_cycle
        if s.dispersion:
            scf.disp = s.dispersion
        if guess == Guess.OTHER:
            scf.init_guess = _OTHER
        elif rung == "damped":
            scf.init_guess = "atom"
        if rung == "damped":
            scf.damp = 0.3
            scf.level_shift = 0.25  # Hartree, on virtual orbitals: changes the path, not its end
            scf.max_cycle = 3 * s.max_cycle
        elif rung == "second_order":
            # Sun, arXiv 1610.08423: co-iterative augmented Hessian.
            scf = scf.newton()
        return scf


def _core_potentials(basis: str, elements: set[str]) -> dict[str, str]:
    """The effective core potentials that belong to a basis set, for elements that have one.

    PySCF leaves them out unless asked to, and then the heavy atom lacks a core.
    """
    from pyscf import gto

    return {
        element: basis
        for element in elements
        if chemical_symbols.index(element) > 18 and len(gto.basis.load_ecp(basis, element)) > 0
    }
