"""A generation's frames as its committee sees them: scored once, read by the steps that judge."""

from pathlib import Path
from typing import Any

from ase import Atoms

from mace_core.assess.labels import labelled_frames
from mace_core.assess.score import score, unlike, unseen
from mace_core.config.campaign import Config
from mace_core.conventions import ROLE, FrameRole
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelStore
from mace_core.layout import SCORED, Layout
from mace_core.train.labelled import read_labelled

Scored = dict[str, list[Atoms]]


def check_merged(plan: dict[str, Any], merged: dict[str, Any], where: str | Path) -> None:
    """Raise :class:`UserError` for labels of another generation or level of theory."""
    if merged["generation"] != plan["generation"] or merged["theory"] != plan["theory"]:
        raise UserError(
            f"labels of generation {merged['generation']} at theory {merged['theory']}, "
            f"the plan is for generation {plan['generation']} at {plan['theory']}",
            where=str(where),
        )


def score_generation(
    config: Config,
    g: int,
    merged: dict[str, Any],
    store: LabelStore,
    committee: Any,
    factor: float,
    select_path: Path,
) -> tuple[Scored, list[str]]:
    """Labelled frames of a generation, and the frozen test set, with the committee's predictions.

    Args:
        config: of the plan.
        g: the generation.
        merged: merged.json.
        store: its labels.
        committee: of generation ``g``.
        factor: its calibration factor.
        select_path: select.json; the selected frames lie beside it.

    Returns:
        Frames by kind, and a sentence for each kind of which some were trained on.
    """
    trained = _trained(Layout(config.campaign.results_dir, config.campaign.name), g)
    fresh, notes = unseen(
        labelled_frames(store, merged, select_path), trained, "labelled", select_path.parent
    )
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
        str(kind): score(frames, committee, factor, f"gen {g} · assess · {kind}")
        for kind, frames in sets.items()
    }
    return scored, notes


def write_scored(folder: Path, scored: Scored) -> None:
    """One extxyz for each of :data:`SCORED`, empty where a campaign has none."""
    for kind in SCORED:
        write_frames(folder / f"{kind}.extxyz", scored.get(kind, []))


def read_scored(folder: Path, config: Config) -> Scored:
    """What :func:`write_scored` wrote; the kinds that :func:`score_generation` returns."""
    kinds = [kind for kind in SCORED if kind != "frozen" or config.data.frozen_test]
    return {kind: read_frames(folder / f"{kind}.extxyz") for kind in kinds}


def _trained(layout: Layout, g: int) -> list[Atoms]:
    """All frames that the members of generation ``g`` trained on or were chosen by."""
    folder = layout.dataset(g)
    return [
        atoms for name in ("train.extxyz", "valid.extxyz") for atoms in read_frames(folder / name)
    ]
