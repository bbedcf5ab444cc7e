"""Settings of the engines that label frames: one model an engine, chosen by ``engine``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class LabellerBase(BaseModel):
    """What every engine has. None of these change the level of theory."""

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
        description="N(up) − N(down) of isolated atoms, by element; others take Hund's ground state",
    )


class PySCFLabeller(LabellerBase):
    """Molecular DFT (RKS, or UKS where spin is not 0) by PySCF."""

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


class TBLiteLabeller(LabellerBase):
    """Extended tight binding by tblite: cheap, molecules and periodic non-metals."""

    REQUIRES: ClassVar[dict[str, str]] = {"tblite": "tblite"}

    engine: Literal["tblite"] = "tblite"
    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN2-xTB", description="parametrisation")
    accuracy: float = Field(
        0.01, gt=0, description="numerical accuracy; forces are exact to 1e-7 eV/Å at 0.01"
    )
    max_iterations: int = Field(250, ge=1, description="SCC cycles")
    electronic_temperature: float = Field(300.0, gt=0, description="K")


class EMTLabeller(LabellerBase):
    """ASE's effective-medium potential for Al Ni Cu Pd Ag Pt Au (and H C N O, crudely): for tests."""

    engine: Literal["emt"] = "emt"


class ASELabeller(LabellerBase):
    """Any ASE calculator, by import path."""

    engine: Literal["ase"] = "ase"
    calculator: str = Field(
        ..., description="import path, e.g. 'ase.calculators.nwchem:NWChem'", examples=["pkg.mod:Cls"]
    )
    kwargs: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the calculator: the level of theory"
    )
    version: str = Field(
        "", description="free text that enters the theory id: change it when the program changes"
    )


Labeller = Annotated[
    PySCFLabeller | TBLiteLabeller | EMTLabeller | ASELabeller, Field(discriminator="engine")
]
