"""Settings of tblite."""

from typing import ClassVar, Literal

from pydantic import Field

from mace_core.config.labellers.base import LabellerBase


class TBLiteLabeller(LabellerBase):
    """Extended tight binding by tblite: cheap, molecules and periodic non-metals."""

    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {"max_iterations"}
    REQUIRES: ClassVar[dict[str, str]] = {"tblite": "tblite"}
    PERIODICITY: ClassVar[frozenset[str]] = frozenset({"none", "full"})

    engine: Literal["tblite"] = "tblite"
    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN2-xTB", description="parametrisation")
    accuracy: float = Field(
        0.01, gt=0, description="numerical accuracy; forces are exact to 1e-7 eV/Å at 0.01"
    )
    max_iterations: int = Field(250, ge=1, description="SCC cycles")
    electronic_temperature: float = Field(300.0, gt=0, description="K")

    @property
    def counts_electrons(self) -> bool:
        return True

    def unconverging(self) -> "TBLiteLabeller":
        return self.model_copy(update={"max_iterations": 1})
