"""Writing files whole or not at all, hashing them, and seeds that follow from one seed."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: str | Path, content: bytes, *, exclusive: bool = False) -> bool:
    """Write ``content`` so that a reader sees all of it or nothing (temporary file, fsync, rename).

    Args:
        path: folders are made as needed.
        content: the whole file.
        exclusive: leave an existing file alone. Works on NFS: ``link`` is atomic there.

    Returns:
        Whether this call wrote the file (False only with ``exclusive``).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(name, 0o644)
        if exclusive:
            try:
                os.link(name, path)
            except FileExistsError:
                return False
            return True
        os.replace(name, path)
        return True
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Atomic :func:`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any, *, exclusive: bool = False) -> bool:
    """Atomic :func:`write_bytes` of indented JSON. NaN is refused (``ValueError``)."""
    text = json.dumps(value, indent=1, allow_nan=False, default=_plain)
    return write_bytes(path, (text + "\n").encode(), exclusive=exclusive)


def read_json(path: str | Path) -> Any:
    """The JSON in ``path``."""
    return json.loads(Path(path).read_text())


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of ``value`` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def derived_seed(campaign_seed: int, *place: int | str) -> int:
    """A 32-bit seed for one random draw.

    It depends on the campaign's seed and on the place of use (generation, step, member …) only,
    so that no draw changes when another one is added or skipped.
    """
    return int(sha256_json([campaign_seed, *place])[:8], 16)


def _plain(value: Any) -> Any:
    """numpy scalars and arrays, and paths, as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
