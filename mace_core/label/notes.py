"""Notes on labels: a committee's doubts, and what a person released from quarantine.

A note is a file of its own, written once, because records are never changed; one that is withdrawn
moves into ``withdrawn/``, so that who said what stays known. A committee's doubt
belongs to the campaign that had it (its assess.json decides what trains there); the note tells
everybody else who looks at the store.
"""

import getpass
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mace_core.storage import move_aside, read_json, write_json


class Notes:
    """The notes of one kind at one level of theory.

    Args:
        folder: where they lie, one JSON file a frame.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, frame_id: str) -> Path:
        """Where a frame's note lies."""
        return self.folder / f"{frame_id}.json"

    def write(self, frame_id: str, content: dict[str, Any]) -> bool:
        """Write a note, unless there is one; who, where and when is added.

        Returns:
            Whether there was none before.
        """
        note = {"format": 1, "frame_id": frame_id, **content, **signature()}
        return write_json(self.path(frame_id), note, exclusive=True)

    def adopt(self, note: dict[str, Any]) -> bool:
        """Take over a note of another store as it is, unless there is one, or it was withdrawn.

        Returns:
            Whether it was taken.
        """
        if note in self.withdrawn(note["frame_id"]):
            return False
        return write_json(self.path(note["frame_id"]), note, exclusive=True)

    def withdraw(self, frame_id: str) -> bool:
        """Make a frame's note count no more.

        Returns:
            Whether there was one.
        """
        try:
            move_aside(self.path(frame_id), self.folder / "withdrawn")
        except FileNotFoundError:
            return False
        return True

    def withdrawn(self, frame_id: str) -> list[dict[str, Any]]:
        """A frame's notes that count no more, the oldest first."""
        paths = sorted((self.folder / "withdrawn").glob(f"{frame_id}.*.json"))
        return [note for path in paths if (note := _note(path, frame_id))]

    def read(self, frame_id: str) -> dict[str, Any] | None:
        """A frame's note; None where there is none, or where it cannot be read."""
        return _note(self.path(frame_id), frame_id)

    def frame_ids(self) -> Iterator[str]:
        """Frames that have a note, in the order of their ids."""
        for path in sorted(self.folder.glob("[!.]*.json")):
            yield path.stem


def _note(path: Path, frame_id: str) -> dict[str, Any] | None:
    try:
        note = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("frame_id") == frame_id else None


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
