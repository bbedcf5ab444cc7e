"""The assessment of one generation: test its models on labels they have never seen, and decide."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.assess.calibration import following, measured_coverage
from mace_core.assess.decide import decide
from mace_core.assess.errors import errors
from mace_core.assess.findings import findings
from mace_core.assess.labels import label_counts, start
from mace_core.assess.measured_with import as_measured, difference
from mace_core.assess.rows import rows
from mace_core.assess.score import load_committee
from mace_core.assess.scored import check_merged, read_scored, score_generation
from mace_core.assess.set_apart import QUARANTINE, doubted, set_apart
from mace_core.assess.strata import stratum_errors
from mace_core.assess.walked import walked
from mace_core.assess.walks import walks
from mace_core.config.campaign import Config, parse_config
from mace_core.conventions import (
    ASSESS_FORMAT,
    FRAME_ID,
    ROLE,
    UNSTABLE_ENDS,
    FrameRole,
    LabelStatus,
    WalkerEnd,
)
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelStore
from mace_core.layout import Layout
from mace_core.storage import derived_seed, read_json, write_json


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
        "audit_frames": [],
        "walks": [],
        "strata": {},
        "lost_audit": {},
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
        result |= _tested(plan, config, merged, content, committee, Path(select_path), recheck)
        result["strata"] = stratum_errors([*before, result], config)
        result["notes"] += findings(before, result)
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
    plan: dict[str, Any],
    config: Config,
    merged: dict[str, Any],
    content: dict[str, Any],
    committee: Any,
    select_path: Path,
    recheck: dict[str, Any] | None,
) -> dict[str, Any]:
    """What needs models: errors, coverage, calibration for the next generation, walkers."""
    g, calibration = plan["generation"], content["calibration"]
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    store = LabelStore(config.campaign.label_store, config.labeller)
    changed = difference(calibration)
    notes = [changed] if changed else []
    if recheck:
        scored = read_scored(layout.scored(g), config)
        notes += recheck["notes"]
    else:
        committee = committee or load_committee(content, config)
        scored, said = score_generation(
            config, g, merged, store, committee, calibration["factor"], select_path
        )
        notes += said
    quarantine, said = doubted(config, g, store, scored, recheck)
    notes += said
    scored, said = set_apart(scored, {entry[FRAME_ID] for entry in quarantine})
    notes += said
    paths = [layout.walker(g, w) for w in range(plan["sizes"]["walkers"])]
    visited = walks(paths, g, config.explore.save_interval)
    result: dict[str, Any] = {"quarantine": quarantine}
    for kind, frames in scored.items():
        write_frames(layout.predictions(g, kind), frames)
        if kind != QUARANTINE:
            seed = derived_seed(config.campaign.seed, g, "assess", "bounds", kind)
            of = visited if kind == FrameRole.AUDIT else ()
            result[kind] = errors(frames, config.stop.confidence, seed, of)

    def spreads(frames: list[Atoms]) -> list[float]:
        members = committee or load_committee(content, config)
        return [found.max_forces_std for found in members.predict(frames)]

    calibrated, said = following(
        _audits(layout, g, store, scored["audit"]),
        config.stop.coverage,
        as_measured(calibration),
        spreads,
    )
    notes += said
    dataset = read_json(layout.dataset(g) / "dataset.json")
    selection = read_json(select_path)
    keys = ("n_train", "n_valid", "sha256", "elements", "strata")
    return result | {
        "audit_frames": rows(scored["audit"], g, config.explore.steps),
        "walks": visited,
        "lost_audit": _lost_audit(merged, quarantine),
        "dataset": {key: dataset[key] for key in keys if key in dataset},
        "calibration": calibrated,
        "measured_coverage": measured_coverage(scored["audit"], calibration),
        "walkers": _walkers(paths) | {"factor": calibration["factor"]},
        "selection": {key: selection[key] for key in ("candidates", "picked", "audit")}
        | {
            "exam": sum(row["drawn"] for row in (selection.get("exam") or {}).values()),
            "no_candidates": selection.get("no_candidates"),
        },
        "notes": notes,
    }


def _recheck(plan: dict[str, Any], path: str | Path | None) -> dict[str, Any] | None:
    """The content of recheck.json, of this generation."""
    if path is None:
        return None
    recheck = read_json(path)
    check_merged(plan, recheck, path)
    return recheck


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


def _lost_audit(merged: dict[str, Any], quarantine: list[dict[str, Any]]) -> dict[str, int]:
    """Audit labels that do not count, by status."""
    lost = Counter(
        entry["status"]
        for entry in merged["labels"]
        if entry[ROLE] == FrameRole.AUDIT and entry["status"] != LabelStatus.CONVERGED
    )
    n = sum(entry["role"] == FrameRole.AUDIT for entry in quarantine)
    if n:
        lost[str(LabelStatus.QUARANTINED)] += n
    return dict(sorted(lost.items()))


def _walkers(paths: list[Path]) -> dict[str, Any]:
    told = [read_json(path.with_suffix(".json")) for path in paths]
    ends = Counter(walker["end"] for walker in told)
    unstable = sum(WalkerEnd(walker["end"]) in UNSTABLE_ENDS for walker in told)
    started = len(told) - ends[WalkerEnd.NOT_STARTED]
    return {
        "n": len(told),
        "ends": dict(sorted(ends.items())),
        "stable_fraction": 1 - unstable / started if started else None,
        "time_fs": sum(walker["time_fs"] for walker in told),
        "groups": sorted({walker["group"] for walker in told}),
        **walked(told),
    }
