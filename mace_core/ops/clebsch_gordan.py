"""Real Clebsch–Gordan coefficients, fixed once and for all.

The order and axes of the real components are e3nn's (l = 1 is x, y, z). The overall sign of each
tensor is a convention, and e3nn changed it between 0.4 and 0.5 for some l. Weights multiply
these tensors, so the sign is fixed here and does not follow the installed e3nn. It is the sign of
e3nn 0.4.4, with which mace-torch's model files are written:

* l1 + l2 + l3 even: the component (0, 0, 0) is positive, and the tensor is symmetric under
  exchange of its factors;
* l1 + l2 + l3 odd: for l1 ≤ l2 ≤ l3 the first component that is not zero is positive, and
  exchange of two factors changes the sign.
"""

import functools
from math import factorial, sqrt

import numpy as np


@functools.cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """The invariant tensor of three irreps of SO(3).

    C[a, b, c] = Σ D1[a, a'] D2[b, b'] D3[c, c'] C[a', b', c'] for each rotation, with Σ C² = 1.

    Args:
        l1: degree of the first irrep.
        l2: degree of the second.
        l3: degree of the third, |l1 − l2| ≤ l3 ≤ l1 + l2.

    Returns:
        [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], read-only.

    Raises:
        ValueError: the degrees do not satisfy the triangle rule.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"l = {l1}, {l2}, {l3} do not couple")
    order = np.argsort((l1, l2, l3), kind="stable")
    tensor = _sorted_tensor(*np.array((l1, l2, l3))[order].tolist())
    tensor = tensor.transpose(np.argsort(order))
    if (l1 + l2 + l3) % 2 and np.linalg.det(np.eye(3)[order]) < 0:
        tensor = -tensor
    tensor = np.ascontiguousarray(tensor)
    tensor.flags.writeable = False
    return tensor


def _sorted_tensor(l1: int, l2: int, l3: int) -> np.ndarray:
    """The tensor for l1 ≤ l2 ≤ l3, from complex coefficients by a change of basis."""
    complex_cg = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= l3:
                complex_cg[l1 + m1, l2 + m2, l3 + m1 + m2] = _racah(l1, m1, l2, m2, l3)
    tensor = np.einsum(
        "ma,nb,pc,mnp->abc",
        _complex_from_real(l1),
        _complex_from_real(l2),
        _complex_from_real(l3).conj(),
        complex_cg,
    )
    # The factors i^l of the basis make the tensor real, up to rounding.
    tensor = tensor.real / np.linalg.norm(tensor.real)
    tensor[np.abs(tensor) < 1e-14] = 0.0
    nonzero = tensor[tensor != 0]
    sign = nonzero[0] if (l1 + l2 + l3) % 2 else tensor[l1, l2, l3]
    return tensor * np.sign(sign)


def _complex_from_real(l: int) -> np.ndarray:
    """Q with |l m⟩ complex = Σ_a Q[m, a] |l a⟩ real, times (−i)^l; Condon–Shortley phase."""
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    q[l, l] = 1.0
    for m in range(1, l + 1):
        q[l - m, l + m] = 1 / sqrt(2)
        q[l - m, l - m] = -1j / sqrt(2)
        q[l + m, l + m] = (-1) ** m / sqrt(2)
        q[l + m, l - m] = 1j * (-1) ** m / sqrt(2)
    return (-1j) ** l * q


def _racah(l1: int, m1: int, l2: int, m2: int, l3: int) -> float:
    """⟨l1 m1 l2 m2 | l3 m1+m2⟩ by Racah's formula (Varshalovich et al. 1988, §8.2.1, eq. 3)."""
    f, m3 = factorial, m1 + m2
    triangle = f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) / f(l1 + l2 + l3 + 1)
    ms = f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3)
    total = 0.0
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        total += (-1) ** k / (
            f(k)
            * f(l1 + l2 - l3 - k)
            * f(l1 - m1 - k)
            * f(l2 + m2 - k)
            * f(l3 - l2 + m1 + k)
            * f(l3 - l1 - m2 + k)
        )
    return sqrt((2 * l3 + 1) * triangle * ms) * total
