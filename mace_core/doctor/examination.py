"""The examination, cheapest first: settings, machine, stores, one label, a forecast."""

from collections.abc import Iterator
from pathlib import Path

from mace_core.config.campaign import Config
from mace_core.config.checks import findings
from mace_core.config.labellers import LabellerBase
from mace_core.doctor import machine, scheduler
from mace_core.doctor.frames import base_frames
from mace_core.doctor.strata import judged, strata_asked, strata_lines
from mace_core.doctor.trial import Trial, trial_label
from mace_core.errors import UserError
from mace_core.label.theory import theory_id


def examine(
    config: Config,
    *,
    cores: int | None = None,
    profile: str | Path | None = None,
    label: bool = True,
    forecast: bool = True,
) -> Iterator[str]:
    """What was found, line by line as it is found.

    Nothing is computed while anything is known to be wrong.

    Args:
        config: the campaign's; relative paths start from the working folder.
        cores: for the forecast; by default those that this process may use.
        profile: of Snakemake, to be looked at as well.
        label: compute one label with the real worker, in a temporary store.
        forecast: time training and MD for some seconds, and say what the campaign will cost.

    Raises:
        UserError: all problems at once, each with key, value and mend; or that the one label
            failed.
    """
    cores = cores or machine.cores()
    # First, because it holds however this ends.
    yield from _untested("labeller", config.labeller)
    if config.seed.md:
        yield from _untested("seed.md.labeller", config.seed.md.labeller)
    found = findings(config)
    machine.memory(config, cores, found)
    if profile is not None:
        scheduler.look_at(profile, config, found)
    if config.tracking.enabled and not any("tracking." in p for p in found.problems):
        _ask_tracking(config, found)
    strata: list[str] = []
    if not found.problems:  # structures can be read and used
        strata = strata_asked(config)
        judged(config, strata, found)
    found.raise_problems()
    yield from (f"ok    {line}" for line in found.good)
    yield f"ok    level of theory {theory_id(config.labeller)}"
    yield from strata_lines(config, strata)
    yield from (f"note  {line}" for line in found.notes)

    trial: Trial | None = None
    frames = base_frames(config)
    if label:
        trial = trial_label(config, frames)
        yield f"ok    {trial.sentence}"
    if forecast:
        from mace_core.doctor.report import forecast_lines

        yield from forecast_lines(config, frames, trial, cores)


def _untested(key: str, settings: LabellerBase) -> Iterator[str]:
    for n, line in enumerate(settings.CAVEAT):
        yield f"      {n}. {line}" if n else f"note  {key}.engine: {settings.engine}: {line}"


def _ask_tracking(config: Config, found) -> None:
    from mace_core.track.probe import probe

    try:
        said = probe(config.tracking)
    except UserError as err:
        found.problem("tracking.uri", err.where, err.what, err.mend)
    else:
        found.good.append(said)
