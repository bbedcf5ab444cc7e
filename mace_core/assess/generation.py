"""The assessment of one generation: test its models on labels they have never seen, and decide."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.assess.calibration import following, measured_coverage
from mace_core.assess.decide import decide
from mace_core.assess.errors import errors
from mace_core.assess.findings import findings
from mace_core.assess.labels import label_counts, labelled_frames, start
from mace_core.assess.measured_with import as_measured, difference
from mace_core.assess.outliers import outliers
from mace_core.assess.score import load_committee, score, unlike, unseen
from mace_core.assess.spent import calls_said
from mace_core.assess.words import in_words
from mace_core.config.campaign import Config, parse_config
from mace_core.conventions import (
    ASSESS_FORMAT,
    FRAME_ID,
    MACE_FORCES,
    MEV,
    REF_FORCES,
    ROLE,
    UNSTABLE_ENDS,
    FrameRole,
    WalkerEnd,
)
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelStore
from mace_core.layout import Layout
from mace_core.storage import derived_seed, read_json, write_json
from mace_core.train.labelled import read_labelled

#: Of the frames scored, those whose label is in doubt.
QUARANTINE = "quarantine"


def assess_generation(
    plan: dict[str, Any],
    merged_path: str | Path,
    out: str | Path,
    committee_path: str | Path | None = None,
    select_path: str | Path | None = None,
    committee: Any = None,
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

    Returns:
        The content of assess.json.

    Raises:
        UserError: an input is missing, or the labels are not those of this generation and theory.
    """
    config = parse_config(plan["config"], where="plan.json")
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    g = plan["generation"]
    merged = read_json(merged_path)
    if merged["generation"] != g or merged["theory"] != plan["theory"]:
        raise UserError(
            f"labels of generation {merged['generation']} at theory {merged['theory']}, "
            f"the plan is for generation {g} at {plan['theory']}",
            where=str(merged_path),
        )
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
        members = committee or load_committee(content, config)
        result |= _tested(plan, config, layout, merged, content, members, Path(select_path))
        result["notes"] += findings(before, result)
    result["labels"] = label_counts(
        merged, before[-1]["labels"] if before else {}, len(result["quarantine"])
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
    plan: dict[str, Any],
    config: Config,
    layout: Layout,
    merged: dict[str, Any],
    content: dict[str, Any],
    committee: Any,
    select_path: Path,
) -> dict[str, Any]:
    """What needs models: errors, coverage, calibration for the next generation, walkers."""
    g, calibration, notes = plan["generation"], content["calibration"], []
    if changed := difference(calibration):
        notes.append(changed)
    trained = _trained(layout, g)
    store = LabelStore(config.campaign.label_store, config.labeller)
    fresh, said = unseen(
        labelled_frames(store, merged, select_path), trained, "labelled", select_path.parent
    )
    notes += said
    sets = {
        kind: [atoms for atoms in fresh if atoms.info[ROLE] == kind]
        for kind in (FrameRole.AUDIT, FrameRole.PICKED)
    }
    if config.data.frozen_test:
        keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
        frozen, _ = read_labelled(config.data.frozen_test, *keys)
        sets["frozen"], said = unlike(frozen, trained, "frozen test", config.data.frozen_test)
        notes += said
    scored = {
        str(kind): score(frames, committee, calibration["factor"], f"gen {g} · assess · {kind}")
        for kind, frames in sets.items()
    }
    quarantine = _doubted(config, g, store, [*scored["audit"], *scored["picked"]])
    scored, said = _set_apart(scored, {entry[FRAME_ID] for entry in quarantine})
    notes += said
    result: dict[str, Any] = {"quarantine": quarantine}
    for kind, frames in scored.items():
        write_frames(layout.predictions(g, kind), frames)
        if kind != QUARANTINE:
            seed = derived_seed(config.campaign.seed, g, "assess", "bootstrap", kind)
            result[kind] = errors(frames, config.stop.confidence, seed)
    calibrated, said = following(
        _audits(layout, g, store, scored["audit"]),
        config.stop.coverage,
        as_measured(calibration),
        lambda frames: [found.max_forces_std for found in committee.predict(frames)],
    )
    notes += said
    dataset = read_json(layout.dataset(g) / "dataset.json")
    selection = read_json(select_path)
    result |= {
        "dataset": {key: dataset[key] for key in ("n_train", "n_valid", "sha256", "elements")},
        "calibration": calibrated,
        "measured_coverage": measured_coverage(scored["audit"], calibration),
        "walkers": _walkers(layout, g, plan["sizes"]["walkers"])
        | {"factor": calibration["factor"]},
        "selection": {key: selection[key] for key in ("candidates", "picked", "audit")}
        | {"no_candidates": selection.get("no_candidates")},
        "notes": notes,
    }
    return result


def _audits(
    layout: Layout, g: int, store: LabelStore, newest: list[Atoms]
) -> Iterator[tuple[int, list[Atoms]]]:
    """Scored audit frames, newest generation first, without labels that are doubted by now."""
    yield g, newest
    for h in range(g - 1, 0, -1):
        yield (
            h,
            [
                atoms
                for atoms in read_frames(layout.predictions(h, "audit"))
                if store.doubts.read(atoms.info[FRAME_ID]) is None
                or store.releases.read(atoms.info[FRAME_ID]) is not None
            ],
        )


def _doubted(
    config: Config, g: int, store: LabelStore, frames: Sequence[Atoms]
) -> list[dict[str, Any]]:
    """Labels that the committee doubts and nobody released; the store gets a note of each."""
    found = [
        entry
        for entry in outliers(frames, config.label.outlier_factor)
        if store.releases.read(entry[FRAME_ID]) is None
    ]
    for entry in found:
        store.doubts.write(
            entry[FRAME_ID], {**entry, "campaign": config.campaign.name, "generation": g}
        )
    return found


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


def _trained(layout: Layout, g: int) -> list[Atoms]:
    """All frames that the members of generation ``g`` trained on or were chosen by."""
    folder = layout.dataset(g)
    return [
        atoms for name in ("train.extxyz", "valid.extxyz") for atoms in read_frames(folder / name)
    ]


def _walkers(layout: Layout, g: int, n: int) -> dict[str, Any]:
    paths = [layout.walker(g, w).with_suffix(".json") for w in range(n)]
    told = [read_json(path) for path in paths]
    ends = Counter(walker["end"] for walker in told)
    unstable = sum(WalkerEnd(walker["end"]) in UNSTABLE_ENDS for walker in told)
    started = len(told) - ends[WalkerEnd.NOT_STARTED]
    return {
        "n": len(told),
        "ends": dict(sorted(ends.items())),
        "stable_fraction": 1 - unstable / started,
        "time_fs": sum(walker["time_fs"] for walker in told),
        "groups": sorted({walker["group"] for walker in told}),
        **walked(told),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """An assessment in a few lines; errors in meV/Å."""
    head, labels = f"gen {result['generation']} · ", result["labels"]
    withheld = labels["quarantined"]
    failed = labels["calls"] - labels["converged"] - withheld
    shown = [
        f"{head}labels · {calls_said(labels['calls'], labels.get('found'))}, "
        f"{labels['converged']} converged, {failed} failed"
        + (f", {withheld} in quarantine" if withheld else "")
        + f" · in all {calls_said(labels['total_calls'], labels.get('total_found'))}"
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
            f"{measured['n_frames']} audit frames, {_expected(measured)}"
        )
    if calibration := result["calibration"]:
        shown.append(f"{head}calibration · factor for the next generation: {in_words(calibration)}")
    shown += [f"{head}note · {note}" for note in result["notes"]]
    return [*shown, f"{head}{result['outcome'].upper()} · {result['reason']}"]


def _expected(measured: dict[str, Any]) -> str:
    if measured["expected"] is None:
        return "by an assumed factor: not calibrated yet"
    return f"{measured['expected']:.0%} expected"
