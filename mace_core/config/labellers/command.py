"""Settings of any command that labels a file."""

import shlex
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from mace_core.config.labellers.base import LabellerBase


class CommandLabeller(LabellerBase):
    """Any command that reads one frame from an extxyz file and writes it, labelled, to another."""

    # The files enter by their content, the version's command by what it prints.
    NOT_THEORY: ClassVar[frozenset[str]] = LabellerBase.NOT_THEORY | {
        "files",
        "version_command",
        "unconverged_exit_codes",
    }

    engine: Literal["command"] = "command"
    command: str | list[str] = Field(
        ...,
        description="command line with {in} and {out} ({threads}, {rung}, {guess} too), run "
        "without a shell; several: a retry ladder, the next one where the SCF did not converge",
        examples=["python label.py {in} {out}"],
    )
    files: list[str] = Field(
        default_factory=list,
        description="files whose content belongs to the level of theory: the script, its input",
    )
    version: str = Field(
        "", description="free text that enters the theory id: change it when the program changes"
    )
    version_command: str = Field(
        "", description="command whose output enters the theory id, e.g. 'xtb --version'"
    )
    unconverged_exit_codes: list[int] = Field(
        default_factory=list,
        description="exit codes by which the command says that its SCF did not converge",
    )
    energy_key: str = Field(
        "REF_energy", description="info key of the energy whose derivative the forces are, eV"
    )
    forces_key: str = Field("REF_forces", description="arrays key of the forces, eV/Å")
    stress_key: str = Field(
        "REF_stress", description="info key of the stress, if it writes one, eV/Å³, ASE sign"
    )

    @field_validator("command")
    @classmethod
    def _ladder(cls, command: str | list[str]) -> list[str]:
        """One spelling, so that the level of theory does not depend on it."""
        commands = [command] if isinstance(command, str) else command
        if not commands:
            raise ValueError("no command: give e.g. python label.py {in} {out}")
        for line in commands:
            missing = [name for name in ("{in}", "{out}") if name not in line]
            if missing:
                raise ValueError(
                    f"{line!r} has no {' and no '.join(missing)}: write them where the command "
                    "takes the file to read and the file to write"
                )
            try:
                shlex.split(line)
            except ValueError as err:
                raise ValueError(f"{line!r} cannot be split into words: {err}") from None
        return commands

    def lacking(self) -> "tuple[CommandLabeller, str]":
        missing = self.model_copy(update={"command": ["no-such-program {in} {out}"]})
        return missing, "a program that is not there"
