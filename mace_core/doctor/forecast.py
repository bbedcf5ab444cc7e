"""The arithmetic of a forecast: measured costs of single steps, and what the stop rule allows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mace_core.assess.decide import label_calls
from mace_core.config.campaign import Config

#: Seconds of a label of n atoms: at best, at worst.
LabelCost = Callable[[int], tuple[float, float]]

#: Light steps between the heavy ones: plan and merge start no torch, the others do.
_LIGHT_STEPS, _TORCH_STEPS = 2, 1


@dataclass(frozen=True)
class Steps:
    """Seconds of wall time on one core of the steps of a campaign.

    Attributes: as :class:`mace_core.doctor.measure.Costs`, and

        label_start: of a label job, before its first frame.
        aside: tracking and report of a generation, beside the next one.
    """

    epoch_frame: float
    frame: float
    md_step: float
    start_training: float
    start: float
    start_light: float
    label_start: float
    aside: float


@dataclass(frozen=True)
class Size:
    """What is labelled and trained on before any model.

    Attributes:
        first: atoms of each frame of generation 0, free atoms (1) included.
        later: atoms of the frames that walkers bring, one of each stratum.
        labelled: labelled frames that the user has.
        frozen: frames of the frozen test set.
    """

    first: Sequence[int]
    later: Sequence[int]
    labelled: int = 0
    frozen: int = 0

    @property
    def first_trained(self) -> int:
        return sum(n > 1 for n in self.first) or len(self.first)


@dataclass(frozen=True)
class Row:
    """A campaign up to a generation, all of it summed up to there.

    ``hours`` on the cores asked for; ``parts``: core-hours of labels, training, MD and all else.
    """

    generation: int
    labels: int
    trained: int
    hours: float
    parts: dict[str, float]

    @property
    def core_hours(self) -> float:
        return sum(self.parts.values())


def least_generations(config: Config) -> int:
    """Generations that train before a campaign can be converged at all.

    The final exam is held in the last of them, and called for by the one before it.
    """
    stop = config.stop
    by_audit = -(-stop.min_audit_frames // config.select.audit_frames)
    return max(2 if stop.exam_length else 1, stop.streak, by_audit)


def most_generations(
    config: Config,
    size: Size,
    budget: int | None = None,
    most: int | None = None,
    examined: bool = False,
) -> int:
    """Generations that train until generations or labels are spent, every one of them full.

    Args:
        config: limits.
        size: labels of generation 0, and strata.
        budget: label calls; ``stop.max_labels`` by default.
        most: generations; ``campaign.max_generations`` by default.
        examined: the final exam is held, and not passed, in each that may hold it.
    """
    budget = config.stop.max_labels if budget is None else budget
    most = config.campaign.max_generations if most is None else most
    spent, n = len(size.first), 0
    while n < most:
        spent += label_calls(config)
        if examined and n + 1 >= first_exam(config):
            spent += exam_labels(config, size)
        if spent > budget:
            break
        n += 1
    return n


def first_exam(config: Config) -> int:
    """The first generation that may hold the final exam (:mod:`mace_core.assess.exam`)."""
    return max(2, config.stop.streak)


def exam_labels(config: Config, size: Size) -> int:
    """Labels of a final exam."""
    return config.stop.exam_frames * len(size.later) if config.stop.exam_length else 0


def best(config: Config, size: Size, cost: LabelCost, steps: Steps, cores: int) -> list[Row]:
    """The cheapest campaign that converges: as early as it can, with audit frames only.

    Its last generation holds the final exam, where there is one. Trainings stop as early as
    ``train.patience`` allows, where it is set.
    """
    train = config.train
    epochs = train.max_num_epochs
    if train.patience is not None:
        epochs = min(epochs, train.patience * train.eval_interval)
    if train.stage_two_epoch is not None:  # the second stage follows in any case
        epochs += train.max_num_epochs - train.stage_two_epoch
    n = min(least_generations(config), most_generations(config, size))
    labels = config.select.audit_frames
    return _run(config, size, lambda k: cost(k)[0], steps, cores, n, labels, epochs, n)


def worst(
    config: Config,
    size: Size,
    cost: LabelCost,
    steps: Steps,
    cores: int,
    budget: int | None = None,
    most: int | None = None,
) -> list[Row]:
    """The dearest one: every generation labels all it may, trains and walks to the end.

    Either no generation is good enough for the final exam, or each that may hold it does, and does
    not pass: whichever takes more core-hours.

    Args:
        config: of the campaign.
        size: of generation 0 and the strata.
        cost: of labels.
        steps: of everything else.
        cores: that work at once.
        budget: label calls; ``stop.max_labels`` by default.
        most: generations; ``campaign.max_generations`` by default.
    """

    def campaign(examined: bool) -> list[Row]:
        n = most_generations(config, size, budget, most, examined)
        since = first_exam(config) if examined else n + 1
        epochs = config.train.max_num_epochs
        labels = label_calls(config)
        return _run(config, size, lambda k: cost(k)[1], steps, cores, n, labels, epochs, since)

    cases = [campaign(examined) for examined in {False, bool(config.stop.exam_length)}]
    return max(cases, key=lambda rows: (rows[-1].core_hours, rows[-1].labels))


def _run(config, size, label, steps, cores, n_generations, labels, epochs, since) -> list[Row]:
    """``since``: the generation from which on each holds a final exam, where there is one."""
    parts = dict.fromkeys(("labels", "training", "MD", "other"), 0.0)
    wall = 0.0
    known = trained = 0
    rows = []
    per_label = sum(label(n) for n in size.later) / len(size.later)
    held = config.data.valid_fraction
    for g in range(n_generations + 1):
        stages: list[tuple[str, list[float]]] = []
        if g == 0:
            jobs = _label_jobs([label(n) for n in size.first], _first_batches(config, size), steps)
            stages = [("other", [steps.start_light]), ("other", [steps.start]), ("labels", jobs)]
            stages.append(("other", [_LIGHT_STEPS * steps.start_light]))
            spent = len(size.first)
            brought = size.labelled + size.first_trained
        else:
            trained = max(1, round(known * (1 - held)))
            valid = known - trained
            training = (
                steps.start_training
                + known * steps.frame
                + epochs
                * steps.epoch_frame
                * ((trained + valid / 3 / config.train.eval_interval) * _replay(config, trained))
            )
            walked = [config.explore.steps] * config.explore.walkers
            asked = labels
            if g >= since and config.stop.exam_length:
                walked += [config.stop.exam_length * config.explore.steps] * len(size.later)
                asked += exam_labels(config, size)
            walks = [steps.start + n * steps.md_step for n in walked]
            jobs = _label_jobs([per_label] * asked, config.n_label_batches, steps)
            visited = sum(n // config.explore.save_interval for n in walked)
            looked_at = trained + visited  # by the first member only
            stages = [
                ("other", [steps.start_light]),
                ("other", [steps.start + known * steps.frame]),
                ("training", [training] * config.train.members),
                ("other", [steps.start + (valid * steps.md_step if g == 1 else 0.0)]),
                ("MD", walks),
                ("other", [steps.start + looked_at * steps.md_step]),
                ("labels", jobs),
                ("other", [steps.start_light]),
                ("other", [steps.start + (asked + size.frozen) * steps.md_step]),
            ]
            spent += asked
            brought = asked
        for part, durations in stages:
            wall += makespan(durations, cores)
            parts[part] += sum(durations)
        parts["other"] += steps.aside
        known += brought
        # Tracking and report run beside the next generation, where there is a core for them.
        beside = wall + steps.aside
        if cores == 1:
            wall = beside
        hours = {part: seconds / 3600 for part, seconds in parts.items()}
        rows.append(Row(g, spent, trained, (wall if cores == 1 else beside) / 3600, hours))
    return rows


def _replay(config: Config, trained: int) -> float:
    """How much longer an epoch is for the replay frames in it."""
    if config.train.pt_train_file is None:
        return 1.0
    return 1 + (config.train.num_samples_pt or trained) / trained


def _label_jobs(seconds: Sequence[float], n_jobs: int, steps: Steps) -> list[float]:
    """What each batch takes: every n-th frame of the list."""
    return [
        steps.start_light + (steps.label_start + sum(batch) if (batch := seconds[b::n_jobs]) else 0)
        for b in range(n_jobs)
    ]


def _first_batches(config: Config, size: Size) -> int:
    return max(1, math.ceil(len(size.first) / config.label.batch_size))


def makespan(durations: Sequence[float], cores: int) -> float:
    """Wall time of independent jobs, each given to the core that is free first."""
    ends = [0.0] * max(1, min(cores, len(durations)))
    for seconds in durations:
        k = ends.index(min(ends))
        ends[k] += seconds
    return max(ends)
