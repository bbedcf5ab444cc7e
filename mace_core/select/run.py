"""The selection of one generation: audit frames first, then picked ones, and the reasons."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from mace_core.committee_file import read_committee
from mace_core.config.campaign import Config
from mace_core.conventions import (
    CHARGE,
    DISPLACEMENT,
    EXAM,
    FRAME_ID,
    GENERATION,
    GROUP,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_UNCERTAINTY,
    MD_STEP,
    MEV,
    ROLE,
    SPIN,
    STRATUM,
    WALKER,
    WHY_PICKED,
    FrameRole,
)
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.select.audit import Audit, draw_audit, draw_exam
from mace_core.select.candidates import Visited, read_ends, read_walkers
from mace_core.select.pick import Describe, Picked, in_window, pick_random, pick_uncertain
from mace_core.select.reasons import Nothing, no_candidates
from mace_core.storage import derived_seed, read_json, write_json
from mace_core.strata import stratum_of
from mace_core.tables import write_table

#: What a selected frame keeps of what its walker wrote.
KEPT_INFO = (
    *(CHARGE, SPIN, FRAME_ID, WALKER, GROUP, MD_STEP, MACE_ENERGY, MACE_UNCERTAINTY),
    DISPLACEMENT,
)
KEPT_ARRAYS = (MACE_FORCES, MACE_FORCES_STD)


def select(
    config: Config,
    generation: int,
    committee: str | Path,
    train: str | Path,
    walkers: Sequence[str | Path],
    out: str | Path,
    describe: Describe | None = None,
    exam: dict[str, Any] | None = None,
) -> dict:
    """Choose the frames to label; write them, ``candidates.parquet``/``.csv`` and ``select.json``.

    The audit is drawn first and from all sane frames, so that it does not depend on what is picked.
    The frames of the final exam, where there is one, are audit frames too.

    Args:
        config: the generation's, frozen.
        generation: its number.
        committee: committee.json.
        train: the training set, extxyz; dataset.json beside it says which strata there are.
        walkers: the walkers' extxyz files; each has its JSON beside it.
        out: extxyz file to write; it may hold no frames.
        describe: descriptors instead of the committee's, for tests.
        exam: the plan's ``exam``; None where the generation holds none.

    Returns:
        The content of ``select.json``.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    models = read_committee(committee)
    training = [canonical(atoms) for atoms in read_frames(train)]
    ends = read_ends(walkers)
    visited = read_walkers(
        walkers,
        models.factor,
        config.explore.save_interval,
        {atoms.info[FRAME_ID] for atoms in training},
    )
    audit = draw_audit(
        visited,
        config.select.audit_frames,
        _rng(config, generation, "audit"),
        generation,
        _strata(train, training),
        ends,
    )
    examined, exam_strata, exam_message = draw_exam(visited, exam, _rng(config, generation, "exam"))
    asked_for = [*audit.frames, *examined]
    audited = {id(v) for v in asked_for}
    pool = [v for v in visited if v.usable and id(v) not in audited]
    if config.select.strategy == "random":
        picked = pick_random(pool, config.select, _rng(config, generation, "random"))
    else:
        picked = pick_uncertain(
            pool,
            asked_for,
            training,
            config.select,
            describe or committee_descriptors(config, models.members),
        )
    nothing = None
    if not picked.candidates:
        nothing = no_candidates(config, ends, visited, audit.frames)
    message = _message(visited, audit, picked, nothing)
    message = "; ".join(part for part in (message, exam_message) if part)
    frames = [
        *(_selected(v, FrameRole.AUDIT, generation, _why_audit(audit, v)) for v in asked_for),
        *(_selected(v, FrameRole.PICKED, generation, why) for v, why in picked.frames),
    ]
    content = {
        "generation": generation,
        "strategy": config.select.strategy,
        "visited": len(visited),
        "sane": sum(v.sane for v in visited),
        "candidates": picked.candidates,
        "no_candidates": nothing and nothing.to_json(),
        "picked": len(picked.frames),
        "audit": len(audit.frames),
        "audit_pool": audit.pool,
        "audit_source": audit.source,
        "audit_asked": config.select.audit_frames,
        "audit_strata": audit.strata,
        "exam": exam_strata,
        "walkers": ends,
        "message": message,
    }
    folder = Path(out).parent
    write_table(candidates_table(config, visited, asked_for, picked), folder / "candidates")
    write_frames(out, frames)
    write_json(folder / "select.json", content)
    return content


def committee_descriptors(config: Config, members: Sequence[str]) -> Describe:
    """Invariant node features of the committee's first member."""

    def describe(frames: Sequence[Atoms]) -> Sequence[np.ndarray]:
        from mace_core.committee import Committee

        first = Committee.load([members[0]], config.train.default_dtype, config.train.device)
        return [np.asarray(values) for values in first.descriptors(frames)]

    return describe


def candidates_table(
    config: Config, visited: Sequence[Visited], audit: Sequence[Visited], picked: Picked
) -> pd.DataFrame:
    """One row for each visited frame: what became of it, and why not where not."""
    audited = {id(v) for v in audit}
    chosen = {id(v) for v, _ in picked.frames}
    rows = []
    for v in visited:
        window = in_window(v, config.select)
        duplicate = picked.duplicate_of.get(v.frame_id) or (v.frame_id if v.known else None)
        role = (
            FrameRole.AUDIT if id(v) in audited else FrameRole.PICKED if id(v) in chosen else None
        )
        rows.append(
            {
                "frame_id": v.frame_id,
                "walker": v.walker,
                "group": v.group,
                "stratum": v.stratum,
                "md_step": v.md_step,
                "uncertainty": v.uncertainty,
                "in_window": window,
                "duplicate_of": None if role else duplicate,
                "picked": role == FrameRole.PICKED,
                "role": None if role is None else str(role),
                "reason": None if role else _why_not(config, v, window, duplicate),
            }
        )
    columns = {
        "frame_id": "str",
        "walker": "int64",
        "group": "str",
        "stratum": "str",
        "md_step": "int64",
        "uncertainty": "float64",
        "in_window": "bool",
        "duplicate_of": "str",
        "picked": "bool",
        "role": "str",
        "reason": "str",
    }
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _why_not(config: Config, v: Visited, window: bool, duplicate: str | None) -> str:
    if not v.sane:
        return f"ended a walk: {v.frame.info.get('walker_end', 'not a number')}"
    if v.known:
        return "in the training set, or visited before"
    if config.select.strategy == "random":
        return "not drawn"
    if not window:
        low = config.select.window[0] * MEV
        return (
            "uncertainty below the window"
            if v.uncertainty < low
            else "uncertainty above the window"
        )
    if duplicate:
        return f"near-duplicate of {duplicate}"
    return f"the budget of {config.select.max_frames} went to others"


def _strata(train: str | Path, training: Sequence[Atoms]) -> set[str]:
    """Every stratum of the campaign; of a training set of an earlier version those that it has."""
    dataset = Path(train).with_name("dataset.json")
    named = read_json(dataset).get("strata") if dataset.is_file() else None
    return set(named) if named is not None else {stratum_of(atoms) for atoms in training}


def _why_audit(audit: Audit, v: Visited) -> str:
    if v.exam:
        return f"final exam of {v.stratum}: drawn at random from one part of its long walk"
    what, n = f"audit of {v.stratum}: drawn at random from", audit.pools[v.stratum]
    if audit.source == "ends":
        return f"{what} the {n} frames at which short walks stopped"
    return f"{what} {n} visited frames"


def _message(
    visited: Sequence[Visited], audit: Audit, picked: Picked, nothing: Nothing | None
) -> str:
    sane = [v for v in visited if v.sane]
    parts = [
        f"{len(picked.frames)} picked of {picked.candidates} candidates, "
        f"{len(audit.frames)} audit frames{_by_stratum(audit)}; {len(visited)} visited, "
        f"{len(sane)} sane"
    ]
    if nothing:
        parts.append(f"NO CANDIDATES: {nothing.message}; {nothing.mend}")
    if audit.message:
        parts.append(audit.message)
    return "; ".join(parts)


def _by_stratum(audit: Audit) -> str:
    """Which strata were audited, and which were not even walked, where there are several."""
    if len(audit.strata) < 2:
        return ""
    said = [f"{row['drawn']} of {name}" for name, row in audit.strata.items() if row["walkers"]]
    idle = [name for name, row in audit.strata.items() if not row["walkers"]]
    return f" ({', '.join([*said, *(['not walked: ' + ', '.join(idle)] if idle else [])])})"


def _selected(v: Visited, role: FrameRole, generation: int, why: str) -> Atoms:
    frame = Atoms(v.frame.numbers, positions=v.frame.positions, cell=v.frame.cell, pbc=v.frame.pbc)
    frame.info = {key: v.frame.info[key] for key in KEPT_INFO if key in v.frame.info}
    for key in KEPT_ARRAYS:
        if key in v.frame.arrays:
            frame.set_array(key, v.frame.arrays[key])
    frame.info.update(
        {ROLE: str(role), WHY_PICKED: why, GENERATION: generation, STRATUM: v.stratum}
    )
    if v.exam and role == FrameRole.AUDIT:
        frame.info[EXAM] = True
    return frame


def _rng(config: Config, generation: int, *place: str) -> np.random.Generator:
    return np.random.default_rng(derived_seed(config.campaign.seed, generation, "select", *place))
