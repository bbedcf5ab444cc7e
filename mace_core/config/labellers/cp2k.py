"""Settings of CP2K."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mace_core.config.labellers.base import LabellerBase

#: Functionals by CP2K's short names, and those that are a parametrisation of its PBE.
FUNCTIONALS = ("PBE", "PADE", "BLYP", "BP", "HCTH120", "OLYP", "TPSS")
PARAMETRISATIONS = {"PBESOL": "PBESOL", "REVPBE": "REVPBE"}
#: Words that must not start a line of ``extra``, and why.
FORBIDDEN = {
    "IGNORE_CONVERGENCE_FAILURE": "an SCF that did not converge would pass as a label",
    **dict.fromkeys(
        ("CHARGE", "MULTIPLICITY", "UKS", "LSD", "SPIN_POLARIZED"),
        "charge and spin are those of each frame (info 'charge', 'spin')",
    ),
    **dict.fromkeys(
        ("SCF_GUESS", "MAX_SCF", "&OT", "&MIXING", "&OUTER_SCF", "&DIAGONALIZATION"),
        "the retry ladder sets it",
    ),
    **dict.fromkeys(
        (
            *("RUN_TYPE", "PROJECT", "PROJECT_NAME", "STRESS_TENSOR", "COORD_FILE_NAME"),
            *("&CELL", "&COORD", "&TOPOLOGY", "&GLOBAL", "&MOTION", "&EXT_RESTART", "&FORCE_EVAL"),
        ),
        "the engine sets it",
    ),
    **dict.fromkeys(("@INCLUDE", "@XCTYPE"), "what is in another file would not be hashed"),
}
ByElement = str | dict[str, str]


class CP2KLabeller(LabellerBase):
    """DFT in Gaussians and plane waves by CP2K: molecules in a box, crystals, metals."""

    # Of a basis set's file its content counts, not its place (see the engine); a converged SCF is
    # converged, whatever the way to it.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {
        *("command", "version", "data_dir", "basis_files", "potential_file", "max_scf"),
    }
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none", "full"})

    engine: Literal["cp2k"] = "cp2k"
    command: str = Field(
        "cp2k.psmp",
        description="how CP2K is started, e.g. 'mpirun -np 2 cp2k.psmp'; {threads} is the rule's",
    )
    version: str = Field(
        "",
        description="of CP2K, e.g. '2023.1', where it cannot be asked (it is not installed where "
        "generations are planned)",
    )
    data_dir: str | None = Field(
        None, description="folder of its data files; null: $CP2K_DATA_DIR, else beside the program"
    )
    basis_files: list[str] = Field(
        ["BASIS_MOLOPT"], min_length=1, description="files of basis sets, paths or in data_dir"
    )
    potential_file: str = Field(
        "GTH_POTENTIALS", description="file of pseudopotentials, a path or in data_dir"
    )
    basis: ByElement = Field(
        "DZVP-MOLOPT-SR-GTH", description="basis set: one for all, or by element"
    )
    potential: ByElement = Field(
        "GTH-PBE", description="pseudopotential: one for all, or by element"
    )
    xc: str | None = Field(
        "PBE",
        description=f"functional: {', '.join([*FUNCTIONALS, *PARAMETRISATIONS])}, or names of "
        "libxc joined by +, e.g. GGA_X_RPBE+GGA_C_PBE; null: given in extra (hybrids)",
    )
    dispersion: Literal["d3bj", "d3zero"] | None = Field(None, description="Grimme's D3, two-body")
    dispersion_functional: str | None = Field(
        None, description="whose D3 parameters, as CP2K names it; null: those of xc"
    )
    cutoff: float = Field(400, gt=0, description="of the finest grid, Ry")
    rel_cutoff: float = Field(50, gt=0, description="which grid a Gaussian lives on, Ry")
    eps_default: float = Field(1e-12, gt=0, description="numerical accuracy")
    eps_scf: float = Field(1e-6, gt=0, description="SCF convergence")
    max_scf: int = Field(
        200, ge=1, description="SCF steps; later rungs of the retry ladder take more"
    )
    kspacing: float | None = Field(
        None,
        gt=0,
        description="largest distance of k-points, 1/Å, with the factor 2π; null: Γ only",
    )
    kpts: Annotated[list[int], Field(min_length=3, max_length=3)] | None = Field(
        None, description="k-points along each reciprocal vector, in place of kspacing"
    )
    electronic_temperature: float | None = Field(
        None, gt=0, description="K; Fermi-Dirac smearing, for metals; null: none"
    )
    added_mos: int = Field(
        -1, ge=-1, description="empty orbitals for the smearing; -1: all that the basis gives"
    )
    uks: bool = Field(
        False,
        description="spin-polarised even where spin is 0 (with smearing: any moment that comes "
        "out); frames with spin are so anyway",
    )
    box: float = Field(
        12.0, gt=0, description="Å; edge of the cube in which molecules and free atoms are computed"
    )
    extra: dict[str, str] = Field(
        default_factory=dict,
        description="more input, as CP2K reads it, by the section's path",
        examples=[{"FORCE_EVAL/DFT/XC": "&HF\n  FRACTION 0.25\n&END HF"}],
    )

    @field_validator("xc")
    @classmethod
    def _known(cls, xc: str | None) -> str | None:
        if xc is None:
            return None
        name = xc.strip().upper()
        if name not in (*FUNCTIONALS, *PARAMETRISATIONS) and not re.fullmatch(
            r"(LDA|GGA|MGGA)_\w+(\+(LDA|GGA|MGGA)_\w+)*", name
        ):
            raise ValueError(
                f"{xc!r} is none of {', '.join([*FUNCTIONALS, *PARAMETRISATIONS])}, and no names "
                "of libxc (LDA_…, GGA_…, MGGA_…) joined by +; a hybrid: null here, and its "
                "sections in extra['FORCE_EVAL/DFT/XC']"
            )
        return name

    @field_validator("extra")
    @classmethod
    def _allowed(cls, extra: dict[str, str]) -> dict[str, str]:
        for path, text in extra.items():
            depth = 0
            if path.split("/")[0].upper() not in ("FORCE_EVAL", "GLOBAL"):
                raise ValueError(f"{path!r}: a path starts with FORCE_EVAL, e.g. FORCE_EVAL/DFT/XC")
            for line in text.upper().splitlines():
                word = next(iter(line.split()), "")
                depth += (word.startswith("&") and not word.startswith("&END")) - (
                    word.startswith("&END")
                )
                if word in FORBIDDEN:
                    raise ValueError(f"{path!r}: {word} cannot be set: {FORBIDDEN[word]}")
                if depth < 0:
                    raise ValueError(f"{path!r}: an &END too many")
            if depth:
                raise ValueError(f"{path!r}: a section is not ended by &END")
        return extra

    @model_validator(mode="after")
    def _sound(self) -> "CP2KLabeller":
        if self.kpts is not None and min(self.kpts) < 1:
            raise ValueError("kpts has to hold three numbers from 1")
        if self.xc is None and not any(path.upper().endswith("/XC") for path in self.extra):
            raise ValueError(
                "xc is null: give the functional in extra['FORCE_EVAL/DFT/XC'], "
                "e.g. '&XC_FUNCTIONAL PBE\\n&END'"
            )
        if self.dispersion and not (self.dispersion_functional or self.xc):
            raise ValueError("dispersion needs dispersion_functional where xc is null")
        return self

    def unconverging(self) -> "CP2KLabeller":
        return self.model_copy(update={"max_scf": 1})

    def lacking(self) -> "tuple[CP2KLabeller, str]":
        return self.model_copy(update={"basis": "NO-SUCH-BASIS"}), "a basis set that is not there"

    @property
    def counts_electrons(self) -> bool:
        return self.electronic_temperature is None
