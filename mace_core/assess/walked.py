"""How far a generation's walks got."""

from collections.abc import Sequence
from statistics import median
from typing import Any


def walked(walkers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Steps and distances of walks, for the ``walkers`` of assess.json.

    Args:
        walkers: walker_{w}.json of each.

    Returns:
        ``steps_asked`` and ``steps_done``, sums; ``median_share``, over walks, of steps done in
        steps asked; ``max_displacement``, the median over walks, Å; ``ended_at_start``, the number
        of walks that ended at step 0. None where a walk does not say it.
    """
    asked, done, furthest = (
        [walker.get(key) for walker in walkers]
        for key in ("steps_asked", "steps_done", "max_displacement")
    )
    has_steps = bool(walkers) and None not in asked + done
    return {
        "steps_asked": sum(asked) if has_steps else None,
        "steps_done": sum(done) if has_steps else None,
        "median_share": median(d / a for d, a in zip(done, asked, strict=True))
        if has_steps
        else None,
        "max_displacement": median(furthest) if furthest and None not in furthest else None,
        "ended_at_start": done.count(0) if has_steps else None,
    }
