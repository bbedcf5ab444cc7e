"""Settings of Quantum ESPRESSO."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mace_core.config.labellers.base import LabellerBase

#: Entries of pw.x's namelists that are settings here, by the setting's name.
SETTINGS_OF = {
    "ecutwfc": "ecutwfc",
    "ecutrho": "ecutrho",
    "input_dft": "input_dft",
    "occupations": "smearing",
    "smearing": "smearing",
    "degauss": "degauss",
    "nspin": "nspin",
    "starting_magnetization": "starting_magnetization",
    "vdw_corr": "dispersion",
    "dftd3_version": "dispersion",
    "conv_thr": "conv_thr",
    "electron_maxstep": "electron_maxstep",
    "mixing_beta": "mixing_beta",
    "pseudo_dir": "pseudo_dir",
}
#: Entries that nobody may set, and why.
FORBIDDEN = {
    "scf_must_converge": "with it pw.x claims convergence that there was not",
    "calculation": "a label is one scf calculation",
    **dict.fromkeys(
        ("tot_charge", "tot_magnetization", "noncolin", "lspinorb"),
        "charge and spin are those of each frame (info 'charge', 'spin')",
    ),
    **dict.fromkeys(
        ("mixing_mode", "mixing_ndim", "diagonalization", "startingwfc", "startingpot"),
        "the retry ladder sets it",
    ),
    **dict.fromkeys(
        ("ibrav", "celldm", "a", "b", "c", "cosab", "cosac", "cosbc", "nat", "ntyp", "nosym"),
        "the engine sets it from the frame",
    ),
    **dict.fromkeys(
        ("outdir", "prefix", "disk_io", "wfcdir", "restart_mode", "tprnfor", "tstress", "title"),
        "the engine sets it",
    ),
    **dict.fromkeys(("max_seconds", "adaptive_thr", "verbosity"), "the engine sets it"),
}
Namelist = dict[str, bool | int | float | str]


class EspressoLabeller(LabellerBase):
    """Plane-wave DFT of crystals (and of free atoms and molecules in a box) by pw.x."""

    # Of a pseudopotential its content counts, not its place (see the engine); a converged SCF is
    # converged, whatever the way to it.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {
        *("command", "version", "pseudo_dir", "pseudopotentials"),
        *("electron_maxstep", "mixing_beta"),
    }
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none", "full"})

    engine: Literal["espresso"] = "espresso"
    command: str = Field(
        "pw.x",
        description="how pw.x is started, e.g. 'mpirun -np 2 pw.x' or 'python -m qepy --pw.x'",
    )
    version: str = Field(
        "",
        description="of pw.x, e.g. '6.7', where it cannot be asked (it is not installed where "
        "generations are planned)",
    )
    pseudo_dir: str = Field(..., description="folder of the pseudopotentials")
    pseudopotentials: dict[str, str] = Field(
        ..., min_length=1, description="UPF file in pseudo_dir, by element"
    )
    input_dft: str | None = Field(
        None, description="functional, as pw.x names it; null: the one of the pseudopotentials"
    )
    ecutwfc: float = Field(..., gt=0, description="cutoff of the wave functions, Ry", examples=[60])
    ecutrho: float | None = Field(
        None,
        gt=0,
        description="cutoff of the density, Ry; null: 4 × ecutwfc (norm-conserving "
        "pseudopotentials only)",
    )
    kspacing: float = Field(
        0.25, gt=0, description="largest distance of k-points, 1/Å, with the factor 2π"
    )
    kpts: Annotated[list[int], Field(min_length=3, max_length=3)] | None = Field(
        None, description="k-points along each reciprocal vector, in place of kspacing"
    )
    koffset: bool = Field(False, description="move the grid off Γ by half a step in each direction")
    smearing: Literal[
        "none", "gaussian", "marzari-vanderbilt", "methfessel-paxton", "fermi-dirac"
    ] = Field("none", description="of the occupations; none is for insulators")
    degauss: float | None = Field(None, gt=0, description="width of the smearing, Ry")
    nspin: Literal[1, 2] = Field(
        1,
        description="2: spin-polarised, the magnetisation free; frames with info 'spin' ≠ 0 are so "
        "anyway, with that magnetisation",
    )
    starting_magnetization: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(
        default_factory=dict, description="by element, −1 to 1, where the SCF starts with nspin 2"
    )
    dispersion: Literal["d2", "d3zero", "d3bj"] | None = Field(
        None, description="Grimme's correction; of D3 the two-body terms"
    )
    conv_thr: float = Field(
        1e-9, gt=0, description="SCF convergence, Ry (of the whole cell's energy)"
    )
    electron_maxstep: int = Field(
        100, ge=1, description="SCF iterations; later rungs of the retry ladder take more"
    )
    mixing_beta: float = Field(
        0.7, gt=0, le=1, description="density mixing of the first rung of the retry ladder"
    )
    vacuum: float = Field(
        6.0,
        ge=3,
        description="Å on each side of a free atom or molecule, in the box it is put into",
    )
    control: Namelist = Field(default_factory=dict, description="more entries of &CONTROL")
    system: Namelist = Field(
        default_factory=dict,
        description="more entries of &SYSTEM; for one element: 'hubbard_u(Ni)'",
    )
    electrons: Namelist = Field(default_factory=dict, description="more entries of &ELECTRONS")

    @model_validator(mode="after")
    def _sound(self) -> "EspressoLabeller":
        for section in ("control", "system", "electrons"):
            for key in getattr(self, section):
                _check_entry(section, key)
        if self.smearing == "none" and self.degauss is not None:
            raise ValueError("degauss is given, but smearing is none: choose a kind of smearing")
        if self.smearing != "none" and self.degauss is None:
            raise ValueError(
                f"smearing is {self.smearing}, but its width degauss (Ry) is not given"
            )
        if self.ecutrho is not None and self.ecutrho < 4 * self.ecutwfc:
            raise ValueError(f"ecutrho is below 4 × ecutwfc = {4 * self.ecutwfc:g} Ry")
        if self.kpts is not None and min(self.kpts) < 1:
            raise ValueError("kpts has to hold three numbers from 1")
        if self.nspin == 2 and not any(self.starting_magnetization.values()):
            raise ValueError(
                "nspin is 2, but every starting_magnetization is 0: the result would not be "
                "magnetic; give one by element, e.g. {Fe: 0.4}"
            )
        if self.nspin == 1 and self.starting_magnetization:
            raise ValueError("starting_magnetization is given, but nspin is 1: set nspin to 2")
        return self

    def unconverging(self) -> "EspressoLabeller":
        return self.model_copy(update={"electron_maxstep": 1})

    def lacking(self) -> "tuple[EspressoLabeller, str]":
        return self.model_copy(
            update={"pseudo_dir": "no-such-folder"}
        ), "a folder without pseudopotentials"

    @property
    def counts_electrons(self) -> bool:
        return self.smearing == "none"


def _check_entry(section: str, key: str) -> None:
    name = re.sub(r"\(.*", "", key).strip().lower()
    if name in SETTINGS_OF:
        raise ValueError(f"{section}.{key}: it has a key of its own here, {SETTINGS_OF[name]}")
    if name in FORBIDDEN:
        raise ValueError(f"{section}.{key} cannot be set: {FORBIDDEN[name]}")
    if not re.fullmatch(r"[a-z]\w*(\([A-Z][a-z]?\))?", key):
        raise ValueError(
            f"{section}.{key}: write the entry's name in small letters, where it belongs to an "
            "element with the element, e.g. hubbard_u(Ni)"
        )
