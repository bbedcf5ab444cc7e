"""What an engine is to the rest of the code: a retry ladder and one function."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms


class NotConverged(Exception):  # noqa: N818
    """The SCF stopped before it converged: the next rung of the ladder is tried."""


class Refused(Exception):  # noqa: N818
    """This engine cannot label this frame; the message says why."""


class Guess(StrEnum):
    """From what the SCF starts. No part of the level of theory: the same state is to be found."""

    USUAL = "usual"
    OTHER = "other"  # than labels start from: what a doubted label is computed again with


@dataclass
class Result:
    """What an engine computed. eV, eV/Å, eV/Å³; stress has the ASE sign.

    ``numbers`` and ``positions`` are those of the atoms that were really computed, so that the
    caller can see whether they are still the frame's.
    """

    energy: float | None  # force-consistent
    forces: np.ndarray | None  # [n, 3]
    stress: np.ndarray | None  # [6] Voigt; None where not periodic or not known
    numbers: np.ndarray  # [n]
    positions: np.ndarray  # [n, 3] Å


class Engine(Protocol):
    """One program that computes labels.

    The module of an engine imports its program inside its methods only.
    """

    #: Rungs of the retry ladder, all at one level of theory, each one gentler and slower.
    RUNGS: ClassVar[tuple[str, ...]]

    def program_versions(self) -> dict[str, str]:
        """Versions of programs that are no Python packages; they enter the level of theory.

        Raises:
            UserError: a program cannot be found.
        """
        return {}

    def level(self) -> dict[str, Any]:
        """What else makes the level of theory and stands in no setting, e.g. hashes of files.

        Raises:
            UserError: a file cannot be found.
        """
        return {}

    def check(self, elements: list[str]) -> None:
        """Say before any compute what can be known to fail (imports the program).

        Raises:
            UserError: settings that the program does not know, elements it cannot do.
        """

    def other_guess(self) -> str:
        """What :attr:`Guess.OTHER` is here, in a few words; empty where it changes nothing."""
        return ""

    def compute(self, frame: Atoms, rung: str, guess: Guess = Guess.USUAL) -> Result:
        """One attempt at one canonical frame (charge and spin in ``info``).

        Args:
            frame: to be labelled.
            rung: of the retry ladder.
            guess: from what the SCF starts. An engine without an SCF, or without a choice, does
                the same for both.

        Raises:
            NotConverged: the SCF did not converge at this rung.
            Refused: the frame is not for this engine.
        """


def check_electrons(frame: Atoms) -> None:
    """Refuse a spin (N↑ − N↓) that the number of electrons does not allow.

    Electrons replaced by effective core potentials come in pairs, so the count over all of
    them decides.
    """
    charge, spin = frame.info["charge"], frame.info["spin"]
    electrons = int(frame.numbers.sum()) - charge
    if (electrons - spin) % 2 or spin > electrons:
        raise Refused(
            f"spin {spin} (N↑ − N↓) does not go with {electrons} electrons (charge {charge}): "
            "set info 'charge' and 'spin' of the structure"
        )
