"""Which walker starts in which stratum, and from which of its frames."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from mace_core.storage import derived_seed

Frame = TypeVar("Frame")


def dealt_stratum(
    walker: int, n_walkers: int, n_temperatures: int, strata: Sequence[str], generation: int
) -> str:
    """The stratum in which a walker starts.

    Walker w has temperature number w mod n_temperatures. Each temperature's walkers go on through
    the strata where those of the generation before stopped, each temperature one stratum further:
    strata and temperatures are crossed, and where there are more strata than walkers they take
    turns. In as many generations as there are strata, every pair of stratum and temperature is
    visited as often as that temperature has walkers.

    Args:
        walker: its number, from 0.
        n_walkers: of the generation, without the final exam's.
        n_temperatures: in ``explore.temperatures``.
        strata: names of those that have a frame to start from, sorted.
        generation: its number, from 1.
    """
    place, temperature = divmod(walker, n_temperatures)
    at_this_temperature = len(range(temperature, n_walkers, n_temperatures))
    turn = place + temperature + (generation - 1) * at_this_temperature
    return strata[turn % len(strata)]


def dealt_frame(
    frames: Sequence[Frame], strata: Sequence[str], walker: int, campaign_seed: int, generation: int
) -> Frame:
    """The frame of one walker among those of its stratum.

    Walkers of one stratum start from different frames as long as there are enough; the order is a
    random one that all walkers of a generation share.

    Args:
        frames: that a walk in this walker's stratum can start from.
        strata: of all walkers up to this one, in their order.
        walker: its number.
        campaign_seed: of the draw.
        generation: its number.
    """
    before = strata[:walker].count(strata[walker])
    rng = np.random.default_rng(derived_seed(campaign_seed, generation, "explore", "start"))
    return frames[rng.permutation(len(frames))[before % len(frames)]]


def dealt_strata(
    starts: Mapping[str, Sequence[Frame]],
    n_walkers: int,
    n_temperatures: int,
    exam: Sequence[str],
    generation: int,
) -> list[str]:
    """The stratum of every walker: the generation's own, then those of the final exam.

    Args:
        starts: frames to start from, by stratum.
        n_walkers: as in :func:`dealt_stratum`.
        n_temperatures: as in :func:`dealt_stratum`.
        exam: strata of the final exam, one walker each.
        generation: its number.
    """
    strata = sorted(starts)
    return [
        dealt_stratum(w, n_walkers, n_temperatures, strata, generation) for w in range(n_walkers)
    ] + list(exam)
