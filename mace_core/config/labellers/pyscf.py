"""Settings of PySCF."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from mace_core.config.labellers.base import LabellerBase


class PySCFLabeller(LabellerBase):
    """Molecular DFT (RKS, or UKS where spin is not 0) by PySCF."""

    # A converged SCF is converged, however many cycles it was allowed.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {"max_cycle"}
    REQUIRES: ClassVar[dict[str, str]] = {"pyscf": "pyscf"}
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none"})

    engine: Literal["pyscf"] = "pyscf"
    xc: str = Field("pbe", description="functional, as PySCF names it")
    basis: str = Field("def2-svp", description="basis set, as PySCF names it")
    density_fit: bool = Field(True, description="density fitting of the Coulomb integrals")
    grid_level: int = Field(
        2, ge=0, le=9, description="integration grid; below 2 the forces are 10 meV/Å wrong"
    )
    grid_response: bool = Field(
        True, description="grid response in the gradient: the exact derivative of the energy"
    )
    conv_tol: float = Field(1e-8, gt=0, description="SCF energy convergence, Hartree")
    max_cycle: int = Field(100, ge=1, description="SCF cycles of each rung of the retry ladder")
    dispersion: Literal["d3bj", "d3zero", "d4"] | None = Field(
        None, description="dispersion correction (needs pyscf-dispersion)"
    )
    max_memory: int = Field(4000, ge=100, description="MB")

    @field_validator("xc", "basis")
    @classmethod
    def _one_spelling(cls, name: str) -> str:
        """PySCF ignores case; the level of theory must not depend on it."""
        return name.strip().lower()

    @property
    def distributions(self) -> list[str]:
        # PySCF also takes the dispersion from the functional's name, as in "b3lyp-d3bj".
        dispersed = self.dispersion or "-d3" in self.xc or "-d4" in self.xc
        return ["pyscf", "pyscf-dispersion"] if dispersed else ["pyscf"]

    @property
    def counts_electrons(self) -> bool:
        return True

    def unconverging(self) -> "PySCFLabeller":
        return self.model_copy(update={"max_cycle": 1})

    def lacking(self) -> "tuple[PySCFLabeller, str]":
        return self.model_copy(update={"basis": "no-such-basis"}), "a basis set of no element"
