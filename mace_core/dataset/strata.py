"""Which stratum a label belongs to, and what each stratum has to train on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ase import Atoms

from mace_core.conventions import ROLE, STRATUM, FrameRole
from mace_core.label.record import Record
from mace_core.strata import composition, stratum_of
from mace_core.train.split import TRAIN, VALID

#: The strata that the campaign's own structures have, by composition.
Origins = dict[tuple, set[str]]


def stratum_of_entry(entry: Mapping[str, Any], record: Record | None) -> str | None:
    """The stratum of an entry of merged.json: None for free atoms.

    Entries that do not say (of earlier versions) have it by composition, from the store's record;
    None where there is no record either.
    """
    if entry[ROLE] == FrameRole.ISOLATED:
        return None
    if entry.get(STRATUM):
        return entry[STRATUM]
    return stratum_of(record.frame()) if record is not None and record.numbers else None


def add_origin(origins: Origins, stratum: str | None, record: Record | None) -> None:
    """Note the composition of a label of generation 0."""
    if stratum is not None and record is not None and record.numbers:
        origins.setdefault(composition(record.frame()), set()).add(stratum)


def stratum_of_users(frame: Atoms, origins: Origins) -> str:
    """The stratum of a frame of ``data.labelled``.

    What the frame says; else the stratum of the campaign's own structures that has its composition,
    where it is the only one; else as :func:`mace_core.strata.stratum_of` has it.
    """
    own = origins.get(composition(frame), set())
    if STRATUM not in frame.info and len(own) == 1:
        return next(iter(own))
    return stratum_of(frame)


def strata_of_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """``strata`` of dataset.json, from the ledger's rows, sorted by name.

    A stratum all of whose labels failed is there, with nothing to train on.
    """
    found: dict[str, dict[str, int]] = defaultdict(
        lambda: {"labels": 0, "n_train": 0, "n_valid": 0}
    )
    for row in rows:
        if row[STRATUM] is None:
            continue
        counts = found[row[STRATUM]]
        counts["labels"] += row["generation"] >= 0
        counts["n_train"] += row["split"] == TRAIN
        counts["n_valid"] += row["split"] == VALID
    return dict(sorted(found.items()))
