"""Settings of VASP."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mace_core.config.labellers.base import LabellerBase

#: INCAR tags that nobody may set, and why.
FORBIDDEN = {
    **dict.fromkeys(("NSW", "IBRION", "ISIF", "POTIM", "ML_LMLFF"), "a label is one static run"),
    "ISYM": "frames of a trajectory have no symmetry; it is 0",
    **dict.fromkeys(("NELECT", "NUPDOWN"), "charge and spin are those of each frame"),
    **dict.fromkeys(("KSPACING", "KGAMMA"), "it has keys of its own here, kspacing and kpts"),
    "NELM": "it has a key of its own here, nelm",
    **dict.fromkeys(("ISTART", "ICHARG", "LWAVE", "LCHARG"), "each attempt starts anew"),
}


class VASPLabeller(LabellerBase):
    """Plane-wave DFT by VASP; inputs and outputs through pymatgen. Never run by its authors."""

    # Of a POTCAR its content counts (see the engine); a converged SCF is converged.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {
        *("command", "version", "potcar_dir", "nelm"),
    }
    REQUIRES: ClassVar[dict[str, str]] = {"pymatgen": "pymatgen"}
    CAVEAT: ClassVar[tuple[str, ...]] = (
        "VASP was never run by this project's tests: its input (by pymatgen) and the reading of "
        "its output were tested on files; check by hand before a campaign:",
        "label one frame (maceloop label), run VASP on the same files by yourself, and compare "
        "TOTEN, the forces atom by atom in the frame's order, and the stress (kbar, sign turned)",
        "maceloop check-labeller: forces and stress against finite differences, order, rungs",
        "a frame with labeller.nelm: 2 must end as unconverged, a killed VASP as failed",
        "INCAR, KPOINTS and POTCAR of that frame are what you would have written: NUPDOWN, NELECT "
        "and MAGMOM too, where frames have spin or charge",
    )
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none", "full"})

    engine: Literal["vasp"] = "vasp"
    command: str = Field(
        "vasp_std", description="how VASP is started, e.g. 'srun vasp_std'; {threads} is the rule's"
    )
    version: str = Field(
        ..., description="of VASP, e.g. 6.4.2; a label whose output says another one fails"
    )
    input_set: (
        Literal["MPStaticSet", "MPScanStaticSet", "MatPESStaticSet", "MP24StaticSet"] | None
    ) = Field(None, description="pymatgen's input set to start from; null: incar is all there is")
    incar: dict[str, Any] = Field(
        default_factory=dict,
        description="INCAR tags, over those of the input set",
        examples=[{"ENCUT": 520, "ISMEAR": 0, "SIGMA": 0.05}],
    )
    kspacing: float | None = Field(
        None,
        gt=0,
        description="largest distance of k-points, 1/Å, with the factor 2π; null: the input set's",
    )
    kpts: Annotated[list[int], Field(min_length=3, max_length=3)] | None = Field(
        None, description="k-points along each reciprocal vector, in place of kspacing"
    )
    potcars: dict[str, str] = Field(
        ..., min_length=1, description="POTCAR of each element, e.g. {Si: Si, Ti: Ti_pv}"
    )
    potcar_functional: str = Field("PBE_54", description="set of POTCARs, as pymatgen names it")
    potcar_dir: str | None = Field(
        None, description="folder of the sets, as pymatgen lays it out; null: $PMG_VASP_PSP_DIR"
    )
    nelm: int = Field(
        100, ge=1, description="electronic steps; later rungs of the ladder take more"
    )
    vacuum: float = Field(
        6.0,
        ge=3,
        description="Å on each side of a free atom or molecule, in the box it is put into",
    )

    @field_validator("incar")
    @classmethod
    def _allowed(cls, incar: dict[str, Any]) -> dict[str, Any]:
        tags = {key.strip().upper(): value for key, value in incar.items()}
        for tag, why in FORBIDDEN.items():
            if tag in tags:
                raise ValueError(f"{tag} cannot be set: {why}")
        if str(tags.get("ISMEAR")).strip() in ("-5", "-4", "-14", "-15"):
            raise ValueError(
                "ISMEAR is a tetrahedron method, whose forces are not the derivative of its "
                "energy in metals: take 0 (and SIGMA 0.05), or 1 for metals"
            )
        return tags

    @model_validator(mode="after")
    def _sound(self) -> "VASPLabeller":
        if self.input_set is None:
            missing = [tag for tag in ("ENCUT", "ISMEAR") if tag not in self.incar]
            if missing:
                raise ValueError(
                    f"without an input_set the level of theory is incar's, which lacks "
                    f"{' and '.join(missing)}"
                )
            if not (self.kspacing or self.kpts):
                raise ValueError("give kspacing or kpts, or an input_set")
        if self.kpts is not None and min(self.kpts) < 1:
            raise ValueError("kpts has to hold three numbers from 1")
        return self

    def unconverging(self) -> "VASPLabeller":
        return self.model_copy(update={"nelm": 1})

    def lacking(self) -> "tuple[VASPLabeller, str]":
        return self.model_copy(update={"potcar_dir": "no-such-folder"}), "a folder without POTCARs"
