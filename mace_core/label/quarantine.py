"""A person's word on a label in quarantine."""

from mace_core.conventions import LabelStatus
from mace_core.errors import UserError
from mace_core.label.ledger import judged
from mace_core.label.store import LabelFolder


def release(folder: LabelFolder, frame_id: str, reason: str) -> None:
    """Let a label out of quarantine: from the next generation on it trains.

    Raises:
        UserError: the label is not in quarantine, or there is no reason.
    """
    record, released = judged(folder, frame_id)
    if not reason.strip():
        raise UserError("--reason is empty", mend="say why this label can be believed")
    if released:
        raise UserError(
            f"frame {frame_id} was released already: {released}", mend="--undo takes that back"
        )
    if record is None or record.status != LabelStatus.QUARANTINED:
        status = record.status if record else "not labelled"
        raise UserError(
            f"frame {frame_id} is {status}: only labels in quarantine can be released",
            where=str(folder.folder),
            mend="`maceloop labels list --status quarantined` shows them",
        )
    folder.releases.write(frame_id, {"reason": " ".join(reason.split())})


def undo(folder: LabelFolder, frame_id: str) -> None:
    """Take a release back: the label is in quarantine again.

    Raises:
        UserError: it was not released.
    """
    if not folder.releases.withdraw(frame_id):
        raise UserError(f"frame {frame_id} was not released", where=str(folder.folder))
