"""The forecast as lines: what was measured, the table, and what it assumes."""

from collections.abc import Iterator, Sequence

from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.config.checks.files import count_frames
from mace_core.doctor import forecast, machine
from mace_core.doctor.forecast import Row, Size, Steps
from mace_core.doctor.labels import LabelCosts, label_costs
from mace_core.doctor.measure import Costs, measure
from mace_core.doctor.trial import Trial
from mace_core.errors import UserError

#: Seconds that tracking and report take beside a process's start: 4.4 and 1.5 s in all for a
#: generation of the test campaign, with MLflow on sqlite (`config/test/emt.yaml`).
_ASIDE = 2.0


def forecast_lines(
    config: Config, frames: Sequence[Atoms], trial: Trial | None, cores: int
) -> Iterator[str]:
    """Measure, and forecast the campaign on ``cores`` cores."""
    labels = label_costs(config, trial)
    if labels is None:
        yield "note  no forecast: no label was tried, and the label store has none of this level"
        return
    busy = machine.busy()
    try:
        costs = measure(config, frames)
    except UserError as err:
        yield f"note  no forecast: {err.what} ({err.mend})"
        return
    if busy:
        yield f"note  {busy}"
    size = campaign_size(config, frames)
    steps = Steps(
        epoch_frame=costs.epoch_frame,
        frame=costs.frame,
        md_step=costs.md_step,
        start_training=costs.start_training,
        start=costs.start,
        start_light=costs.start_light,
        label_start=trial.start if trial else costs.start_light,
        aside=2 * costs.start + _ASIDE,
    )
    for peak, what in ((trial.peak if trial else 0.0, "a label"), (costs.peak, "training and MD")):
        note = machine.too_large(peak, cores, what)
        if note:
            yield f"note  {note}"
    best = forecast.best(config, size, labels, steps, cores)
    worst = forecast.worst(config, size, labels, steps, cores)
    yield ""
    yield from _measured(config, size, labels, costs, cores)
    yield ""
    yield from table(best, worst)
    yield ""
    yield from _ends(config, size, best, worst)
    yield ""
    yield from _budgets(config, size, labels, steps, cores)
    yield ""
    yield from _assumed()


def campaign_size(config: Config, frames: Sequence[Atoms]) -> Size:
    """How many frames of how many atoms generation 0 labels, and what comes later."""
    seed, kinds = config.seed, [len(atoms) for atoms in frames]
    first: list[int] = []
    strata = list(kinds)
    if seed.structures:
        crystals = [atoms for atoms in frames if atoms.pbc.any()] or list(frames)
        for b, atoms in enumerate(crystals):
            n_vacancies = len(range(b, seed.vacancies, len(crystals)))
            first += [len(atoms) - 1] * n_vacancies
            strata += [len(atoms) - 1] * min(n_vacancies, len(set(atoms.numbers)))
        for rule in seed.substitutions:
            hosts = [len(atoms) for atoms in crystals if rule.element in atoms.symbols]
            first += hosts
            strata += hosts
        first += kinds + [strata[k % len(strata)] for k in range(seed.n_frames)]
        first += [kinds[k % len(kinds)] for k in range(seed.md.n_frames if seed.md else 0)]
    if config.data.E0s == "isolated":
        elements = {str(symbol) for atoms in frames for symbol in atoms.symbols}
        first += [1] * len(elements | {rule.by for rule in seed.substitutions})
    frozen = config.data.frozen_test
    return Size(
        first=first,
        later=strata,
        labelled=sum(count_frames(path) for path in config.data.labelled),
        frozen=count_frames(frozen) if frozen else 0,
    )


def _measured(
    config: Config, size: Size, labels: LabelCosts, costs: Costs, cores: int
) -> Iterator[str]:
    atoms = sum(size.later) / len(size.later)
    low, high = (sum(labels(n)[k] for n in size.later) / len(size.later) for k in (0, 1))
    label = duration(low) if high < 1.05 * low else f"{duration(low)} to {duration(high)}"
    yield f"forecast on {cores} core{'s' if cores > 1 else ''}, from what was measured here:"
    yield f"  label     {label} for {atoms:.0f} atoms: {labels.source}"
    yield f"  training  {duration(costs.epoch_frame)} a frame and epoch, one member"
    yield f"  MD        {duration(costs.md_step)} a step, committee of {config.train.members}"
    yield (
        f"  process   {costs.start_training:.1f} s to start a training, {costs.start:.1f} s for "
        f"other steps; {costs.peak / 1e9:.1f} GB for training and MD"
    )


def table(best: Sequence[Row], worst: Sequence[Row]) -> Iterator[str]:
    """One line a generation, all of it summed up to there; best and worst side by side."""
    yield (f"{'':10}  {'label calls':>12}  {'trained on':>12}  {'hours':>14}  {'core-hours':>14}")
    pair = f"{'best':>6}{'worst':>8}"
    yield f"{'generation':10}  {pair[2:]}  {pair[2:]}  {pair}  {pair}"
    for row in worst:
        good = best[row.generation] if row.generation < len(best) else None
        cells = [
            (f"{good.labels}" if good else "", f"{row.labels}", 4),
            (f"{good.trained}" if good else "", f"{row.trained}", 4),
            (hours(good.hours) if good else "", hours(row.hours), 6),
            (hours(good.core_hours) if good else "", hours(row.core_hours), 6),
        ]
        line = "  ".join(f"{left:>{width}}{right:>8}" for left, right, width in cells)
        yield f"{row.generation:>10}  {line}"


def _ends(config: Config, size: Size, best: Sequence[Row], worst: Sequence[Row]) -> Iterator[str]:
    least = forecast.least_generations(config)
    if best[-1].generation >= least:
        yield (
            f"at best: converged after generation {least} with {best[-1].labels} label calls, "
            f"{hours(best[-1].hours)} h"
        )
    else:
        yield (
            f"it cannot converge: that takes {least} generations, and the limits end it after "
            f"{best[-1].generation}"
        )
    last = worst[-1]
    by_labels = last.generation < config.campaign.max_generations
    which = (
        f"stop.max_labels {config.stop.max_labels}"
        if by_labels
        else f"campaign.max_generations {config.campaign.max_generations}"
    )
    parts = ", ".join(f"{name} {hours(value)}" for name, value in last.parts.items())
    yield (
        f"at worst: ended by {which} after generation {last.generation} with {last.labels} label "
        f"calls, {hours(last.hours)} h; core-hours: {parts}"
    )


def _budgets(
    config: Config, size: Size, labels: LabelCosts, steps: Steps, cores: int
) -> Iterator[str]:
    """The worst case of some label budgets, however many generations they need."""
    most = max(config.stop.max_labels, len(size.first) + forecast.label_calls(config))
    yield f"{'label budget':>12}  {'generations':>12}  {'hours':>10}  {'core-hours':>10}"
    shown = set()
    for share in (0.25, 0.5, 1.0):
        budget = round(share * most)
        row = forecast.worst(config, size, labels, steps, cores, budget, most=budget)[-1]
        n = row.generation
        if n < 1 or n in shown:
            continue
        shown.add(n)
        yield f"{budget:>12}  {n:>12}  {hours(row.hours):>10}  {hours(row.core_hours):>10}"


def _assumed() -> Iterator[str]:
    yield "assumed: jobs of one core do not slow each other down; all labels converge at the cost"
    yield "  above (one that fails may cost labeller.time_limit a rung); the walks keep the size of"
    yield "  the structures; label budgets: every generation labels all it may. Not in it: waiting"
    yield "  in a queue, and the time that a cluster takes to start a job."


def duration(seconds: float) -> str:
    """Seconds with a unit that suits them."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs"
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def hours(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
