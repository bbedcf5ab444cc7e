"""Why a generation found no frame worth a label, from how its walks ended and what they visited."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mace_core.config.campaign import Config
from mace_core.conventions import DISPLACEMENT, MEV, UNSTABLE_ENDS, WalkerEnd
from mace_core.select.candidates import Visited
from mace_core.select.pick import in_window

#: Å. Walks that stayed within it, root mean square over atoms, did not move: thermal vibrations
#: are larger by far, at any temperature that MD is run at.
STILL = 0.01


@dataclass(frozen=True)
class Nothing:
    """Why there are no candidates.

    Attributes:
        cause: a code, see docs/contracts.md.
        message: what happened, with numbers.
        mend: what to change; "" where nothing needs to.
    """

    cause: str
    message: str
    mend: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def no_candidates(
    config: Config,
    ends: Sequence[dict],
    visited: Sequence[Visited],
    audit: Sequence[Visited],
) -> Nothing:
    """The cause of an empty selection.

    Walks that ended before their first frame was due come first, if they are at least half of all:
    what the others visited is not the cause then. One that stopped for its uncertainty, at a new
    frame outside the window, is judged by the window.

    Args:
        config: the generation's.
        ends: walker_{w}.json of each walk.
        visited: all kept frames.
        audit: those drawn for the audit.
    """
    drawn = {id(v) for v in audit}
    usable = [v for v in visited if v.usable]
    pool = [v for v in usable if id(v) not in drawn]
    outside = {
        v.walker
        for v in pool
        if v.frame.info.get("walker_end") == WalkerEnd.UNCERTAIN and not in_window(v, config.select)
    }
    interval = config.explore.save_interval
    early = [
        end
        for end in ends
        if end["end"] != WalkerEnd.COMPLETED
        and end.get("steps_done", interval) < interval
        and end["walker"] not in outside
    ]
    if early and 2 * len(early) >= len(ends):
        return _ended_early(config, ends, early, visited)
    if not usable:
        return _nothing_new(visited, ends)
    if not pool:
        return Nothing(
            "audited",
            f"all {len(usable)} new frames are audit frames",
            "raise explore.steps, or lower explore.save_interval",
        )
    return _none_in_window(config, ends, visited, pool)


def _ended_early(
    config: Config, ends: Sequence[dict], early: Sequence[dict], visited: Sequence[Visited]
) -> Nothing:
    """Walks that ended before their first frame was due: why most of them did."""
    kinds = {
        "uncertain_at_start": [e for e in early if e["end"] == WalkerEnd.UNCERTAIN],
        "unstable_at_start": [e for e in early if e["end"] in UNSTABLE_ENDS],
        "evaporated_at_start": [e for e in early if e["end"] == WalkerEnd.EVAPORATED],
    }
    cause = max(kinds, key=lambda kind: len(kinds[kind]))
    some = kinds[cause]
    done = {end["steps_done"] for end in some}
    when = f"at step {max(done)}" if len(done) == 1 else f"at steps {min(done)}–{max(done)}"
    head = f"{_of(len(some), len(ends))} stopped {when}"
    if cause == "uncertain_at_start":
        bound = config.explore.max_force_error
        walkers = {end["walker"] for end in some}
        known = [v.uncertainty / MEV for v in visited if v.walker in walkers]
        known = [value for value in known if value > bound]
        above = max(known, default=bound)
        low = config.select.window[0]
        message = f"{head}: uncertainty {_range(known)}above explore.max_force_error {bound:g}"
        if bound <= low and config.select.strategy != "random":
            message += f", which is not above the window's lower end, {low:g}"
            above = max(above, low)
        return Nothing(
            cause,
            message,
            f"raise explore.max_force_error above {math.ceil(above)}, or give more seed frames "
            "(seed.n_frames)",
        )
    if cause == "evaporated_at_start":
        return Nothing(
            cause,
            f"{head}: molecules parted by more than model.r_max {config.model.r_max:g} Å",
            "give structures in which the molecules are nearer to each other, lower "
            "explore.temperatures, or raise model.r_max",
        )
    reasons = sorted({end["end"].replace("_", " ") for end in some})
    return Nothing(
        cause,
        f"{head}, unstable ({', '.join(reasons)}): {some[0].get('reason', 'see the walkers')}",
        "the potential is wrong near its own training frames: lower explore.max_force_error and "
        "explore.timestep, or give more seed frames (seed.n_frames)",
    )


def _nothing_new(visited: Sequence[Visited], ends: Sequence[dict]) -> Nothing:
    """No visited frame may be labelled."""
    sane = [v for v in visited if v.sane]
    if not sane:
        how = ", ".join(sorted({end["end"].replace("_", " ") for end in ends}))
        return Nothing(
            "no_frames",
            f"the walks left no sane frame (they ended: {how})",
            "see how each walk ended",
        )
    return Nothing(
        "known",
        f"all {len(sane)} sane frames that were visited are in the training set already",
        "check explore.timestep and explore.steps: walks have to leave the frames they start from",
    )


def _none_in_window(
    config: Config, ends: Sequence[dict], visited: Sequence[Visited], pool: Sequence[Visited]
) -> Nothing:
    """New frames, and none of them both in the window and unlike all labelled ones."""
    low, high = config.select.window
    n = len(pool)
    window = f"the window {low:g}–{high:g} meV/Å"
    said = f"visited: {_range([v.uncertainty / MEV for v in visited if v.sane])}".rstrip()
    furthest = max(v.frame.info.get(DISPLACEMENT, math.inf) for v in pool)
    if furthest < STILL:
        return Nothing(
            "did_not_move",
            f"the walks did not move: all {n} new frames beside the audit are within "
            f"{furthest:.2g} Å (root mean square) of where they started",
            f"raise explore.timestep ({config.explore.timestep:g} fs) or explore.steps",
        )
    inside = [v for v in pool if in_window(v, config.select)]
    if inside:
        return Nothing(
            "near_duplicates",
            f"all {len(inside)} new frames in {window} are near-duplicates of labelled ones",
            "raise explore.steps or explore.temperatures, or lower select.min_distance",
        )
    below = sum(v.uncertainty < low * MEV for v in pool)
    if below == n:
        stopped = sum(end["end"] == WalkerEnd.UNCERTAIN for end in ends)
        if stopped and config.explore.max_force_error <= low:
            return Nothing(
                "stopped_below_window",
                f"{_of(stopped, len(ends))} stopped at explore.max_force_error "
                f"{config.explore.max_force_error:g}, which is not above the window's lower end, "
                f"{low:g} meV/Å ({said})",
                f"raise explore.max_force_error above {low:g}, or lower select.window",
            )
        return Nothing(
            "below_window",
            f"all {n} new frames beside the audit are below {window} ({said})",
            f"lower select.window [{low:g}, …], or explore hotter or longer",
        )
    if below == 0:
        return Nothing(
            "above_window",
            f"all {n} new frames beside the audit are above {window} ({said})",
            f"raise the upper end of select.window above explore.max_force_error "
            f"({config.explore.max_force_error:g}), or give more seed frames (seed.n_frames)",
        )
    return Nothing(
        "outside_window",
        f"{below} of {n} new frames are below the window {low:g}–{high:g} meV/Å, the others above "
        f"it: {said}",
        "widen select.window, or lower explore.save_interval: frames between are not kept",
    )


def _of(some: int, n: int) -> str:
    if some == n:
        return "the only walk" if n == 1 else f"all {n} walks"
    return f"{some} of {n} walks"


def _range(values: Sequence[float]) -> str:
    """``9–37 meV/Å``; one number where they show alike, nothing where there is none."""
    if not values:
        return ""
    low, high = (
        f"{value:.0f}" if value >= 100 else f"{value:.2g}" for value in (min(values), max(values))
    )
    return f"{low}–{high} meV/Å " if low != high else f"{low} meV/Å "
