"""Whether a converged label is plausible by itself: what needs no model to be seen.

A record is judged by the labeller's present settings, each time it is read. So a limit that was
wrong is mended in the configuration and takes effect from the next generation on, and campaigns
with different limits can share one store.
"""

import numpy as np

from mace_core.config.labellers import LabellerBase
from mace_core.label.record import Record


def doubt(record: Record, limits: LabellerBase) -> str:
    """Why a converged record is not to be trained on, or nothing.

    Args:
        record: with energy and forces.
        limits: ``max_force`` and ``max_net_force`` (eV/Å) count.
    """
    forces = np.array(record.forces)
    return _too_large(forces, record, limits.max_force) or _unbalanced(forces, limits.max_net_force)


def _too_large(forces: np.ndarray, record: Record, limit: float) -> str:
    norms = np.linalg.norm(forces, axis=1)
    worst = int(norms.argmax())
    if norms[worst] <= limit:
        return ""
    return (
        f"force of {norms[worst]:.4g} eV/Å on atom {worst} ({record.frame().symbols[worst]}) "
        f"is above labeller.max_force ({limit:g})"
    )


def _unbalanced(forces: np.ndarray, limit: float | None) -> str:
    """No field acts from outside, so forces sum to zero, but for the engine's noise on each atom.

    Noise that is independent from atom to atom sums to something that grows as √n.
    """
    if limit is None:
        return ""
    net = np.linalg.norm(forces.sum(axis=0))
    allowed = limit * np.sqrt(len(forces))
    if net <= allowed:
        return ""
    return (
        f"forces sum to {net:.4g} eV/Å, above labeller.max_net_force × √{len(forces)} "
        f"({allowed:.3g})"
    )
