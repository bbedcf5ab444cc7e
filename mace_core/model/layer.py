"""The sizes that the blocks of one message-passing layer share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Which features a layer takes, makes on the way, and gives.

    Attributes:
        lmax_in: largest l of the features h it takes.
        max_ell: largest l of Y and of A.
        lmax_out: largest l of the features it gives.
        channels: C, of each irrep.
        n_elements: Z.
    """

    lmax_in: int
    max_ell: int
    lmax_out: int
    channels: int
    n_elements: int
