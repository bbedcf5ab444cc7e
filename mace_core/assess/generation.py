"""The assessment of one generation: test its models on labels they have never seen, and decide."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.assess.calibration import calibrate, measured_coverage
from mace_core.assess.decide import decide
from mace_core.assess.errors import errors
from mace_core.assess.labels import label_counts, start
from mace_core.assess.recheck import doubts_of
from mace_core.assess.score import load_committee
from mace_core.assess.scored import check_merged, read_scored, score_generation
from mace_core.config.campaign import Config, parse_config
from mace_core.conventions import (
    ASSESS_FORMAT,
    FRAME_ID,
    MACE_FORCES,
    MEV,
    REF_FORCES,
    UNSTABLE_ENDS,
    WalkerEnd,
)
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelStore
from mace_core.layout import Layout
from mace_core.storage import derived_seed, read_json, write_json

#: Of the frames scored, those whose label is in doubt.
QUARANTINE = "quarantine"


def assess_generation(
    plan: dict[str, Any],
    merged_path: str | Path,
    out: str | Path,
    committee_path: str | Path | None = None,
    select_path: str | Path | None = None,
    committee: Any = None,
    recheck_path: str | Path | None = None,
) -> dict[str, Any]:
    """Assess a generation; write assess.json, and the frames scored, with labels and predictions.

    Generation 0 has no models: its labels are counted, and whether they suffice to train.

    Args:
        plan: of the generation.
        merged_path: merged.json.
        out: assess.json.
        committee_path: committee.json, from generation 1 on.
        select_path: select.json, from generation 1 on.
        committee: instead of the one that ``committee_path`` names.
        recheck_path: recheck.json, of the step that scored the frames and computed the doubted
            labels again; without it the frames are scored here, and nothing is computed again.

    Returns:
        The content of assess.json.

    Raises:
        UserError: an input is missing, or the labels are not those of this generation and theory.
    """
    config = parse_config(plan["config"], where="plan.json")
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    g = plan["generation"]
    merged = read_json(merged_path)
    check_merged(plan, merged, merged_path)
    recheck = _recheck(plan, recheck_path)
    before = [read_json(layout.assess(h)) for h in range(g)]
    result: dict[str, Any] = {
        "format": ASSESS_FORMAT,
        "generation": g,
        "labels": None,
        "quarantine": [],
        "dataset": None,
        "audit": None,
        "picked": None,
        "frozen": None,
        "calibration": None,
        "measured_coverage": None,
        "walkers": None,
        "selection": None,
        "notes": [],
    }
    if g == 0:
        selected = layout.selected(0)
        result["start"] = start(config, merged, read_frames(selected) if selected.is_file() else [])
    else:
        if committee_path is None or select_path is None:
            raise UserError(
                f"generation {g} needs --committee and --select", where="maceloop assess"
            )
        content = read_json(committee_path)
        result |= _tested(config, layout, g, merged, content, committee, Path(select_path), recheck)
    result["labels"] = label_counts(
        merged, before[-1]["labels"] if before else {}, len(result["quarantine"]), recheck
    )
    decision = decide([*before, result], config)
    result |= {
        "outcome": str(decision.outcome),
        "reason": decision.reason,
        "checks": [check.to_json() for check in decision.checks],
        "stall": {"generations_without_progress": decision.generations_without_progress},
    }
    write_json(out, result)
    return result


def _tested(
    config: Config,
    layout: Layout,
    g: int,
    merged: dict[str, Any],
    content: dict[str, Any],
    committee: Any,
    select_path: Path,
    recheck: dict[str, Any] | None,
) -> dict[str, Any]:
    """What needs models: errors, coverage, calibration for the next generation, walkers."""
    calibration = content["calibration"]
    store = LabelStore(config.campaign.label_store, config.labeller)
    if recheck:
        scored, notes = read_scored(layout.scored(g), config), list(recheck["notes"])
    else:
        committee = committee or load_committee(content, config)
        scored, notes = score_generation(
            config, g, merged, store, committee, calibration["factor"], select_path
        )
    quarantine, said = _doubted(config, g, store, scored, recheck)
    notes += said
    scored, said = _set_apart(scored, {entry[FRAME_ID] for entry in quarantine})
    notes += said
    result: dict[str, Any] = {"quarantine": quarantine}
    for kind, frames in scored.items():
        write_frames(layout.predictions(g, kind), frames)
        if kind != QUARANTINE:
            seed = derived_seed(config.campaign.seed, g, "assess", "bootstrap", kind)
            result[kind] = errors(frames, config.stop.confidence, seed)
    audits = [(g, scored["audit"])]
    for h in range(g - 1, 0, -1):
        audits.append((h, read_frames(layout.predictions(h, "audit"))))
    following = calibrate(audits, config.stop.coverage)
    if following is None:
        notes.append("no audit frame was labelled: the calibration stays as it was")
    dataset = read_json(layout.dataset(g) / "dataset.json")
    selection = read_json(select_path)
    result |= {
        "dataset": {key: dataset[key] for key in ("n_train", "n_valid", "sha256", "elements")},
        "calibration": following or calibration,
        "measured_coverage": measured_coverage(scored["audit"], calibration),
        "walkers": _walkers(layout, g, config),
        "selection": {key: selection[key] for key in ("candidates", "picked", "audit")},
        "notes": notes,
    }
    return result


def _recheck(plan: dict[str, Any], path: str | Path | None) -> dict[str, Any] | None:
    """The content of recheck.json, of this generation."""
    if path is None:
        return None
    recheck = read_json(path)
    check_merged(plan, recheck, path)
    return recheck


def _doubted(
    config: Config,
    g: int,
    store: LabelStore,
    scored: dict[str, list[Atoms]],
    recheck: dict[str, Any] | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Labels that the committee doubts and nothing released, and a sentence on the others.

    The store gets a note of each. What was computed again stands in the reason.
    """
    doubted = recheck["doubted"] if recheck else doubts_of(scored, config, store)
    again = {row[FRAME_ID]: row for row in recheck["rechecks"]} if recheck else {}
    found, released = [], []
    for entry in doubted:
        row = again.get(entry[FRAME_ID])
        if store.releases.read(entry[FRAME_ID]) is not None:
            released += [entry[FRAME_ID]] if row and row["agrees"] else []
            continue
        if row:
            entry = entry | {"reason": f"{entry['reason']}; {row['reason']}"}
        found.append(entry)
        store.doubts.write(
            entry[FRAME_ID], {**entry, "campaign": config.campaign.name, "generation": g}
        )
    if not released:
        return found, []
    return found, [
        f"{len(released)} labels that the committee doubted were computed again, agree, and are "
        f"used: the models are wrong there ({', '.join(released)})"
    ]


def _set_apart(
    scored: dict[str, list[Atoms]], doubted: set[str]
) -> tuple[dict[str, list[Atoms]], list[str]]:
    """Scored frames with the doubted ones as a kind of their own, and sentences on what changed.

    A wrong label would say that the models are wrong, and enlarge the calibration factor with which
    all walkers are judged.
    """
    notes = []
    new = {kind: scored[kind] for kind in ("audit", "picked")}
    sound = dict(scored)
    for kind, frames in new.items():
        sound[kind] = [atoms for atoms in frames if atoms.info[FRAME_ID] not in doubted]
        lost = len(frames) - len(sound[kind])
        if lost:
            every = np.concatenate([a.arrays[MACE_FORCES] - a.arrays[REF_FORCES] for a in frames])
            notes.append(
                f"{lost} of {len(frames)} {kind} labels in quarantine: errors and calibration are "
                f"without them (with them the {kind} force MAE is "
                f"{np.abs(every).mean() / MEV:.1f} meV/Å)"
            )
    sound[QUARANTINE] = [
        atoms for frames in new.values() for atoms in frames if atoms.info[FRAME_ID] in doubted
    ]
    return sound, notes


def _walkers(layout: Layout, g: int, config: Config) -> dict[str, Any]:
    paths = [layout.walker(g, w).with_suffix(".json") for w in range(config.explore.walkers)]
    told = [read_json(path) for path in paths]
    ends = Counter(walker["end"] for walker in told)
    unstable = sum(WalkerEnd(walker["end"]) in UNSTABLE_ENDS for walker in told)
    return {
        "n": len(told),
        "ends": dict(sorted(ends.items())),
        "stable_fraction": 1 - unstable / len(told),
        "time_fs": sum(walker["time_fs"] for walker in told),
        "groups": sorted({walker["group"] for walker in told}),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """An assessment in a few lines; errors in meV/Å."""
    head, labels = f"gen {result['generation']} · ", result["labels"]
    withheld = labels["quarantined"]
    rechecks = labels.get("rechecks", 0)
    failed = labels["calls"] - rechecks - labels["converged"] - withheld
    shown = [
        f"{head}labels · {labels['calls']} calls, {labels['converged']} converged, {failed} failed"
        + (f", {withheld} in quarantine" if withheld else "")
        + (f", {rechecks} of them doubted labels computed again" if rechecks else "")
        + f" · {labels['total_calls']} calls in all"
    ]
    shown += [
        f"{head}quarantine · {entry['role']} frame {entry[FRAME_ID]}: {entry['reason']}"
        for entry in result["quarantine"]
    ]
    for kind in ("audit", "picked", "frozen"):
        found = result[kind]
        if found and found["force_mae"] is not None:
            high = found["force_mae_high"]
            bound = "no bound" if high is None else f"at most {high / MEV:.1f}"
            shown.append(
                f"{head}{kind} · force MAE {found['force_mae'] / MEV:.1f} meV/Å ({bound}) on "
                f"{found['n_frames']} frames"
            )
    measured = result["measured_coverage"]
    if measured:
        shown.append(
            f"{head}uncertainty · bounded the error of {measured['covered']} of "
            f"{measured['n_frames']} audit frames, {measured['expected']:.0%} expected"
        )
    shown += [f"{head}note · {note}" for note in result["notes"]]
    return [*shown, f"{head}{result['outcome'].upper()} · {result['reason']}"]
