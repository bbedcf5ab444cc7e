"""One walker's job: from the committee and the training set to a walk on disk."""

import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator

from mace_core.committee_file import read_committee
from mace_core.config.campaign import Config
from mace_core.conventions import FRAME_ID, MEV, WALKER
from mace_core.errors import UserError
from mace_core.explore.checks import State
from mace_core.explore.start import lowest_energy, start_frame, start_frames
from mace_core.explore.walk import Walk, group_of, walk
from mace_core.frames import read_frames, write_frames
from mace_core.progress import Progress
from mace_core.storage import derived_seed, write_json


def explore(
    config: Config,
    generation: int,
    committee: str | Path,
    train: str | Path,
    walker: int,
    out: str | Path,
    calculator: Calculator | None = None,
) -> dict:
    """Run one walker; write its frames to ``out`` and how it ended beside it as JSON.

    Args:
        config: the generation's, frozen.
        generation: its number.
        committee: committee.json.
        train: the training set that the committee learnt, extxyz.
        walker: number of the walker, from 0.
        out: extxyz file to write.
        calculator: instead of the committee's, for tests.

    Returns:
        The content of ``walker_{w}.json``.

    Raises:
        UserError: no such walker, no committee, or no frame to start from.
    """
    settings = config.explore
    if not 0 <= walker < settings.walkers:
        raise UserError(
            f"no walker {walker}: explore.walkers is {settings.walkers}", where="--walker"
        )
    temperature = settings.temperatures[walker % len(settings.temperatures)]
    group = group_of(temperature)
    training = read_frames(train)
    frames = start_frames(training, settings.min_distance_factor, max(settings.temperatures))
    start = start_frame(frames, config.campaign.seed, generation, walker)
    began = time.monotonic()
    title = f"gen {generation} · walker {walker} · {group}"
    with Progress(title, settings.steps) as progress:

        def report(state: State) -> None:
            progress.update(
                state.step,
                f"T {state.temperature:.0f} K · uncertainty {state.uncertainty / MEV:.0f} meV/Å",
            )

        result = walk(
            start,
            calculator or committee_calculator(config, committee),
            settings,
            temperature,
            np.random.default_rng(
                derived_seed(config.campaign.seed, generation, "explore", "md", walker)
            ),
            lowest_energy(training, start),
            report,
            config.model.r_max,
        )
        for frame in result.frames:
            frame.info[WALKER] = walker
        content = _summary(result, config, walker, start.info[FRAME_ID], str(out))
        content["wall_seconds"] = time.monotonic() - began
        write_frames(out, result.frames)
        write_json(Path(out).with_suffix(".json"), content)
        progress.line(f"{result.end}: {result.reason}", f"{len(result.frames)} frames kept")
    return content


def committee_calculator(config: Config, committee: str | Path) -> Calculator:
    """The committee's mean forces with its calibrated uncertainty, as an ASE calculator."""
    from mace_core.calculator import MACECalculator

    members = read_committee(committee)
    return MACECalculator(
        model_paths=members.members,
        device=config.train.device,
        default_dtype=config.train.default_dtype,
        calibration_factor=members.factor,
    )


def _summary(result: Walk, config: Config, walker: int, start: str, out: str) -> dict:
    settings = config.explore
    temperature = settings.temperatures[walker % len(settings.temperatures)]
    return {
        "walker": walker,
        "group": group_of(temperature),
        "temperature": temperature,
        "end": str(result.end),
        "reason": result.reason,
        "steps_done": result.end_step,
        "steps_asked": settings.steps,
        "time_fs": result.end_step * settings.timestep,
        "start_frame": start,
        "last_good_step": result.last_good_step,
        "end_step": result.end_step,
        "max_uncertainty": result.max_uncertainty,
        "max_displacement": result.max_displacement,
        "mean_temperature": result.mean_temperature,
        "n_frames": len(result.frames),
        "frames": out,
    }
