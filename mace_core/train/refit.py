"""Constants of the energy in closed form, after the weights are trained.

The loss is quadratic in the shift and in the E0s, but they are no parameters, and with a large
forces weight the readouts learn a constant last: without this, energies stay off by a constant for
hundreds of epochs while the forces are right long before.
"""

from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from mace_core.train.data import Dataset

#: Ridges that are tried, relative to the largest squared singular value.
_RIDGES = [0.0, *np.logspace(-6, 1, 15)]
#: Standard errors by which the leave-one-out error must fall for E0s to change.
_SURE = 2.0
#: Spreads of composition below this are rounding.
_RANK = 1e-8


def refit(model: torch.nn.Module, data: Dataset, which: str) -> dict[str, Any]:
    """Fit the model's shift, or shift and E0s, to the training energies, head by head.

    A model without scale and shift (``model: MACE``) takes the shift into its E0s.

    Args:
        model: a MACE, changed in place.
        data: its training set.
        which: ``shift``, ``E0s`` or ``none``.

    Returns:
        what was added, by head: ``shift`` (eV/atom) and ``E0s`` (eV by element).
    """
    if which == "none":
        return {}
    residual, weight, head = _residuals(model, data)
    fractions = np.array(
        [
            [np.count_nonzero(atoms.numbers == z) / len(atoms) for z in model.elements]
            for atoms in data.frames
        ]
    )
    if which == "shift":
        fractions = np.zeros_like(fractions)
    added = {}
    for index, name in enumerate(model.heads):
        mine = (head == index) & (weight != 0)
        if not mine.any():
            continue
        shift, E0s = constants(fractions[mine], residual[mine], weight[mine])
        with torch.no_grad():
            if model.architecture.model == "MACE":
                model.E0[index] += torch.from_numpy(E0s + shift).to(model.E0)
            else:
                model.E0[index] += torch.from_numpy(E0s).to(model.E0)
                model.scale_shift.shift[index] += shift
        of_element = zip(model.elements, E0s.tolist(), strict=True)
        changes = {chemical_symbols[z]: eV for z, eV in of_element if eV}
        added[name] = {"shift": shift, "E0s": changes}
    return added


def constants(
    fractions: np.ndarray, residual: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """The shift s and the changes d of E0s that explain energies per atom best.

    Weighted ridge regression, Σ_f ω_f (r_f − s − Σ_z x_fz d_z)² + λ Σ_z d_z² → min, with λ from
    the least leave-one-out error (in closed form: Hastie, Tibshirani, Friedman, The Elements of
    Statistical Learning, eq. 7.64); d stays 0 unless that error is surely below the one of the
    shift alone. Where compositions leave a direction of d open, it stays 0 too: with one formula
    in the data only the shift changes, to its optimum Σ ω r / Σ ω.

    Args:
        fractions: [n_frames, n_elements] x, shares of the elements in a frame's atoms.
        residual: [n_frames] r, label minus prediction, eV/atom.
        weight: [n_frames] ω ≥ 0, not all 0.

    Returns:
        s (eV/atom) and d [n_elements] (eV).
    """
    share = weight / weight.sum()
    centre, mean = share @ fractions, share @ residual
    root = np.sqrt(share)
    x, y = root[:, None] * (fractions - centre), root * (residual - mean)
    U, S, Vt = np.linalg.svd(x, full_matrices=False)
    kept = S > _RANK
    U, S, Vt = U[:, kept], S[kept], Vt[kept]
    without = (y / np.maximum(1 - share, _RANK)) ** 2
    best, d = without, np.zeros(fractions.shape[1])
    for ridge in _RIDGES if len(S) else []:
        shrink = S**2 / (S**2 + ridge * S[0] ** 2)
        leverage = share + (U**2) @ shrink
        if leverage.max() > 1 - _RANK:  # a frame that alone determines a constant
            continue
        left_out = ((y - U @ (shrink * (U.T @ y))) / (1 - leverage)) ** 2
        if left_out.sum() < best.sum():
            best, d = left_out, Vt.T @ (shrink / S * (U.T @ y)) * fractions.any(axis=0)
    gain = without - best
    if gain.sum() <= _SURE * gain.std() * np.sqrt(len(gain)):
        d = np.zeros_like(d)
    return float(mean - centre @ d), d


def _residuals(model: torch.nn.Module, data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label minus prediction (eV/atom) of every frame, what it weighs, and its head."""
    residuals, weights, heads = [], [], []
    with torch.no_grad():
        for graph, targets in data.large_batches:
            energy = model(graph, forces=False).energy
            residuals.append((targets.energy - energy) / targets.n_atoms)
            weights.append(targets.total_weight("energy"))
            named = torch.full_like(targets.n_atoms, -1) if graph.head is None else graph.head
            heads.append(torch.where(named < 0, model.default_head or 0, named))
    return tuple(torch.cat(parts).double().cpu().numpy() for parts in (residuals, weights, heads))
