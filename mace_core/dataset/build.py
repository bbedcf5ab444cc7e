"""The training set of a generation: every sound label of the generations before it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from ase import Atoms
from ase.data import chemical_symbols

from mace_core.assess.outliers import doubts
from mace_core.config.campaign import parse_config
from mace_core.conventions import FRAME_ID
from mace_core.dataset.labels import SOURCE, Label, campaign_labels, user_labels
from mace_core.dataset.sides import DRAWN, TORN, drawn_before, note_drawn
from mace_core.dataset.strata import strata_of_rows
from mace_core.errors import UserError
from mace_core.frames import dataset_hash, write_frames
from mace_core.neighbours import neighbours
from mace_core.storage import read_json, write_json
from mace_core.tables import write_table
from mace_core.train.e0s import atomic_energies
from mace_core.train.labelled import is_isolated_atom
from mace_core.train.split import NONE, TRAIN, VALID, split_frames

LEDGER = (
    "frame_id",
    "generation",
    "role",
    "status",
    "reason",
    "source",
    "stratum",
    "split",
    "energy_per_atom",
    "max_force",
    "wall_seconds",
    DRAWN,
    TORN,
)


def build_dataset(
    plan_file: str | Path,
    merged_files: Sequence[str | Path],
    out: str | Path,
    assess_files: Sequence[str | Path],
    ledger: str | Path | None = None,
) -> dict:
    """Write ``train.extxyz``, ``valid.extxyz``, ``dataset.json`` and the ledger of one generation.

    The same labels give the same files byte for byte, whatever the order of ``merged_files`` and
    of what they list. How frames are held out: :func:`mace_core.train.split.split_frames`, with
    the campaign's generations and the user's labelled files as its two streams. What was held out
    in the generation before stays held out, and what trained never is, with another seed or
    ``data.valid_fraction`` too: these are for new frames.

    Args:
        plan_file: the generation's ``plan.json``.
        merged_files: ``merged.json`` of the earlier generations.
        out: folder to write to.
        assess_files: ``assess.json`` of the same generations: what they doubt does not train,
            unless it was released in the store.
        ledger: ``ledger.parquet`` of the generation before; None for generation 1.

    Returns:
        The content of ``dataset.json``.

    Raises:
        UserError: a labelled file changed since the plan was made, the store lacks a label that
            was merged, there are fewer than two labels to train on, an element has no E0, or the
            assessments are not those of the merged generations.
    """
    plan = read_json(plan_file)
    config = parse_config(plan["config"], where=str(plan_file))
    merged = _read_merged(merged_files, plan["generation"])
    doubted = doubts(_assessments(assess_files, merged))
    labels, origins = campaign_labels(plan, config, merged, doubted)
    labels += user_labels(plan, config, origins)
    labels.sort(key=lambda label: (label.row["generation"], label.row[FRAME_ID], label.arrival))

    repeats = _repeats(labels)
    usable = [label for label in labels if label.frame is not None and id(label) not in repeats]
    isolated = [label for label in usable if is_isolated_atom(label.frame)]
    trainable = [label for label in usable if not is_isolated_atom(label.frame)]
    if len(trainable) < 2:
        raise UserError(
            f"{len(trainable)} converged labels: at least two are needed to train",
            where=f"{len(labels)} labels in {', '.join(str(path) for path in merged_files)}",
            mend="the ledger of labels says why the others failed; add frames with seed.n_frames "
            "or data.labelled",
        )
    before = drawn_before(ledger, labels)
    for label, drawn in zip(labels, before, strict=True):
        note_drawn(label, drawn)
    drawn_of = {id(label): drawn for label, drawn in zip(labels, before, strict=True)}
    split = split_frames(
        [label.frame for label in trainable],
        config.data.valid_fraction,
        config.campaign.seed,
        [label.arrival for label in trainable],
        [drawn_of[id(label)] for label in trainable],
    )
    for label, side, drawn in zip(trainable, split.sides, split.drawn, strict=True):
        label.row["split"] = side
        note_drawn(label, drawn)
    _drop_second_copies(trainable)
    for label in trainable:
        if label.row["split"] == NONE and not label.row["reason"]:
            label.row["reason"] = "near-duplicate of a held-out frame"

    train = [label.frame for label in trainable if label.row["split"] == TRAIN]
    valid = [label.frame for label in trainable if label.row["split"] == VALID]
    free_atoms = _free_atoms(isolated)
    both = train + valid
    e0s = atomic_energies(config.data.E0s, both, free_atoms)
    summary = {
        "generation": plan["generation"],
        "n_train": len(train),
        "n_valid": len(valid),
        "sha256": dataset_hash(both + free_atoms),
        "E0s": {chemical_symbols[z]: energy for z, energy in e0s.items()},
        "elements": [chemical_symbols[z] for z in e0s],
        "mean_neighbours": mean_neighbours(train, config.model.r_max),
        "sources": _count(frame.info[SOURCE] for frame in both),
        "strata": strata_of_rows(label.row for label in labels),
    }
    out = Path(out)
    write_frames(out / "train.extxyz", train)
    write_frames(out / "valid.extxyz", valid)
    write_table(pd.DataFrame([label.row for label in labels], columns=LEDGER), out / "ledger")
    write_json(out / "dataset.json", summary)
    return summary


def mean_neighbours(frames: list[Atoms], r_max: float) -> float:
    """Neighbours within ``r_max`` (Å) of an atom, averaged over all atoms of all frames."""
    edges = sum(neighbours(frame, r_max)[0].shape[1] for frame in frames)
    return edges / sum(len(frame) for frame in frames)


def _read_merged(paths: Sequence[str | Path], generation: int) -> list[dict]:
    """The merged labels, ascending by generation, each generation once and before this one."""
    merged = sorted((read_json(path) for path in paths), key=lambda m: m["generation"])
    generations = [m["generation"] for m in merged]
    if generations != sorted(set(generations)) or any(g >= generation for g in generations):
        raise UserError(
            f"merged labels of generations {generations} for the data of generation {generation}",
            mend="give the merged.json of each earlier generation once",
        )
    return merged


def _assessments(paths: Sequence[str | Path], merged: list[dict]) -> list[dict]:
    """The assessments of the merged generations, ascending."""
    assessments = sorted((read_json(path) for path in paths), key=lambda a: a["generation"])
    generations = [a["generation"] for a in assessments]
    if generations != [m["generation"] for m in merged]:
        raise UserError(
            f"assessments of generations {generations} for merged labels of generations "
            f"{[m['generation'] for m in merged]}",
            mend="give the assess.json beside each merged.json: it says which labels are in doubt",
        )
    return assessments


def _repeats(labels: list[Label]) -> set[int]:
    """Labels (by ``id``) whose frame came before within the campaign, or within the files."""
    first, repeats = {}, set()
    for label in sorted(labels, key=lambda label: label.arrival):
        if label.frame is None:
            continue
        key = (label.arrival[0], label.row[FRAME_ID])
        other = first.setdefault(key, label)
        if other is not label:
            label.row["reason"] = f"the same frame as in {other.row['source']}"
            repeats.add(id(label))
    return repeats


def _drop_second_copies(labels: list[Label]) -> None:
    """Of a frame that both the campaign and a file brought to one side, keep the campaign's."""
    kept = {}
    for label in sorted(labels, key=lambda label: label.arrival):
        if label.row["split"] == NONE:
            continue
        other = kept.setdefault(label.row[FRAME_ID], label)
        if other is not label:
            label.row |= {"split": NONE, "reason": f"the same frame as in {other.row['source']}"}


def _free_atoms(isolated: list[Label]) -> list[Atoms]:
    """One free atom an element: the campaign's own before a file's."""
    chosen = {}
    for label in sorted(isolated, key=lambda label: (label.arrival, label.row[FRAME_ID])):
        chosen.setdefault(int(label.frame.numbers[0]), label.frame)
    return [chosen[z] for z in sorted(chosen)]


def _count(values) -> dict[str, int]:
    series = pd.Series(list(values)).value_counts()
    return {str(key): int(series[key]) for key in sorted(series.index)}
