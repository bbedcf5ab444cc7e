"""What the checks gather: problems, notes, what is right, and the frames they are about."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ase import Atoms
from ase.data import chemical_symbols

from mace_core.errors import UserError


@dataclass
class Findings:
    """What the checks found.

    Attributes:
        problems: key, value and mend of what must be changed.
        notes: what may be meant so.
        good: what was looked at and is right.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    good: list[str] = field(default_factory=list)

    def problem(self, key: str, value: object, wrong: str, mend: str) -> None:
        self.problems.append(f"{key}: {value!r}: {wrong}\n    mend: {mend}")

    def raise_problems(self) -> None:
        """Raise :class:`UserError` with all problems, if there are any."""
        if self.problems:
            n = len(self.problems)
            raise UserError(
                f"{n} problem{'s' if n > 1 else ''} in the configuration:\n"
                + "\n".join(f"  - {problem}" for problem in self.problems)
            )


@dataclass
class Frames:
    """What the configuration's files hold."""

    structures: list[tuple[str, Atoms]] = field(default_factory=list)  # with the file's name
    labelled: set[str] = field(default_factory=set)  # elements
    isolated: set[str] = field(default_factory=set)  # elements with a labelled free atom
    frozen: set[str] = field(default_factory=set)  # elements

    @property
    def trained(self) -> set[str]:
        """Elements that will be trained on."""
        return {str(s) for _, atoms in self.structures for s in atoms.symbols} | self.labelled


def is_element(symbol: str) -> bool:
    return symbol in chemical_symbols[1:]


def listed(values: Iterable) -> str:
    """The values in order, with commas."""
    return ", ".join(str(value) for value in sorted(values))
