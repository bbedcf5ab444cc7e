"""Settings of the engines that label frames: one model an engine, chosen by ``engine``."""

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class LabellerBase(BaseModel):
    """What every engine has. None of these changes the level of theory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Fields that do not enter the level of theory's id.
    NOT_THEORY: ClassVar[frozenset[str]] = frozenset(
        {"time_limit", "max_memory", "max_force", "spins"}
    )
    #: Modules that must be importable, and the pip name that brings each.
    REQUIRES: ClassVar[dict[str, str]] = {}

    time_limit: float = Field(1800, gt=0, description="seconds for one attempt at one frame")
    max_force: float = Field(
        100.0, gt=0, description="eV/Å; a label with a larger force is rejected, not trained"
    )
    spins: dict[str, int] = Field(
        default_factory=dict,
        description="N(up) − N(down) of isolated atoms, by element; others take the ground state",
    )


class PySCFLabeller(LabellerBase):
    """Molecular DFT (RKS, or UKS where spin is not 0) by PySCF."""

    # A converged SCF is converged, however many cycles it was allowed.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {"max_cycle"}
    REQUIRES: ClassVar[dict[str, str]] = {"pyscf": "pyscf"}

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


class TBLiteLabeller(LabellerBase):
    """Extended tight binding by tblite: cheap, molecules and periodic non-metals."""

    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {"max_iterations"}
    REQUIRES: ClassVar[dict[str, str]] = {"tblite": "tblite"}

    engine: Literal["tblite"] = "tblite"
    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN2-xTB", description="parametrisation")
    accuracy: float = Field(
        0.01, gt=0, description="numerical accuracy; forces are exact to 1e-7 eV/Å at 0.01"
    )
    max_iterations: int = Field(250, ge=1, description="SCC cycles")
    electronic_temperature: float = Field(300.0, gt=0, description="K")


class EMTLabeller(LabellerBase):
    """ASE's effective-medium potential, for tests: Al Ni Cu Pd Ag Pt Au, and H C N O crudely."""

    engine: Literal["emt"] = "emt"


class ASELabeller(LabellerBase):
    """Any ASE calculator, by import path."""

    REQUIRES: ClassVar[dict[str, str]] = {"ase": "ase"}

    engine: Literal["ase"] = "ase"
    calculator: str = Field(
        ...,
        pattern=r"^[\w.]+:\w+$",
        description="import path of a class, or of a function that returns a calculator, "
        "e.g. 'ase.calculators.nwchem:NWChem'",
        examples=["pkg.mod:Cls"],
    )
    kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="keyword arguments of the calculator: the level of theory; the values $charge, "
        "$spin and $multiplicity stand for the frame's own",
    )
    version: str = Field(
        "", description="free text that enters the theory id: change it when the program changes"
    )

    @field_validator("kwargs")
    @classmethod
    def _plain(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What the frozen plan (JSON) would not give back as it was is no setting."""
        try:
            same = json.loads(json.dumps(kwargs, allow_nan=False)) == kwargs
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValueError("kwargs may hold text, finite numbers, lists, and mappings by text")
        return kwargs


Labeller = Annotated[
    PySCFLabeller | TBLiteLabeller | EMTLabeller | ASELabeller, Field(discriminator="engine")
]
