"""Whether a label and its second computation are the same answer."""

from dataclasses import dataclass

import numpy as np

from mace_core.conventions import MEV
from mace_core.label.record import Record

#: eV/atom and eV/Å (largest component) up to which two computations agree. Two SCFs that end in the
#: same state differ by what their thresholds leave, which is 10 µeV/atom at most for the rungs of
#: one ladder (conformance/tolerances.py) and a few meV/Å in forces that are not tightly converged.
#: What a committee doubts is off by 50 meV/atom or 1 eV/Å (assess/outliers.py): fifty and a hundred
#: times as much.
AGREE_ENERGY = 1e-3
AGREE_FORCES = 1e-2


@dataclass(frozen=True)
class Difference:
    """How far the second computation is from the label."""

    energy: float  # eV/atom; negative: the second one is lower
    forces: float  # eV/Å, largest component

    @property
    def agrees(self) -> bool:
        return abs(self.energy) <= AGREE_ENERGY and self.forces <= AGREE_FORCES

    def said(self) -> str:
        """E.g. ``agrees within 0.002 meV/atom, 0.11 meV/Å``."""
        energy, forces = abs(self.energy) / MEV, self.forces / MEV
        if self.agrees:
            return f"agrees within {energy:.2g} meV/atom, {forces:.2g} meV/Å"
        side = "below" if self.energy < 0 else "above"
        return f"{energy:.3g} meV/atom {side} the label, forces differ by up to {forces:.3g} meV/Å"


def difference(label: Record, again: Record) -> Difference | None:
    """Second computation minus label; None where one of them has no numbers."""
    if label.energy is None or again.energy is None:
        return None
    forces = np.subtract(again.forces, label.forces)
    return Difference(
        energy=(again.energy - label.energy) / len(label.numbers),
        forces=float(np.abs(forces).max(initial=0.0)),
    )
