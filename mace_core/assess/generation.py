"""The assessment of one generation: test its models on labels they have never seen, and decide."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.assess.calibration import calibrate, measured_coverage
from mace_core.assess.decide import decide
from mace_core.assess.errors import errors
from mace_core.assess.score import load_committee, score, unseen
from mace_core.config.campaign import Config, parse_config
from mace_core.conventions import (
    ASSESS_FORMAT,
    FRAME_ID,
    GROUP,
    MEV,
    ROLE,
    UNSTABLE_ENDS,
    FrameRole,
    LabelStatus,
    WalkerEnd,
)
from mace_core.errors import UserError
from mace_core.frames import frame_id, read_frames, write_frames
from mace_core.label.store import LabelStore
from mace_core.layout import Layout
from mace_core.storage import derived_seed, read_json, write_json
from mace_core.train.labelled import read_labelled

#: Labels that converged, and on closer look are none to score on.
_HELD_BACK = (LabelStatus.QUARANTINED, LabelStatus.DAMAGED)


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
        "labels": _labels(merged, before[-1]["labels"] if before else {}),
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
        result["start"] = _start(
            config, merged, read_frames(selected) if selected.is_file() else []
        )
    else:
        if committee_path is None or select_path is None:
            raise UserError(
                f"generation {g} needs --committee and --select", where="maceloop assess"
            )
        content = read_json(committee_path)
        members = committee or load_committee(content, config)
        result |= _tested(config, layout, g, merged, content, members, Path(select_path))
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
) -> dict[str, Any]:
    """What needs models: errors, coverage, calibration for the next generation, walkers."""
    calibration, notes = content["calibration"], []
    trained = _trained(layout, g)
    fresh, said = unseen(
        _labelled(config, merged, select_path), trained, "labelled", select_path.parent
    )
    notes += said
    sets = {
        kind: [atoms for atoms in fresh if atoms.info[ROLE] == kind]
        for kind in (FrameRole.AUDIT, FrameRole.PICKED)
    }
    if config.data.frozen_test:
        keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
        frozen, _ = read_labelled(config.data.frozen_test, *keys)
        sets["frozen"], said = unseen(frozen, trained, "frozen test", config.data.frozen_test)
        notes += said
    result: dict[str, Any] = {}
    scored: dict[str, list[Atoms]] = {}
    for kind, frames in sets.items():
        title = f"gen {g} · assess · {kind}"
        scored[kind] = score(frames, committee, calibration["factor"], title)
        write_frames(layout.predictions(g, kind), scored[kind])
        seed = derived_seed(config.campaign.seed, g, "assess", "bootstrap", str(kind))
        result[str(kind)] = errors(scored[kind], config.stop.confidence, seed)
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


def _labels(merged: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    counts = {str(status): merged["counts"].get(status, 0) for status in LabelStatus}
    return {
        "calls": merged["calls"],
        **counts,
        "seconds": merged["wall_seconds"],
        "total_calls": merged["calls"] + before.get("total_calls", 0),
        "total_converged": counts["converged"] + before.get("total_converged", 0),
        "total_seconds": merged["wall_seconds"] + before.get("total_seconds", 0.0),
    }


def _start(config: Config, merged: dict[str, Any], selected: Sequence[Atoms]) -> dict[str, Any]:
    """What generation 0 gives to train on: counts of frames, and elements without an E0."""
    status = {entry[FRAME_ID]: entry["status"] for entry in merged["labels"]}
    frames = sum(
        entry["status"] == LabelStatus.CONVERGED and entry[ROLE] != FrameRole.ISOLATED
        for entry in merged["labels"]
    )
    keys = (config.data.energy_key, config.data.forces_key, config.data.stress_key)
    labelled, atoms_given = [], []
    for path in config.data.labelled:
        some, isolated = read_labelled(path, *keys)
        labelled += some
        atoms_given += isolated
    needed = {str(s) for a in [*selected, *labelled] for s in a.symbols}
    known = {str(a.symbols[0]) for a in atoms_given}
    why = {}
    for atoms in selected:
        if atoms.info.get(ROLE) == FrameRole.ISOLATED:
            why[str(atoms.symbols[0])] = status.get(atoms.info[FRAME_ID], "not labelled")
    known |= {element for element, end in why.items() if end == LabelStatus.CONVERGED}
    missing = sorted(needed - known) if config.data.E0s == "isolated" else []
    return {
        "frames": frames,
        "labelled_frames": len(labelled),
        "without_E0": {element: why.get(element, "not labelled") for element in missing},
    }


def _labelled(config: Config, merged: dict[str, Any], select_path: Path) -> list[Atoms]:
    """This generation's converged labels, on frames that still say where they come from."""
    store = LabelStore(config.campaign.label_store, config.labeller)
    if store.theory_id != merged["theory"]:
        raise UserError(
            f"the labels are at theory {merged['theory']}, "
            f"the installed engine gives {store.theory_id}",
            where=str(store.folder.parent),
            mend="go back to the version of the engine that computed them (theory.json says which)",
        )
    selected = select_path.parent / "frames.extxyz"
    told = {atoms.info[FRAME_ID]: atoms.info for atoms in read_frames(selected)}
    frames = []
    for entry in merged["labels"]:
        if entry["status"] != LabelStatus.CONVERGED or entry[ROLE] == FrameRole.ISOLATED:
            continue
        record = store.get(entry[FRAME_ID])
        if record is not None and record.status in _HELD_BACK:
            print(
                f"maceloop: frame {record.frame_id} is not scored: {record.reason}", file=sys.stderr
            )
            continue
        if record is None or not record.converged:
            raise UserError(
                f"frame {entry[FRAME_ID]} has a converged label, but not in the label store",
                where=str(store.folder),
                mend="restore the store, or run label and merge-labels of this generation again",
            )
        atoms = record.to_atoms()
        atoms.info = told.get(entry[FRAME_ID], {}) | atoms.info
        atoms.info[ROLE] = entry[ROLE]
        if entry.get("group"):
            atoms.info[GROUP] = entry["group"]
        frames.append(atoms)
    return frames


def _trained(layout: Layout, g: int) -> set[str]:
    """Ids of all frames that the members of generation ``g`` trained on or were chosen by."""
    folder = layout.dataset(g)
    return {
        frame_id(atoms)
        for name in ("train.extxyz", "valid.extxyz")
        for atoms in read_frames(folder / name)
    }


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
    failed = labels["calls"] - labels["converged"]
    shown = [
        f"{head}labels · {labels['calls']} calls, {labels['converged']} converged, "
        f"{failed} failed · {labels['total_calls']} calls in all"
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
