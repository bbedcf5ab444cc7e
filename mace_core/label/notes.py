"""Notes on labels: a committee's doubts, and what a person released from quarantine.

A note is a file of its own, written once, because records are never changed. A committee's doubt
belongs to the campaign that had it (its assess.json decides what trains there); the note tells
everybody else who looks at the store.
"""

import getpass
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mace_core.storage import read_json, write_json


class Notes:
    """The notes of one kind at one level of theory.

    Args:
        folder: where they lie, one JSON file a frame.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, frame_id: str, content: dict[str, Any]) -> bool:
        """Write a note, unless there is one; who, where and when is added.

        Returns:
            Whether there was none before.
        """
        note = {"format": 1, "frame_id": frame_id, **content, **signature()}
        return write_json(self.folder / f"{frame_id}.json", note, exclusive=True)

    def read(self, frame_id: str) -> dict[str, Any] | None:
        """A frame's note; None where there is none, or where it cannot be read."""
        try:
            note = read_json(self.folder / f"{frame_id}.json")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return note if isinstance(note, dict) and note.get("frame_id") == frame_id else None

    def frame_ids(self) -> Iterator[str]:
        """Frames that have a note, in the order of their ids."""
        for path in sorted(self.folder.glob("*.json")):
            yield path.stem


def signature() -> dict[str, str]:
    """Who writes, where and when."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = "unknown"
    return {
        "by": user,
        "host": socket.gethostname(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
