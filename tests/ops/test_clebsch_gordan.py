from itertools import permutations

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st
from mace_tools import TOLERANCE, orthogonal, wigner

from mace_core.ops.clebsch_gordan import clebsch_gordan

TRIPLES = [
    (a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), min(a + b, 4) + 1)
]


@given(st.sampled_from(TRIPLES), st.integers(0, 2**32 - 1))
def test_invariant_under_rotations(triple, seed):
    Q = orthogonal(seed, improper=False)
    D = [wigner(l, Q).numpy() for l in triple]
    C = clebsch_gordan(*triple)
    np.testing.assert_allclose(
        np.einsum("ai,bj,ck,ijk->abc", *D, C), C, atol=1e2 * TOLERANCE["exact"]
    )


@pytest.mark.parametrize("triple", TRIPLES)
def test_equals_e3nn_up_to_sign(triple):
    ours, theirs = clebsch_gordan(*triple), o3.wigner_3j(*triple, dtype=torch.float64).numpy()
    sign = np.sign((ours * theirs).sum())
    np.testing.assert_allclose(ours, sign * theirs, atol=TOLERANCE["exact"])


@pytest.mark.parametrize("triple", TRIPLES)
def test_sign_is_fixed(triple):
    C = clebsch_gordan(*triple)
    if sum(triple) % 2 == 0:
        assert C[triple] > 0  # (0, 0, 0) stands in the middle of each axis
    elif list(triple) == sorted(triple):
        assert C[C != 0][0] > 0
    for order in permutations(range(3)):
        parity = np.linalg.det(np.eye(3)[list(order)])
        exchanged = clebsch_gordan(*(triple[k] for k in order))
        # With two equal degrees an odd exchange of an odd tensor is the same tensor negated.
        sign = parity if sum(triple) % 2 else 1.0
        np.testing.assert_allclose(exchanged, sign * C.transpose(order), atol=TOLERANCE["exact"])


@pytest.mark.skipif(
    tuple(map(int, __import__("e3nn").__version__.split(".")[:2])) < (0, 5),
    reason="e3nn changed these signs in 0.5",
)
def test_signs_are_those_of_mace_torch_files():
    """mace-torch pins e3nn 0.4.4; later versions flip these, and no other ones up to l = 4."""
    flipped = {t for t in TRIPLES if sorted(t) in ([1, 2, 2], [1, 3, 3], [1, 4, 4])}
    for triple in TRIPLES:
        theirs = o3.wigner_3j(*triple, dtype=torch.float64).numpy()
        same = np.allclose(clebsch_gordan(*triple), theirs, atol=1e-10)
        assert same == (triple not in flipped), triple


def test_refuses_what_does_not_couple():
    with pytest.raises(ValueError, match="do not couple"):
        clebsch_gordan(0, 1, 2)
