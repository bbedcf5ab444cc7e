"""Settings of GPAW."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mace_core.config.labellers.base import LabellerBase


class GPAWLabeller(LabellerBase):
    """Plane-wave PAW DFT of crystals (and of free atoms and molecules in a box) by GPAW."""

    # A converged SCF is converged, however many iterations it was allowed.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {"maxiter"}
    REQUIRES: ClassVar[dict[str, str]] = {"gpaw": "gpaw"}
    INSTALL: ClassVar[str] = (
        "scripts/engines.sh gpaw, or pip install gpaw (it needs a C compiler; where an mpic++ "
        "without MPI's headers is in its way, set GPAW_CONFIG as that script does)"
    )
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none", "full"})

    engine: Literal["gpaw"] = "gpaw"
    ecut: float = Field(..., gt=0, description="plane-wave cutoff, eV", examples=[400])
    xc: str = Field(
        "PBE", description="functional, as GPAW names it (beyond LDA, PBE, RPBE: needs libxc)"
    )
    kspacing: float = Field(
        0.25, gt=0, description="largest distance of k-points, 1/Å, with the factor 2π"
    )
    kpts: Annotated[list[int], Field(min_length=3, max_length=3)] | None = Field(
        None, description="k-points along each reciprocal vector (around Γ), in place of kspacing"
    )
    smearing: Literal["none", "fermi-dirac", "marzari-vanderbilt", "methfessel-paxton"] = Field(
        "none", description="of the occupations; none is for insulators"
    )
    width: float | None = Field(None, gt=0, description="width of the smearing, eV")
    spinpol: bool = Field(
        False,
        description="spin-polarised, the magnetisation free; frames with info 'spin' ≠ 0 are so "
        "anyway, with that magnetisation",
    )
    magmoms: dict[str, float] = Field(
        default_factory=dict,
        description="by element, unpaired electrons, where the SCF starts with spinpol",
    )
    setups: str = Field("paw", description="kind of PAW datasets")
    version: str = Field(
        "",
        description="free text that enters the theory id: change it with PAW datasets of your own",
    )
    density: float = Field(
        1e-6, gt=0, description="SCF convergence: change of the density, electrons per electron"
    )
    eigenstates: float = Field(
        1e-9, gt=0, description="SCF convergence: residual of the bands, eV² per electron"
    )
    maxiter: int = Field(
        200, ge=1, description="SCF iterations; later rungs of the retry ladder take more"
    )
    vacuum: float = Field(
        6.0,
        ge=3,
        description="Å on each side of a free atom or molecule, in the box it is put into",
    )

    @model_validator(mode="after")
    def _sound(self) -> "GPAWLabeller":
        if self.smearing == "none" and self.width is not None:
            raise ValueError("width is given, but smearing is none: choose a kind of smearing")
        if self.smearing != "none" and self.width is None:
            raise ValueError(f"smearing is {self.smearing}, but its width (eV) is not given")
        if self.kpts is not None and min(self.kpts) < 1:
            raise ValueError("kpts has to hold three numbers from 1")
        if self.spinpol and not any(self.magmoms.values()):
            raise ValueError(
                "spinpol is true, but every one of magmoms is 0: the result would not be "
                "magnetic; give one by element, e.g. {Fe: 2.2}"
            )
        if self.magmoms and not self.spinpol:
            raise ValueError("magmoms is given, but spinpol is false")
        return self

    @property
    def optional_distributions(self) -> list[str]:
        return ["gpaw-data"]

    def unconverging(self) -> "GPAWLabeller":
        return self.model_copy(update={"maxiter": 1})

    def lacking(self) -> "tuple[GPAWLabeller, str]":
        return self.model_copy(
            update={"setups": "no-such-setup"}
        ), "PAW datasets that are not there"

    @property
    def counts_electrons(self) -> bool:
        return self.smearing == "none"
