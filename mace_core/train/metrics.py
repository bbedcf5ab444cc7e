"""Errors of a model on labelled frames."""

import math

import torch

from mace_core.train.data import Dataset, Targets
from mace_core.train.loss import Loss, Residuals

#: Errors that are reported, as :func:`absolute_errors` sums them.
ERRORS = ("energy_mae", "forces_mae", "forces_rmse", "stress_mae")

#: Batches that are tallied together.
_AT_ONCE = 64


def evaluate(model: torch.nn.Module, data: Dataset, loss: Loss) -> dict[str, float]:
    """Loss and errors of a model on a data set.

    Returns:
        ``loss``; ``energy_mae`` (eV/atom), ``forces_mae`` and ``forces_rmse`` (eV/Å, over
        components), ``stress_mae`` (eV/Å³), each over what is labelled and 0 where nothing is.
    """
    sums: dict[str, float] = {}
    numbers: dict[str, int] = {}
    tally = torch.zeros(8, dtype=torch.float64)
    for graph, targets in data.large_batches:
        out = model(graph, forces=True, stress=data.has_stress)
        residuals = Residuals.of(out, targets)
        for name, (total, number) in loss.terms(residuals, targets).items():
            sums[name] = sums.get(name, 0.0) + float(total)
            numbers[name] = numbers.get(name, 0) + number
        tally += absolute_errors(residuals, targets).cpu()
    mean = sum(loss.weights[name] * sums[name] / numbers[name] for name in sums)
    return {"loss": mean, **means(tally)}


class Tally:
    """The sums of :func:`absolute_errors` over many small batches.

    Those of a training step would cost a fiftieth of it: they are taken of many steps at once.
    """

    def __init__(self):
        self._sums: torch.Tensor | float = 0.0
        self._waiting: list[tuple[Residuals, Targets]] = []

    def add(self, residuals: Residuals, targets: Targets) -> None:
        """A batch was predicted."""
        self._waiting.append((residuals.detach(), targets))
        if len(self._waiting) == _AT_ONCE:
            self._count()

    def means(self) -> dict[str, float]:
        """Errors so far, nan before the first batch."""
        if self._waiting:
            self._count()
        return means(self._sums) if torch.is_tensor(self._sums) else dict.fromkeys(ERRORS, math.nan)

    def _count(self) -> None:
        residuals, targets = zip(*self._waiting, strict=True)
        self._waiting = []
        found = absolute_errors(Residuals.join(residuals), Targets.join(targets))
        self._sums = self._sums + found


def absolute_errors(residuals: Residuals, targets: Targets) -> torch.Tensor:
    """[8] sums over labelled terms: |ΔE/n|, |ΔF|, ΔF², |Δσ|, then the four numbers of terms."""
    energy = residuals.energy.detach(), targets.total_weight("energy") != 0
    forces = residuals.forces.detach(), (targets.total_weight("forces") != 0).expand(-1, 3)
    if residuals.stress is None:
        stress = torch.zeros_like(targets.stress), torch.zeros_like(targets.stress).bool()
    else:
        labelled = (targets.total_weight("stress") != 0).expand(-1, 3, 3)
        stress = residuals.stress.detach(), labelled
    terms = [
        (energy[0].abs(), energy[1]),
        (forces[0].abs(), forces[1]),
        (forces[0].square(), forces[1]),
        (stress[0].abs(), stress[1]),
    ]
    values = [(value * labelled).sum() for value, labelled in terms]
    return torch.stack([v.double() for v in values + [labelled.sum() for _, labelled in terms]])


def means(tally: torch.Tensor) -> dict[str, float]:
    """Errors from the sums of :func:`absolute_errors`."""
    sums, numbers = tally.view(2, 4).tolist()
    errors = {
        key: total / max(1.0, number)
        for key, total, number in zip(ERRORS, sums, numbers, strict=True)
    }
    errors["forces_rmse"] = math.sqrt(errors["forces_rmse"])
    return errors
