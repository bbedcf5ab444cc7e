"""The selection of one generation: audit frames first, then picked ones, and the reasons."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from mace_core.committee_file import read_committee
from mace_core.config.campaign import Config
from mace_core.conventions import (
    CHARGE,
    DISPLACEMENT,
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
    WALKER,
    WHY_PICKED,
    FrameRole,
)
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.select.audit import Audit, draw_audit
from mace_core.select.candidates import Visited, read_ends, read_walkers
from mace_core.select.pick import Describe, Picked, in_window, pick_random, pick_uncertain
from mace_core.select.reasons import Nothing, no_candidates
from mace_core.storage import derived_seed, write_json
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
) -> dict:
    """Choose the frames to label; write them, ``candidates.parquet``/``.csv`` and ``select.json``.

    The audit is drawn first and from all sane frames, so that it does not depend on what is picked.

    Args:
        config: the generation's, frozen.
        generation: its number.
        committee: committee.json.
        train: the training set, extxyz.
        walkers: the walkers' extxyz files; each has its JSON beside it.
        out: extxyz file to write; it may hold no frames.
        describe: descriptors instead of the committee's, for tests.

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
    audit = draw_audit(visited, config.select.audit_frames, _rng(config, generation, "audit"))
    audited = {id(v) for v in audit.frames}
    pool = [v for v in visited if v.usable and id(v) not in audited]
    if config.select.strategy == "random":
        picked = pick_random(pool, config.select, _rng(config, generation, "random"))
    else:
        picked = pick_uncertain(
            pool,
            audit.frames,
            training,
            config.select,
            describe or committee_descriptors(config, models.members),
        )
    nothing = None
    if not picked.candidates:
        nothing = no_candidates(config, ends, visited, audit.frames)
    message = _message(visited, audit, picked, nothing)
    frames = [
        _selected(v, FrameRole.AUDIT, generation, _why_audit(audit)) for v in audit.frames
    ] + [_selected(v, FrameRole.PICKED, generation, why) for v, why in picked.frames]
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
        "walkers": ends,
        "message": message,
    }
    folder = Path(out).parent
    write_table(candidates_table(config, visited, audit, picked), folder / "candidates")
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
    config: Config, visited: Sequence[Visited], audit: Audit, picked: Picked
) -> pd.DataFrame:
    """One row for each visited frame: what became of it, and why not where not."""
    audited = {id(v) for v in audit.frames}
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


def _why_audit(audit: Audit) -> str:
    if audit.source == "ends":
        return f"audit: drawn at random from the {audit.pool} frames at which short walks stopped"
    return f"audit: drawn at random from {audit.pool} visited frames"


def _message(
    visited: Sequence[Visited], audit: Audit, picked: Picked, nothing: Nothing | None
) -> str:
    sane = [v for v in visited if v.sane]
    parts = [
        f"{len(picked.frames)} picked of {picked.candidates} candidates, "
        f"{len(audit.frames)} audit frames; {len(visited)} visited, {len(sane)} sane"
    ]
    if nothing:
        parts.append(f"NO CANDIDATES: {nothing.message}; {nothing.mend}")
    if audit.message:
        parts.append(audit.message)
    return "; ".join(parts)


def _selected(v: Visited, role: FrameRole, generation: int, why: str) -> Atoms:
    frame = Atoms(v.frame.numbers, positions=v.frame.positions, cell=v.frame.cell, pbc=v.frame.pbc)
    frame.info = {key: v.frame.info[key] for key in KEPT_INFO if key in v.frame.info}
    for key in KEPT_ARRAYS:
        if key in v.frame.arrays:
            frame.set_array(key, v.frame.arrays[key])
    frame.info.update({ROLE: str(role), WHY_PICKED: why, GENERATION: generation})
    return frame


def _rng(config: Config, generation: int, *place: str) -> np.random.Generator:
    return np.random.default_rng(derived_seed(config.campaign.seed, generation, "select", *place))
