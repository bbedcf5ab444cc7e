"""Losses, by mace-torch's names.

Each is Σ_p w_p ⟨ℓ(Δ_p)⟩ over the properties p (energy per atom, force components, stress
components), the means over all frames or components of a batch. ω is the weight of a frame times
that of the property on it, 0 where a label is missing: the term then counts in the mean, but is 0.

===================  ===========================================================================
``weighted``         ω Δ², stress included where it is labelled (mace-torch's ``weighted`` has none)
``stress``           the same
``forces_only``      ω Δ² of the forces
``huber``            ω H_δ(Δ)
``universal``        H_δ(ω_p Δ), see :func:`_universal`
``l1l2energyforces`` ω |ΔE/n|, ω ‖ΔF_i‖, ω ‖Δσ‖: norms over the components of an atom, a frame
                     (mace-torch's has no stress)
===================  ===========================================================================

H_δ is Huber's function, x²/2 up to δ and δ(|x| − δ/2) beyond.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mace_core.config.sections import Train
from mace_core.train.data import Targets

#: A property's sum over a batch, and the number of its terms.
Term = tuple[Tensor, int]


@dataclass(frozen=True)
class Residuals:
    """Prediction minus label."""

    energy: Tensor  # [n_frames] eV/atom
    forces: Tensor  # [n_atoms, 3] eV/Å
    stress: Tensor | None  # [n_frames, 3, 3] eV/Å³

    @classmethod
    def of(cls, prediction, targets: Targets) -> "Residuals":
        """Residuals of a model's output for a batch."""
        energy = (prediction.energy - targets.energy) / targets.n_atoms
        stress = None if prediction.stress is None else prediction.stress - targets.stress
        return cls(energy.to(targets.n_atoms.dtype), prediction.forces - targets.forces, stress)

    @classmethod
    def join(cls, parts: Sequence["Residuals"]) -> "Residuals":
        """Those of several batches one after the other."""
        stress = None if parts[0].stress is None else torch.cat([p.stress for p in parts])
        energy, forces = (torch.cat([getattr(p, k) for p in parts]) for k in ("energy", "forces"))
        return cls(energy, forces, stress)

    def detach(self) -> "Residuals":
        """The same numbers without the graph that made them."""
        stress = None if self.stress is None else self.stress.detach()
        return Residuals(self.energy.detach(), self.forces.detach(), stress)


class Loss:
    """One loss with its weights.

    Args:
        settings: ``train`` section.
        stage_two: with the weights of stage two.
    """

    def __init__(self, settings: Train, stage_two: bool = False):
        self._terms = LOSSES[settings.loss]
        self._delta = settings.huber_delta
        prefix = "stage_two_" if stage_two else ""
        self.weights = {
            name: getattr(settings, f"{prefix}{name}_weight")
            for name in ("energy", "forces", "stress")
        }

    def __call__(self, residuals: Residuals, targets: Targets) -> Tensor:
        """The loss of a batch."""
        terms = self.terms(residuals, targets)
        return sum(self.weights[name] * total / number for name, (total, number) in terms.items())

    def terms(self, residuals: Residuals, targets: Targets) -> dict[str, Term]:
        """Sum and number of terms by property, without the properties' weights."""
        return self._terms(residuals, targets, self._delta)


def _weighted(residuals: Residuals, targets: Targets, delta: float) -> dict[str, Term]:
    return _sums(residuals, targets, torch.square)


def _forces_only(residuals: Residuals, targets: Targets, delta: float) -> dict[str, Term]:
    return {"forces": _weighted(residuals, targets, delta)["forces"]}


def _huber(residuals: Residuals, targets: Targets, delta: float) -> dict[str, Term]:
    return _sums(residuals, targets, lambda x: huber(x, delta))


def _universal(residuals: Residuals, targets: Targets, delta: float) -> dict[str, Term]:
    """mace-torch's ``UniversalLoss``: the weights of properties scale the residuals.

    δ is 0.7, 0.4 and 0.1 times as large for the forces of atoms on which the label (times its
    weight) is 100, 200, 300 eV/Å and more. The weight of a frame multiplies its terms.
    """
    w_F = targets.forces_weight
    size = torch.linalg.vector_norm(w_F * targets.forces, dim=1, keepdim=True)
    regime = torch.bucketize(size, size.new_tensor([100.0, 200.0, 300.0]), right=True)
    deltas = delta * size.new_tensor([1.0, 0.7, 0.4, 0.1])[regime]
    values = {
        "energy": targets.weight * huber(targets.energy_weight * residuals.energy, delta),
        "forces": targets.atoms_weight * huber(w_F * residuals.forces, deltas),
    }
    if residuals.stress is not None:
        stress = huber(targets.stress_weight * residuals.stress, delta)
        values["stress"] = targets.weight.view(-1, 1, 1) * stress
    return {name: (value.sum(), value.numel()) for name, value in values.items()}


def _l1l2(residuals: Residuals, targets: Targets, delta: float) -> dict[str, Term]:
    norms = torch.linalg.vector_norm(residuals.forces, dim=1, keepdim=True)
    values = {
        "energy": targets.total_weight("energy") * residuals.energy.abs(),
        "forces": targets.total_weight("forces") * norms,
    }
    if residuals.stress is not None:
        stress = torch.linalg.matrix_norm(residuals.stress)
        values["stress"] = targets.total_weight("stress").flatten() * stress
    return {name: (value.sum(), value.numel()) for name, value in values.items()}


LOSSES: dict[str, Callable[[Residuals, Targets, float], dict[str, Term]]] = {
    "weighted": _weighted,
    "stress": _weighted,
    "forces_only": _forces_only,
    "huber": _huber,
    "universal": _universal,
    "l1l2energyforces": _l1l2,
}


def huber(x: Tensor, delta: float | Tensor) -> Tensor:
    """Huber's function, element by element; ``delta`` may differ between them."""
    size = x.abs()
    return torch.where(size <= delta, 0.5 * x.square(), delta * (size - 0.5 * delta))


def _sums(
    residuals: Residuals, targets: Targets, function: Callable[[Tensor], Tensor]
) -> dict[str, Term]:
    """Σ ω f(Δ) and the number of terms, by property."""
    return {
        name: ((targets.total_weight(name) * function(residual)).sum(), residual.numel())
        for name, residual in vars(residuals).items()
        if residual is not None
    }
