"""What a label costs by the number of its atoms: from the store, or from the one that was tried."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mace_core.config.campaign import Config
from mace_core.doctor.trial import Trial
from mace_core.label.store import LabelStore
from mace_core.label.theory import theory_id

#: Records that are read at most; a median needs no more.
_ENOUGH = 200


@dataclass(frozen=True)
class LabelCosts:
    """Seconds of a label by its number of atoms, where they are known.

    Attributes:
        known: number of atoms → median seconds.
        source: where they are from, for a reader.
    """

    known: dict[int, float]
    source: str

    def __call__(self, n_atoms: int) -> tuple[float, float]:
        """Seconds at best and at worst.

        Of a size that was not measured: from the nearest one, between linear and cubic in the
        number of atoms. A free atom may cost as much as the smallest frame (a box of plane waves).
        """
        if n_atoms in self.known:
            return self.known[n_atoms], self.known[n_atoms]
        nearest = min(self.known, key=lambda n: (abs(n - n_atoms), n))
        ratio, seconds = n_atoms / nearest, self.known[nearest]
        if ratio < 1:
            return seconds * ratio**3, seconds
        return seconds * ratio, seconds * ratio**3


def label_costs(config: Config, trial: Trial | None) -> LabelCosts | None:
    """What is known; None where nothing is."""
    stored = _stored(config)
    sizes = {n: median(seconds) for n, seconds in stored.items()}
    if any(n > 1 for n in sizes):
        count = sum(len(seconds) for seconds in stored.values())
        return LabelCosts(sizes, f"median of {count} labels of this level in the label store")
    if trial is not None:
        return LabelCosts({trial.n_atoms: trial.seconds}, "the one that was just tried")
    return None


def _stored(config: Config) -> dict[int, list[float]]:
    """Seconds of calls at this level of theory, converged or not, by number of atoms."""
    folder = Path(config.campaign.label_store) / theory_id(config.labeller)
    if not (folder / "theory.json").is_file():
        return {}
    names = sorted({path.name.split(".")[0] for path in folder.glob("*.json")} - {"theory"})
    store = LabelStore(config.campaign.label_store, config.labeller)
    seconds = defaultdict(list)
    for frame_id in names[:: max(1, len(names) // _ENOUGH)]:
        record = store.get(frame_id)
        if record is not None and record.wall_seconds > 0:
            seconds[len(record.numbers)].append(record.wall_seconds)
    return seconds
