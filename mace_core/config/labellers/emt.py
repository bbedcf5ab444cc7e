"""Settings of ASE's effective-medium potential."""

from typing import Literal

from mace_core.config.labellers.base import LabellerBase


class EMTLabeller(LabellerBase):
    """ASE's effective-medium potential, for tests: Al Ni Cu Pd Ag Pt Au, and H C N O crudely."""

    engine: Literal["emt"] = "emt"

    @property
    def distributions(self) -> list[str]:
        return ["ase"]

    @property
    def knows_charge(self) -> bool:
        return False

    @property
    def knows_spin(self) -> bool:
        return False
