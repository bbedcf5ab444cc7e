"""Labels that the committee doubts are computed again, from another starting guess.

An SCF that ended in another electronic state, a file mixed up, a flipped bit: a second computation
shows them. What comes out the same is the engine's answer at this level of theory, and it is the
committee that is wrong there.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.assess.outliers import outliers
from mace_core.assess.score import load_committee
from mace_core.assess.scored import check_merged, score_generation, write_scored
from mace_core.config.campaign import Config, parse_config
from mace_core.conventions import FRAME_ID, FrameRole
from mace_core.errors import UserError
from mace_core.label.agreement import difference
from mace_core.label.engines import Guess, engine_for
from mace_core.label.record import Record
from mace_core.label.run import Labelled, label_frames
from mace_core.label.start import check_engine
from mace_core.label.store import LabelStore
from mace_core.layout import Layout
from mace_core.progress import Progress
from mace_core.storage import read_json, write_json

#: In a release, who gave it: a second computation, and no person.
RECHECK = "recheck"


def recheck_labels(
    plan: dict[str, Any],
    merged_path: str | Path,
    committee_path: str | Path,
    select_path: str | Path,
    out: str | Path,
    threads: int = 1,
    committee: Any = None,
) -> dict[str, Any]:
    """Score a generation's labels, and compute those again that the committee doubts.

    The scored frames are written too (``Layout.scored``), so that nobody has to score them twice.
    A label that comes out the same is released in the store; the record itself is never changed.

    Args:
        plan: of the generation.
        merged_path: merged.json.
        committee_path: committee.json.
        select_path: select.json.
        out: recheck.json.
        threads: of the engine.
        committee: instead of the one that ``committee_path`` names.

    Returns:
        The content of recheck.json, see docs/contracts.md.

    Raises:
        UserError: an input is missing, or the labels are not those of this generation and theory;
            or the store cannot be written.
    """
    config = parse_config(plan["config"], where="plan.json")
    g, merged = plan["generation"], read_json(merged_path)
    check_merged(plan, merged, merged_path)
    content = read_json(committee_path)
    store = LabelStore(config.campaign.label_store, config.labeller)
    scored, notes = score_generation(
        config,
        g,
        merged,
        store,
        committee or load_committee(content, config),
        content["calibration"]["factor"],
        Path(select_path),
    )
    doubted = doubts_of(scored, config, store)
    budget = config.stop.max_labels - plan["labels_spent"] - merged["calls"]
    rows = _rechecks(doubted, config, store, max(budget, 0), threads, f"gen {g} · rechecks")
    done = [row for row in rows if row["status"] is not None]
    result = {
        "generation": g,
        "theory": merged["theory"],
        "doubted": doubted,
        "rechecks": rows,
        "calls": len(done),
        "wall_seconds": round(sum(row["wall_seconds"] for row in done), 3),
        "notes": notes,
    }
    write_scored(Layout(config.campaign.results_dir, config.campaign.name).scored(g), scored)
    write_json(out, result)
    return result


def doubts_of(
    scored: dict[str, list[Atoms]], config: Config, store: LabelStore
) -> list[dict[str, Any]]:
    """Entries of the labels that the committee doubts, and that no person released beforehand.

    A release that followed a second computation changes nothing here, so that a campaign that is
    rebuilt finds that computation, and counts it as the first one did.
    """
    return [
        entry
        for entry in outliers([*scored["audit"], *scored["picked"]], config.label.outlier_factor)
        if store.releases.read(entry[FRAME_ID]) is None
        or store.rechecks.stored(entry[FRAME_ID]) is not None
    ]


def _rechecks(
    doubted: Sequence[dict[str, Any]],
    config: Config,
    store: LabelStore,
    budget: int,
    threads: int,
    title: str,
) -> list[dict[str, Any]]:
    """The rows of recheck.json, in the order of the doubts. Audit labels come first in a budget."""
    first = sorted(doubted, key=lambda entry: entry["role"] != FrameRole.AUDIT)
    chosen = [entry[FRAME_ID] for entry in first[:budget]]
    problem = _cannot(chosen, config, store)
    outcomes: dict[str, Labelled] = {}
    if chosen and not problem:
        outcomes = _computed(chosen, config, store, threads, title)
    how = engine_for(config.labeller).other_guess()
    how = (
        f"computed again from another starting guess ({how})"
        if how
        else "computed a second time (the engine has no other starting guess)"
    )
    rows = []
    for entry in doubted:
        name = entry[FRAME_ID]
        if name in outcomes:
            row = _compared(store.stored(name), outcomes[name], how)
        else:
            why = problem or f"stop.max_labels ({config.stop.max_labels}) is reached"
            row = _row(None, f"not computed again: {why}")
        rows.append({FRAME_ID: name, **row})
        if row["agrees"] and not _taken_back(store, name):
            store.releases.write(name, {"reason": row["reason"], RECHECK: True})
            # For those who look at the store: what was released, and from what.
            store.doubts.write(name, {**entry, "campaign": config.campaign.name})
    return rows


def _cannot(chosen: Sequence[str], config: Config, store: LabelStore) -> str:
    """Why the engine cannot compute here, if that is needed and so."""
    if all(store.rechecks.stored(name) for name in chosen):
        return ""
    try:
        check_engine(config.labeller)
    except UserError as err:
        return str(err.what)
    return ""


def _computed(
    chosen: Sequence[str], config: Config, store: LabelStore, threads: int, title: str
) -> dict[str, Labelled]:
    rechecks = store.rechecks
    rechecks.folder.mkdir(exist_ok=True)
    frames = [store.stored(name).frame() for name in chosen]
    with Progress(title, len(frames), "frame") as progress:
        report: Callable = lambda done, _: progress.update(len(done))  # noqa: E731
        outcomes = label_frames(
            frames, config.labeller, rechecks, threads=threads, report=report, guess=Guess.OTHER
        )
    return dict(zip(chosen, outcomes, strict=True))


def _compared(label: Record, outcome: Labelled, how: str) -> dict[str, Any]:
    again = outcome.record
    apart = difference(label, again)
    if apart is None:
        said = f"{how}: no second label, {again.status}: {again.reason}"
        return _row(str(again.status), said, outcome)
    numbers = "" if apart.agrees else f"{again.energy:.6f} eV instead of {label.energy:.6f} eV, "
    # What it came to, and not whether that is plausible by itself: the label was asked that.
    row = _row("converged", f"{how}: {numbers}{apart.said()}", outcome)
    return row | {
        "agrees": apart.agrees,
        "energy_difference": apart.energy,
        "force_difference": apart.forces,
    }


def _row(status: str | None, reason: str, outcome: Labelled | None = None) -> dict[str, Any]:
    return {
        "agrees": None,
        "energy_difference": None,
        "force_difference": None,
        "status": status,
        "reason": reason,
        "wall_seconds": outcome.record.wall_seconds if outcome else 0.0,
        "computed": bool(outcome and outcome.computed),
    }


def _taken_back(store: LabelStore, name: str) -> bool:
    """Whether a person withdrew the release that followed a second computation."""
    return any(note.get(RECHECK) for note in store.releases.withdrawn(name))


def lines(result: dict[str, Any]) -> list[str]:
    """What was doubted, and what came of it; nothing where no label was."""
    head = f"gen {result['generation']} · recheck · "
    roles = {entry[FRAME_ID]: entry["role"] for entry in result["doubted"]}
    return [
        f"{head}{roles[row[FRAME_ID]]} frame {row[FRAME_ID]} "
        f"{'released' if row['agrees'] else 'stays in quarantine'}: {row['reason']}"
        for row in result["rechecks"]
    ]
