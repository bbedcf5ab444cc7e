"""Writing files whole or not at all, hashing them, and seeds that follow from one seed."""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from mace_core.errors import UserError

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


def write_bytes(path: str | Path, content: bytes, *, exclusive: bool = False) -> bool:
    """Write ``content`` so that a reader sees all of it or nothing, a power cut included.

    A temporary file beside it is written, synced and renamed (or linked), and the folder is
    synced, without which the new name may be lost.

    Args:
        path: folders are made as needed.
        content: the whole file.
        exclusive: leave an existing file alone. Works on NFS: ``link`` is atomic there.

    Returns:
        Whether this call wrote the file (False only with ``exclusive``).

    Raises:
        OSError: it could not be written (``ENOSPC``: the disk is full); nothing of it is left.
        UserError: ``exclusive``, on a file system without hard links.
    """
    path = Path(path)
    _make_folder(path.parent)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(name, 0o644)
        if exclusive:
            if not _link(name, path):
                return False
        else:
            os.replace(name, path)
        sync_folder(path.parent)
        return True
    finally:
        Path(name).unlink(missing_ok=True)


def sync_folder(folder: str | Path) -> None:
    """Have the names in a folder on disk, where its file system can be asked for that."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def move_aside(path: Path, folder: Path) -> Path:
    """Move a JSON file into a folder, under its name and the first number that is free there.

    Returns:
        Where it lies now.

    Raises:
        FileNotFoundError: there is no such file.
    """
    _make_folder(folder)
    number = 0
    while (target := folder / f"{path.stem}.{number}.json").exists():
        number += 1
    os.replace(path, target)
    sync_folder(folder)
    sync_folder(path.parent)
    return target


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _link(name: str, path: Path) -> bool:
    """Give the file a second name, unless that is taken."""
    try:
        os.link(name, path)
    except FileExistsError:
        # An NFS server that repeats a lost answer says so of the link that it has just made.
        return os.stat(name).st_nlink == 2
    except OSError as err:
        if err.errno in _NO_LINKS:
            raise UserError(
                f"this file system cannot make hard links ({err.strerror}), which keep two "
                "processes from writing one file",
                where=str(path.parent),
                mend="put the folder on another file system (campaign.label_store, for labels)",
            ) from err
        raise
    return True


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
