"""The frozen plan of a generation: its settings and sizes, fixed when it starts.

Every step of generation g reads ``gen_{g}/plan.json`` and nothing else, so that a changed
configuration applies from the next generation on. What the workflow asks while it is being parsed
(:func:`sizes`, :func:`next_action`) imports neither torch nor ASE.
"""

import json
from pathlib import Path
from typing import Any, Literal

from mace_core.assess.decide import Decision, decide
from mace_core.config.campaign import Config
from mace_core.conventions import PLAN_FORMAT, Outcome
from mace_core.errors import UserError
from mace_core.label.theory import theory_id
from mace_core.layout import Layout
from mace_core.storage import read_json, sha256_file, write_json

Action = tuple[Literal["run"], int] | tuple[Literal["stop"], int, Outcome]

#: A guess of how many isolated atoms generation 0 labels: elements that a molecule commonly has.
_USUAL_ELEMENTS = 4


def read_plan(path: str | Path) -> dict[str, Any]:
    """A generation's plan.

    Raises:
        UserError: the file is missing, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no plan: {path}", mend="`maceloop plan` writes it")
    try:
        plan = read_json(path)
        known = plan["format"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as err:
        raise UserError(f"not a plan: {err!r}", where=str(path), mend="delete the file") from None
    if known != PLAN_FORMAT:
        raise UserError(
            f"plan of format {known}, this version knows {PLAN_FORMAT}",
            where=str(path),
            mend="go on with the version of maceloop that wrote it",
        )
    return plan


def sizes(config: Config, layout: Layout, g: int) -> dict[str, int]:
    """How many members, walkers and label batches generation ``g`` has.

    From its plan when it has one, else as its plan will have them by the configuration: the
    workflow asks before the plan is made. Generation 0 trains and explores nothing.
    """
    if layout.plan(g).is_file():
        return read_plan(layout.plan(g))["sizes"]
    exam = None
    if g > 1 and config.stop.exam_length and layout.assess(g - 1).is_file():
        exam = _exam(config, layout, g, decision_after(config, layout, g - 1))
    return _configured_sizes(config, g, exam)


def _configured_sizes(config: Config, g: int, exam: dict[str, Any] | None) -> dict[str, int]:
    if g == 0:
        return {"members": 0, "walkers": 0, "label_batches": _seed_batches(config)}
    examined = len(exam["strata"]) if exam else 0
    frames = config.select.max_frames + config.select.audit_frames
    frames += examined * (exam["frames"] if exam else 0)
    return {
        "members": config.train.members,
        "walkers": config.explore.walkers + examined,
        "label_batches": -(-frames // config.label.batch_size),
    }


def _exam(config: Config, layout: Layout, g: int, decision: Decision) -> dict[str, Any] | None:
    """The final exam of generation ``g``, where the decision before it says that it may be the end.

    One walk in each stratum of the training set before: the strata that were asked for. A training
    set of an earlier version does not say them; then the next generation holds the exam.
    """
    if g < 2 or not decision.exam or not config.stop.exam_length:
        return None
    dataset = layout.dataset(g - 1) / "dataset.json"
    strata = sorted(read_json(dataset).get("strata", ())) if dataset.is_file() else []
    if not strata:
        return None
    return {
        "strata": strata,
        "steps": config.stop.exam_length * config.explore.steps,
        "frames": config.stop.exam_frames,
    }


def _seed_batches(config: Config) -> int:
    """Label jobs of generation 0, whose exact number of frames is not known before it starts."""
    seed = config.seed
    frames = len(seed.structures) + seed.n_frames + seed.vacancies + len(seed.substitutions)
    frames += seed.md.n_frames if seed.md else 0
    frames += _USUAL_ELEMENTS if config.data.E0s == "isolated" else 0
    return max(1, -(-frames // config.label.batch_size))


def next_action(config: Config, layout: Layout) -> Action:
    """What a campaign does next: ``("run", g)`` or ``("stop", g, outcome)``.

    The last assessed generation is decided again with the present configuration, so that raised
    limits, a lower target or new labelled data let a finished campaign go on. A generation that
    has its plan is finished in any case: its settings were fixed when it started.

    Raises:
        UserError: the level of theory is not that of the campaign's labels.
    """
    assessed = layout.assessed_generations()
    g = len(assessed)
    if g and not layout.plan(g).is_file():
        decision = decision_after(config, layout, g - 1)
        if decision.outcome is not Outcome.CONTINUE:
            return "stop", g - 1, decision.outcome
        check_theory(config, layout, g)
    return "run", g


def decision_after(config: Config, layout: Layout, g: int) -> Decision:
    """The decision after generation ``g`` with the configuration as it is now."""
    history = [read_json(layout.assess(h)) for h in range(g + 1)]
    return decide(history, config, new_labelled(config, layout, g))


def labelled_files(config: Config) -> list[dict[str, str]]:
    """``data.labelled`` with the hashes of its files.

    Raises:
        UserError: a file is missing.
    """
    for path in config.data.labelled:
        if not Path(path).is_file():
            raise UserError(f"data.labelled: {path!r}: no such file", mend="check the path")
    return [{"path": path, "sha256": sha256_file(path)} for path in config.data.labelled]


def new_labelled(config: Config, layout: Layout, g: int) -> list[str]:
    """Files in ``data.labelled`` whose content generation ``g`` did not have."""
    known = {row["sha256"] for row in read_plan(layout.plan(g))["labelled"]}
    return [row["path"] for row in labelled_files(config) if row["sha256"] not in known]


def check_theory(config: Config, layout: Layout, g: int) -> None:
    """Labels at two levels of theory are never trained on together.

    Raises:
        UserError: the configured level is not the one of the generations before ``g``.
    """
    present = theory_id(config.labeller)
    for h in range(g):
        used = read_plan(layout.plan(h))["theory"]
        if used != present:
            raise UserError(
                f"labeller: this level of theory ({present}) is not that of the campaign's labels "
                f"({used}): a setting of the labeller, or the installed version of its engine, has "
                "changed",
                where=str(layout.plan(h)),
                mend="go back to the former setting or version, or start a campaign of another "
                "name (campaign.name); labels at either level stay in the label store",
            )


def write_plan(config: Config, g: int, out: str | Path) -> tuple[dict[str, Any], bool]:
    """Freeze generation ``g``: write its plan, unless it has one.

    Args:
        config: the campaign's, as it is now.
        g: the generation that starts.
        out: plan.json.

    Returns:
        The plan, and whether this call made it.

    Raises:
        UserError: the generation before is not assessed, or does not go on.
    """
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    plan = _existing(config, g, out)
    if plan is not None:
        return plan, False
    previous: dict[str, Any] = {}
    exam = None
    if g:
        if g - 1 not in layout.assessed_generations():
            raise UserError(
                f"generation {g} cannot start: generation {g - 1} is not assessed",
                where=str(layout.assess(g - 1)),
                mend="run the generations before it first",
            )
        decision = decision_after(config, layout, g - 1)
        if decision.outcome is not Outcome.CONTINUE:
            raise UserError(
                f"generation {g} does not start: {decision.reason}",
                where=str(layout.assess(g - 1)),
                mend="to go on, raise campaign.max_generations or stop.max_labels, lower "
                "stop.target_force_mae, or add data.labelled",
            )
        check_theory(config, layout, g)
        previous = read_json(layout.assess(g - 1))
        exam = _exam(config, layout, g, decision)
    plan = {
        "format": PLAN_FORMAT,
        "campaign": config.campaign.name,
        "generation": g,
        "config": config.model_dump(mode="json"),
        "sizes": _configured_sizes(config, g, exam),
        "exam": exam,
        "theory": theory_id(config.labeller),
        "labelled": labelled_files(config),
        "calibration": previous.get("calibration") if g > 1 else None,
        "warm_start": _warm_start(config, layout, g),
        "labels_spent": previous["labels"]["total_calls"] if g else 0,
    }
    write_json(out, plan)
    return plan, True


def _existing(config: Config, g: int, out: str | Path) -> dict[str, Any] | None:
    """The plan that ``out`` holds already, if it is this generation's."""
    if not Path(out).is_file():
        return None
    plan = read_plan(out)
    same = plan.get("generation") == g and plan.get("campaign") == config.campaign.name
    if not same:
        raise UserError(
            f"this is the plan of generation {plan.get('generation')} of {plan.get('campaign')!r}, "
            f"not of generation {g} of {config.campaign.name!r}",
            where=str(out),
            mend="give another --out",
        )
    return plan


def _warm_start(config: Config, layout: Layout, g: int) -> list[str] | None:
    """The previous generation's members: fewer than this one's where the committee has grown."""
    if g < 2 or not config.train.warm_start:
        return None
    before = read_plan(layout.plan(g - 1))
    if before["config"]["model"] != config.model_dump(mode="json")["model"]:
        return None
    n = min(before["sizes"]["members"], config.train.members)
    return [str(layout.member(g - 1, m)) for m in range(n)]
