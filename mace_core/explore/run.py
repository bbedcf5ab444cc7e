"""One walker's job: from the committee and the training set to a walk on disk."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator

from mace_core.committee_file import read_committee
from mace_core.config.campaign import Config
from mace_core.config.sections import Explore
from mace_core.conventions import EXAM, FRAME_ID, MEV, STRATUM, WALKER, WalkerEnd
from mace_core.errors import UserError
from mace_core.explore.checks import State
from mace_core.explore.deal import dealt_frame, dealt_strata
from mace_core.explore.start import lowest_energy, start_frames
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
    exam: dict[str, Any] | None = None,
    valid: str | Path | None = None,
) -> dict:
    """Run one walker; write its frames to ``out`` and how it ended beside it as JSON.

    The walkers after the configured ones are those of the final exam, one in each of its strata:
    longer, and at the highest temperature. One whose stratum has no frame to start from writes no
    frames, and ends as ``not_started``.

    Args:
        config: the generation's, frozen.
        generation: its number.
        committee: committee.json.
        train: the training set that the committee learnt, extxyz.
        walker: number of the walker, from 0.
        out: extxyz file to write.
        calculator: instead of the committee's, for tests.
        exam: the plan's ``exam``; None where the generation holds none.
        valid: the frames held out of training, extxyz: to start from in strata without others.

    Returns:
        The content of ``walker_{w}.json``.

    Raises:
        UserError: no such walker, no committee, or no frame to start from.
    """
    settings, temperatures = config.explore, config.explore.temperatures
    examined = exam["strata"] if exam else []
    if not 0 <= walker < settings.walkers + len(examined):
        raise UserError(
            f"no walker {walker}: explore.walkers is {settings.walkers}"
            + (f", and the final exam has {len(examined)}" if examined else ""),
            where="--walker",
        )
    in_exam = walker >= settings.walkers
    temperature = max(temperatures) if in_exam else temperatures[walker % len(temperatures)]
    if exam and in_exam:
        settings = settings.model_copy(update={"steps": exam["steps"]})
    training = read_frames(train)
    held_out = [] if valid is None else read_frames(valid)
    starts = start_frames(
        training, settings.min_distance_factor, max(temperatures), held_out, config.model.r_max
    )
    strata = dealt_strata(starts, settings.walkers, len(temperatures), examined, generation)
    stratum = strata[walker]
    about = {
        "walker": walker,
        "group": group_of(temperature),
        "temperature": temperature,
        "stratum": stratum,
        "exam": in_exam,
    }
    title = f"gen {generation} · walker {walker} · {group_of(temperature)}"
    title += f" · {stratum}" if len({*starts, *strata}) > 1 else ""
    title += " · final exam" if in_exam else ""
    began = time.monotonic()
    with Progress(title, settings.steps) as progress:
        if stratum not in starts:
            content = about | _not_started(stratum, settings, str(out))
            write_frames(out, [])
            write_json(Path(out).with_suffix(".json"), content)
            progress.line(f"{content['end']}: {content['reason']}")
            return content
        start = dealt_frame(starts[stratum], strata, walker, config.campaign.seed, generation)

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
            frame.info |= {WALKER: walker, STRATUM: stratum}
            if in_exam:
                frame.info[EXAM] = True
        content = about | _summary(result, settings, start.info[FRAME_ID], str(out))
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


def _summary(result: Walk, settings: Explore, start: str, out: str) -> dict:
    return {
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


def _not_started(stratum: str, settings: Explore, out: str) -> dict:
    return {
        "end": str(WalkerEnd.NOT_STARTED),
        "reason": f"no labelled frame of {stratum} to start from",
        "steps_done": 0,
        "steps_asked": settings.steps,
        "time_fs": 0.0,
        "start_frame": None,
        "last_good_step": -1,
        "end_step": 0,
        "max_uncertainty": None,
        "mean_temperature": None,
        "n_frames": 0,
        "frames": out,
        "wall_seconds": 0.0,
    }
