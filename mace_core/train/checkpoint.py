"""The state from which a killed training goes on."""

import io
import pickle
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from mace_core.storage import write_bytes

#: Share of the time that may go into writing checkpoints.
_SHARE = 0.05


class Checkpoint:
    """A training's state in one file, written whole or not at all.

    Args:
        path: of the file.
        key: hash of data and settings; the state of another training is left alone.
    """

    def __init__(self, path: str | Path, key: str):
        self.path, self.key = Path(path), key
        self.next_write = 0.0

    def save(self, state: dict[str, Any]) -> None:
        """Write a state, unless the last writing was so recent that it would cost training time.

        Which states are written does not change the result: training goes on from any of them
        alike.
        """
        start = time.monotonic()
        if start < self.next_write:
            return
        buffer = io.BytesIO()
        torch.save({"key": self.key, "state": state}, buffer)
        write_bytes(self.path, buffer.getvalue())
        end = time.monotonic()
        self.next_write = end + (end - start) / _SHARE

    def load(self, device: str) -> dict[str, Any] | None:
        """The state to go on from, or None; a file of no use is said so on stderr."""
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            key, state = content["key"], content["state"]
        except (RuntimeError, OSError, EOFError, KeyError, TypeError) as err:
            return self._ignored(f"cannot be read ({type(err).__name__})")
        except (pickle.UnpicklingError, zipfile.BadZipFile) as err:
            return self._ignored(f"cannot be read ({type(err).__name__})")
        if key != self.key:
            return self._ignored("belongs to other data or settings")
        return state

    def remove(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)

    def _ignored(self, why: str) -> None:
        print(f"{self.path} {why}: training starts anew", file=sys.stderr)
