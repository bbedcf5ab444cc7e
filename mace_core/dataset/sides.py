"""What earlier generations drew for each frame: held out or to train on."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mace_core.conventions import FRAME_ID, LabelStatus
from mace_core.dataset.labels import BEFORE, Label
from mace_core.errors import UserError
from mace_core.tables import read_table
from mace_core.train.split import NONE, TRAIN, VALID, Drawn

#: Of a row of the ledger: as :class:`~mace_core.train.split.Drawn`; ``none`` and False where
#: nothing was drawn yet.
DRAWN, TORN = "drawn", "torn"

_Key = tuple[str, str]


def drawn_before(ledger: str | Path | None, labels: Sequence[Label]) -> list[Drawn | None]:
    """What was drawn for each label's frame in the generation before; None for a new frame.

    A frame that both the campaign and a file brought has what was drawn for the same of the two,
    and else what was drawn for the other: it cannot be on two sides.

    Args:
        ledger: of the generation before, parquet; None where there is none.
        labels: of this generation.

    Raises:
        UserError: the ledger is missing or cannot be read.
    """
    if ledger is None:
        return [None] * len(labels)
    known = _known(_read(Path(ledger)))
    either: dict[str, Drawn] = {}
    for (_, frame_id), drawn in known.items():
        if frame_id not in either or drawn.side == VALID:
            either[frame_id] = drawn
    found = []
    for label in labels:
        frame_id = label.row[FRAME_ID]
        found.append(known.get((label.arrival[0], frame_id)) or either.get(frame_id))
    return found


def note_drawn(label: Label, drawn: Drawn | None) -> None:
    """Write into a label's row what is drawn for its frame, now or in an earlier generation."""
    label.row[DRAWN] = drawn.side if drawn else NONE
    label.row[TORN] = bool(drawn and drawn.torn)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(
            f"no ledger of the generation before: {path}",
            mend="build its dataset first: what was held out there has to stay held out",
        )
    return read_table(path.with_suffix(""))


def _known(table: pd.DataFrame) -> dict[_Key, Drawn]:
    """By stream and frame id. Of a frame that a stream has twice, the row that was drawn."""
    known: dict[_Key, Drawn] = {}
    for row in table.to_dict("records"):
        drawn = _drawn(row)
        key = ("files" if row["generation"] == BEFORE else "campaign", row[FRAME_ID])
        if drawn and (key not in known or row["split"] != NONE):
            known[key] = drawn
    return known


def _drawn(row: dict) -> Drawn | None:
    if DRAWN in row:
        return Drawn(row[DRAWN], bool(row[TORN])) if row[DRAWN] != NONE else None
    # Written before this was noted. What was in the dataset was drawn so; whether its stream was
    # torn is not known, and does not matter where no near-duplicates are on the two sides. A sound
    # label that was left out lies near a held-out one, and was drawn to train.
    if row["split"] != NONE:
        return Drawn(row["split"], True)
    is_left_out = row["status"] == LabelStatus.CONVERGED and str(row["reason"]).startswith("near-")
    return Drawn(TRAIN, False) if is_left_out else None
