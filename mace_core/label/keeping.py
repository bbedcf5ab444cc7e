"""Getting a computed label onto disk, also where the disk is full: the label is paid for."""

import errno
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mace_core.errors import UserError
from mace_core.label.claims import Claims
from mace_core.label.record import Record
from mace_core.label.store import LabelFolder
from mace_core.storage import read_json, write_json

#: Seconds for which a computed label waits for space on a full disk.
PATIENCE = 600.0
_PAUSE = 2.0
_FULL = {errno.ENOSPC, errno.EDQUOT}

#: Bytes that a record takes at most: fixed, and for each atom (position, force, species as text).
_RECORD = 16_384
_ATOM = 400


def claim(claims: Claims, frame_id: str, store: LabelFolder, n_atoms: int) -> bool:
    """Claim a frame, if the disk has room for its label: :meth:`Claims.acquire`.

    Raises:
        UserError: the disk is full. A quota may still be in the way later: not all of them show.
    """
    try:
        _check_space(store, n_atoms)
        return claims.acquire(frame_id)
    except OSError as err:
        if err.errno in _FULL:
            raise _full(store) from err
        raise


def _check_space(store: LabelFolder, n_atoms: int) -> None:
    disk = os.statvfs(store.folder)
    # Blocks are counted in f_frsize; a claim and a temporary file need one beside the record.
    needed = _RECORD + n_atoms * _ATOM + 4 * disk.f_frsize
    if disk.f_bavail * disk.f_frsize < needed or (disk.f_files and not disk.f_favail):
        raise _full(store)


def keep(store: LabelFolder, record: Record, while_waiting: Callable[[], None]) -> bool:
    """Store a record that was just computed; on a full disk, wait until there is room.

    Args:
        store: of its level of theory.
        record: converged or not.
        while_waiting: called every other second.

    Returns:
        As :meth:`LabelFolder.put`.

    Raises:
        UserError: it cannot be written. A converged record is then saved in the folder for
            temporary files, if that can be written, and the message says how to bring it back.
    """
    deadline = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            return store.put(record)
        except OSError as err:
            if err.errno not in _FULL or time.monotonic() > deadline:
                raise _not_kept(store, record, err) from err
        if not told:
            print(
                f"maceloop: the disk of {store.folder} is full: the label of frame "
                f"{record.frame_id} waits up to {PATIENCE:.0f} s for space",
                file=sys.stderr,
                flush=True,
            )
            told = True
        while_waiting()
        time.sleep(min(_PAUSE, PATIENCE))


def _full(store: LabelFolder) -> UserError:
    return UserError(
        "the disk of the label store is full: nothing is computed whose label could not be kept",
        where=str(store.folder),
        mend="make room and run again: finished labels are kept, and none is computed twice",
    )


def _not_kept(store: LabelFolder, record: Record, err: OSError) -> UserError:
    mend = "make room and run again: the frame counts as not labelled"
    saved = _rescue(store, record) if record.converged else None
    if saved:
        mend = f"make room, then bring it back: maceloop labels merge {saved} {store.level.parent}"
    return UserError(
        f"the label of frame {record.frame_id} was computed and cannot be stored: {err.strerror}",
        where=str(store.folder),
        mend=mend,
    )


def _rescue(store: LabelFolder, record: Record) -> Path | None:
    """A label store with this one record among the temporary files."""
    try:
        root = Path(tempfile.mkdtemp(prefix="maceloop-rescued-"))
        folder = root / store.theory_id
        write_json(folder / "theory.json", read_json(store.level / "theory.json"))
        place = folder / store.folder.relative_to(store.level)
        write_json(place / f"{record.frame_id}.json", record.to_json())
    except OSError:
        return None
    return root
