"""The loss: weighted squared errors of energies per atom, forces and stresses."""

from dataclasses import dataclass

from torch import Tensor

from mace_core.config.sections import Train
from mace_core.train.data import Targets


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


def squared_errors(residuals: Residuals, targets: Targets) -> list[tuple[Tensor, int]]:
    """Weighted sums of squares of energy, forces and stress, each with the number of its terms.

    Missing labels have weight zero but count as terms.
    """
    terms = [
        (targets.energy_weight * residuals.energy.square(), residuals.energy.numel()),
        (targets.forces_weight * residuals.forces.square(), residuals.forces.numel()),
    ]
    if residuals.stress is not None:
        terms.append((targets.stress_weight * residuals.stress.square(), residuals.stress.numel()))
    return [(squares.sum(), number) for squares, number in terms]


def weighted_loss(residuals: Residuals, targets: Targets, settings: Train) -> Tensor:
    """mace-torch's ``WeightedEnergyForcesStressLoss`` of a batch.

    w_E mean_f(ω_f (ΔE_f/n_f)²) + w_F mean_iα(ω_f ΔF_iα²) + w_σ mean_fαβ(ω_f Δσ_fαβ²), the means
    over all frames and components of the batch, ω the weights of frames and properties.
    """
    weights = (settings.energy_weight, settings.forces_weight, settings.stress_weight)
    errors = squared_errors(residuals, targets)
    return sum(w * total / number for w, (total, number) in zip(weights, errors, strict=False))
