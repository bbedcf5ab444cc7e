"""Settings of any ASE calculator."""

import json
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from mace_core.config.labellers.base import LabellerBase

#: Values of keyword arguments that stand for something of the frame.
PLACEHOLDERS = ("$charge", "$spin", "$multiplicity")


class ASELabeller(LabellerBase):
    """Any ASE calculator, by import path."""

    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {"other_guess"}
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
    other_guess: dict[str, Any] = Field(
        default_factory=dict,
        description="keyword arguments laid over kwargs when a doubted label is computed again: a "
        "starting guess for the SCF, and nothing that belongs to the level of theory",
    )
    version: str = Field(
        "", description="free text that enters the theory id: change it when the program changes"
    )

    @field_validator("kwargs", "other_guess")
    @classmethod
    def _plain(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What the frozen plan (JSON) would not give back as it was is no setting."""
        try:
            same = json.loads(json.dumps(kwargs, allow_nan=False)) == kwargs
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValueError("it may hold text, finite numbers, lists, and mappings by text")
        return kwargs

    @property
    def optional_distributions(self) -> list[str]:
        # A calculator of its own package (gpaw, xtb, …) counts too; one in a user's file
        # has no version but the free text of labeller.version.
        return [self.calculator.split(":")[0].split(".")[0]]

    @property
    def knows_charge(self) -> bool:
        return "$charge" in mentioned(self.kwargs)

    @property
    def knows_spin(self) -> bool:
        return bool(mentioned(self.kwargs) & {"$spin", "$multiplicity"})

    def lacking(self) -> "tuple[ASELabeller, str]":
        missing = self.model_copy(update={"calculator": "no_such_package.calculator:Thing"})
        return missing, "a calculator that is not there"


def mentioned(value: Any) -> set[str]:
    """The placeholders in keyword arguments, at any depth."""
    if isinstance(value, dict):
        return set().union(*(mentioned(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(mentioned(item) for item in value))
    return {value} if isinstance(value, str) and value in PLACEHOLDERS else set()
