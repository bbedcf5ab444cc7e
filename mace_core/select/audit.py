"""The audit frames: a plain random draw from where the MD went."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mace_core.select.candidates import Visited


@dataclass(frozen=True)
class Audit:
    """Frames whose labels measure the potential's error on its own trajectories."""

    frames: list[Visited]
    pool: int  # frames that the draw was made from
    source: str  # "regular", "ends" or "none"
    message: str  # what is to be said about the draw, "" when nothing


def draw_audit(visited: Sequence[Visited], n: int, rng: np.random.Generator) -> Audit:
    """Draw ``n`` frames uniformly, without replacement, from all walks' regular frames.

    Regular frames are those kept every ``save_interval`` steps. The frames at which walks ended
    and the last good ones before are left out, unless they fell due anyway: they were kept for
    their uncertainty, and would make the measured error too large.

    If every walk ended before its first regular frame there is nothing unbiased to draw from.
    Then the draw is from the ends and the last good frames, and ``source`` is ``"ends"``: its
    error is that of where walks stop, most likely above the potential's error elsewhere.

    Args:
        visited: all kept frames.
        n: frames asked for; fewer when there are fewer.
        rng: source of the draw.
    """
    usable = [v for v in visited if v.usable]
    pool, source = [v for v in usable if v.regular], "regular"
    if not pool:
        pool, source = usable, "ends" if usable else "none"
    chosen = rng.choice(len(pool), size=min(n, len(pool)), replace=False) if pool else []
    frames = [pool[k] for k in sorted(chosen)]
    messages = []
    if source == "ends":
        messages.append(
            "every walk ended before its first regular frame: audit frames are drawn from where "
            "walks stopped, so their error is biased, most likely upwards"
        )
    if len(frames) < n:
        messages.append(f"{len(frames)} audit frames instead of {n}: the walks left no more")
    return Audit(frames, len(pool), source, "; ".join(messages))
