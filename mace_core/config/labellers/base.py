"""What the settings of every engine have."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class LabellerBase(BaseModel):
    """What every engine has. None of these changes the level of theory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Fields that do not enter the level of theory's id.
    NOT_THEORY: ClassVar[frozenset[str]] = frozenset(
        {"time_limit", "max_memory", "max_force", "max_net_force", "spins"}
    )
    #: Modules that must be importable, and the pip name that brings each.
    REQUIRES: ClassVar[dict[str, str]] = {}
    #: How to install them, where `pip install` alone may not do.
    INSTALL: ClassVar[str] = ""
    #: What was not tested of this engine, and then what to check by hand; nothing for most.
    CAVEAT: ClassVar[tuple[str, ...]] = ()
    #: Frames it can label: "none", "partial" or "full" periodicity.
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none", "partial", "full"})

    time_limit: float = Field(1800, gt=0, description="seconds for one attempt at one frame")
    max_force: float = Field(
        100.0, gt=0, description="eV/Å; a label with a larger force is quarantined, not trained"
    )
    max_net_force: float | None = Field(
        0.1,
        gt=0,
        description="eV/Å; so is one whose forces sum to more than this × √(atoms); null: any sum",
    )
    spins: dict[str, int] = Field(
        default_factory=dict,
        description="N(up) − N(down) of isolated atoms, by element; others take the ground state",
    )

    @property
    def distributions(self) -> list[str]:
        """pip names whose release can change a label; their versions enter the level of theory."""
        return list(self.REQUIRES.values())

    @property
    def optional_distributions(self) -> list[str]:
        """Like :attr:`distributions`, where they are installed."""
        return []

    @property
    def knows_charge(self) -> bool:
        """Whether the engine is told a frame's charge."""
        return True

    @property
    def knows_spin(self) -> bool:
        """Whether the engine is told a frame's spin."""
        return True

    @property
    def counts_electrons(self) -> bool:
        """Whether it refuses a spin that the number of electrons does not allow."""
        return False

    def unconverging(self) -> "LabellerBase | None":
        """These settings with an SCF that cannot converge, where the engine can be told so."""
        return None

    def lacking(self) -> "tuple[LabellerBase, str] | None":
        """These settings with an ingredient that is not there, and which one it is."""
        return None
