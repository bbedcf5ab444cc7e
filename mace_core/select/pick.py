"""Strategies: which of the usable frames are worth a label, and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from mace_core.config.sections import Select
from mace_core.conventions import FRAME_ID, MEV
from mace_core.select.candidates import Visited
from mace_core.select.cells import sample
from mace_core.select.diversity import feature_scales, frame_features

#: Descriptors of frames, each [n_atoms, n_features].
Describe = Callable[[Sequence[Atoms]], Sequence[np.ndarray]]


@dataclass
class Picked:
    """The outcome of a strategy."""

    frames: list[tuple[Visited, str]]  # with the sentence that says why
    candidates: int  # frames that were worth a label
    duplicate_of: dict[str, str] = field(default_factory=dict)  # frame_id → frame_id


def in_window(v: Visited, settings: Select) -> bool:
    """Whether the calibrated uncertainty is one that a label can mend."""
    low, high = settings.window
    return bool(low * MEV <= v.uncertainty <= high * MEV)


def pick_random(pool: Sequence[Visited], settings: Select, rng: np.random.Generator) -> Picked:
    """The baseline: ``max_frames`` drawn uniformly, whatever their uncertainty."""
    n = min(settings.max_frames, len(pool))
    chosen = sorted(rng.choice(len(pool), size=n, replace=False)) if n else []
    why = f"drawn at random from {len(pool)} frames"
    return Picked([(pool[k], why) for k in chosen], candidates=len(pool))


def pick_uncertain(
    pool: Sequence[Visited],
    audit: Sequence[Visited],
    training: Sequence[Atoms],
    settings: Select,
    describe: Describe,
) -> Picked:
    """Frames in the window of uncertainty, far from all that has a label and from each other.

    Farthest-point sampling on element-averaged descriptors, from the training set and the audit
    frames on; each step takes the largest uncertainty × distance. Distances are in units of the
    training set's own spread, see :func:`~mace_core.select.diversity.feature_scales`.

    Args:
        pool: usable frames that are not audit frames.
        audit: audit frames: they are labelled anyway.
        training: the training set.
        settings: window, budget, least distance.
        describe: the model's descriptors.
    """
    window = [v for v in pool if in_window(v, settings)]
    if not window:
        return Picked([], candidates=0)
    known = [*training, *(v.frame for v in audit)]
    known_ids = [atoms.info[FRAME_ID] for atoms in known]
    frames = [*known, *(v.frame for v in window)]
    elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
    features = frame_features(frames, describe(frames), elements)
    n = len(training) or len(frames)
    features /= feature_scales(frames[:n], features[:n], len(elements))
    reference, rows = features[: len(known)], features[len(known) :]

    weights = np.array([v.uncertainty for v in window])
    found = sample(rows, reference, weights, settings.max_frames, settings.min_distance)
    ids = [v.frame_id for v in window]
    duplicate_of = {ids[k]: known_ids[i] for k, i in found.near_reference.items()}
    n_candidates = len(window) - len(duplicate_of)
    for k, i in found.near_pick.items():
        duplicate_of.setdefault(ids[k], ids[i])
    low, high = settings.window
    return Picked(
        [
            (
                window[pick.index],
                f"uncertainty {window[pick.index].uncertainty / MEV:.0f} meV/Å in window "
                f"{low:g}–{high:g}; largest uncertainty × distance of {pick.left} candidates, "
                f"{pick.distance:.2g} from the nearest labelled or picked frame",
            )
            for pick in found.picks
        ],
        candidates=n_candidates,
        duplicate_of=duplicate_of,
    )
