"""How far a frame has gone from another one of the same atoms."""

import numpy as np


def displacement(start: np.ndarray, now: np.ndarray, periodic: bool) -> float:
    """Root mean square displacement over atoms, Å, without the motion of the whole.

    The common translation is taken off, and the best rotation as well where nothing is periodic
    (Kabsch, Acta Cryst. A 1976, 32, 922).

    Args:
        start: [n_atoms, 3] positions, Å.
        now: [n_atoms, 3] positions, Å, of the same atoms and not wrapped back into the cell.
        periodic: whether the frame is periodic in any direction.
    """
    start, now = start - start.mean(axis=0), now - now.mean(axis=0)
    if not periodic:
        u, _, v = np.linalg.svd(now.T @ start)
        mirror = np.sign(np.linalg.det(u @ v))
        now = now @ (u * [1.0, 1.0, mirror]) @ v
    return float(np.sqrt(((now - start) ** 2).sum(axis=1).mean()))
